"""The ring of master keys, and the file that holds them."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.auth.vault.master_keys import KeyRing, MasterKeyError
from services.auth.vault.sealing import MasterKey

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = MasterKey(bytes(32)), MasterKey(bytes([1] * 32))
BOTH = f"  {NEW.encode().reveal()}\n{OLD.encode().reveal()} {NEW.encode().reveal()}\n"


def test_the_environment_has_keys_newest_first() -> None:
    """Keys are separated by any white space; one that stands twice counts once."""
    ring = KeyRing.of_environment(Secret(BOTH))

    assert (NEW.id, OLD.id) == ring.ids
    assert NEW == ring.newest
    assert OLD == ring.get(OLD.id)
    assert not ring.in_file


def test_keys_of_the_environment_are_not_ours_to_change() -> None:
    """Adding and retiring are refused with a sentence that says what to do."""
    ring = KeyRing.of_environment(Secret(BOTH))
    with pytest.raises(GatewayError, match="put a new key before the old one") as added:
        ring.add(OLD)
    with pytest.raises(GatewayError, match="put a new key before the old one") as retired:
        ring.retire([OLD.id])

    assert [Reason.CONFLICT] * 2 == [added.value.reason, retired.value.reason]


def test_a_file_is_changed_for_its_owner_alone(tmp_path: Path) -> None:
    """A key that was added is in the file, first, with mode 0600, and one that was retired is gone."""
    path = tmp_path / "data" / "master.key"
    ring = KeyRing.of_file(path)
    assert ring.newest is None
    ring.add(OLD)
    ring.add(NEW)

    assert (NEW.id, OLD.id) == KeyRing.of_file(path).ids
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    ring.retire([OLD.id])
    assert (NEW.id,) == KeyRing.of_file(path).ids == ring.ids
    assert [path] == list(path.parent.iterdir())


def test_what_a_kill_left_over_is_cleared_away(tmp_path: Path) -> None:
    """A temporary file of a process that was killed does not stay, and is never read."""
    path = tmp_path / "master.key"
    (tmp_path / ".master.key.0123456789abcdef.tmp").write_text("half a k")
    ring = KeyRing.of_file(path)
    ring.add(OLD)

    assert [path] == list(tmp_path.iterdir())


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Where the file is a link, what it points at is changed."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text(OLD.encode().reveal())
    link.symlink_to(real)
    KeyRing.of_file(link).add(NEW)

    assert link.is_symlink()
    assert (NEW.id, OLD.id) == KeyRing.of_file(real).ids


def test_a_file_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    """Reading the file takes from others what they must not have."""
    path = tmp_path / "master.key"
    path.write_text(OLD.encode().reveal())
    path.chmod(0o644)
    KeyRing.of_file(path)

    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_keys_stay_known_when_their_file_is_gone(tmp_path: Path) -> None:
    """A file that somebody deleted does not take the last copy in memory with it."""
    path = tmp_path / "master.key"
    ring = KeyRing.of_file(path)
    ring.add(OLD)
    path.unlink()
    ring.reload()
    ring.add(NEW)

    assert (NEW.id, OLD.id) == KeyRing.of_file(path).ids


@pytest.mark.parametrize("content", [b"", b"\n \n", b"not a key", b"\xff\xfe", b"A" * 44, b"x" * 20_000])
def test_a_file_that_holds_something_else_is_said_so(tmp_path: Path, content: bytes) -> None:
    """The error names the file, and not what is in it."""
    path = tmp_path / "master.key"
    path.write_bytes(content)
    with pytest.raises(MasterKeyError, match=r"The file .*master\.key (holds|is too long)") as caught:
        KeyRing.of_file(path)

    assert "not a key" not in str(caught.value)
    assert "AAAA" not in str(caught.value)


def test_a_file_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    """Where a directory stands in the way, the keys stay as they were."""
    path = tmp_path / "file" / "master.key"
    (tmp_path / "file").write_text("not a directory")
    ring = KeyRing((OLD,), path)
    with pytest.raises(MasterKeyError, match="cannot be written"):
        ring.add(NEW)

    assert (OLD.id,) == ring.ids


def test_the_last_key_does_not_leave_the_file(tmp_path: Path) -> None:
    """Whoever asks for it, a file without any key is not written."""
    path = tmp_path / "master.key"
    ring = KeyRing.of_file(path)
    ring.add(OLD)
    with pytest.raises(MasterKeyError, match="must not be left without"):
        ring.retire([OLD.id])

    assert (OLD.id,) == KeyRing.of_file(path).ids == ring.ids
