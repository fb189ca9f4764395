"""Sealing: what was sealed opens with its key and in its place, and nowhere else."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.secret import Secret
from services.auth.vault.sealing import MasterKey, SealedFor, SealingError, open_sealed, reseal, seal

OLD, NEW = MasterKey(bytes(range(32))), MasterKey(bytes(range(32, 64)))
OWNER = SealedFor(account_id="acme", config_id="one")
SECRET = Secret("sk-a-key-of-a-provider")


@given(st.text(min_size=1, max_size=300).filter(lambda text: text.encode(errors="replace").decode() == text))
def test_what_was_sealed_opens(text: str) -> None:
    """A key comes back as it was, and stands nowhere in what is kept."""
    sealed = seal(Secret(text), OLD, OWNER)

    assert text == open_sealed(sealed, OLD, OWNER).reveal()
    assert len(text) < 4 or text.encode() not in sealed.secret + sealed.data_key


def test_each_sealing_has_a_data_key_of_its_own() -> None:
    """The same key sealed twice looks different in both parts."""
    one, other = seal(SECRET, OLD, OWNER), seal(SECRET, OLD, OWNER)

    assert one.secret != other.secret
    assert one.data_key != other.data_key
    with pytest.raises(SealingError):
        open_sealed(replace(one, data_key=other.data_key), OLD, OWNER)


@pytest.mark.parametrize(
    "owner",
    [
        SealedFor(account_id="umbrella", config_id="one"),
        SealedFor(account_id="acme", config_id="two"),
        SealedFor(account_id="acme\0one", config_id=""),
    ],
)
def test_a_sealed_key_opens_in_its_own_row_alone(owner: SealedFor) -> None:
    """A row's sealed texts, put into a row of another account or config, do not open."""
    sealed = seal(SECRET, OLD, OWNER)

    with pytest.raises(SealingError):
        open_sealed(sealed, OLD, owner)
    with pytest.raises(SealingError):
        reseal(sealed, OLD, NEW, owner)


def test_the_two_parts_do_not_stand_for_each_other() -> None:
    """A data key put where the secret belongs does not open, though both were sealed for the row."""
    sealed = seal(SECRET, OLD, OWNER)

    with pytest.raises(SealingError):
        open_sealed(replace(sealed, secret=sealed.data_key), OLD, OWNER)


@pytest.mark.parametrize("part", ["secret", "data_key"])
def test_no_bit_can_be_changed(part: str) -> None:
    """A change of any bit of either part, version and nonce included, is found."""
    sealed = seal(SECRET, OLD, OWNER)
    content = getattr(sealed, part)
    for at in range(len(content) * 8):
        changed = bytearray(content)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(SealingError):
            open_sealed(replace(sealed, **{part: bytes(changed)}), OLD, OWNER)  # type: ignore[arg-type]  # one of two


@pytest.mark.parametrize("length", range(30))
def test_what_was_cut_off_does_not_open(length: int) -> None:
    """A text of any shorter length is an error of ours and no other."""
    sealed = seal(SECRET, OLD, OWNER)

    with pytest.raises(SealingError):
        open_sealed(replace(sealed, secret=sealed.secret[:length]), OLD, OWNER)


def test_resealing_changes_the_master_key_alone() -> None:
    """After a change of the master key the secret's text is the same, and opens with the new one only."""
    sealed = seal(SECRET, OLD, OWNER)
    new = reseal(sealed, OLD, NEW, OWNER)

    assert (sealed.secret, NEW.id) == (new.secret, new.master_key_id)
    assert SECRET == open_sealed(new, NEW, OWNER)
    with pytest.raises(SealingError):
        open_sealed(new, OLD, OWNER)


def test_a_key_that_does_not_open_is_not_resealed() -> None:
    """A damaged secret stays under its master key, so that nothing looks well that is not."""
    sealed = seal(SECRET, OLD, OWNER)

    with pytest.raises(SealingError):
        reseal(replace(sealed, secret=sealed.secret[:-1] + b"x"), OLD, NEW, OWNER)


def test_a_master_key_is_named_the_same_everywhere() -> None:
    """The public name is made from the key, has 8 hex digits, and is not a plain hash of it."""
    assert OLD.id == MasterKey.decode(OLD.encode().reveal()).id
    assert 8 == len(OLD.id)
    assert OLD.id != NEW.id
    assert int(OLD.id, 16) >= 0


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_both_alphabets_of_base64_are_read(encode: object) -> None:
    """Keys with the characters in which the alphabets differ are read in either."""
    key = b"\xfb\xff\xfe" * 10 + b"\xff\xff"

    assert key == MasterKey.decode(encode(key).decode()).key  # type: ignore[operator]  # either function


@pytest.mark.parametrize("text", ["", "x", "short", "é" * 44, b64encode(bytes(31)).decode(), "!" * 44])
def test_what_is_no_master_key_is_refused_without_showing_it(text: str) -> None:
    """The error says what is wrong, not what was written."""
    with pytest.raises(ValueError, match=r"is not base64|is \d+ bytes long") as caught:
        MasterKey.decode(text)

    assert not text or text not in str(caught.value) or len(text) < 2


def test_nothing_shows_a_key() -> None:
    """No `repr` has a master key, a data key or a secret in it."""
    shown = repr([OLD, OLD.encode(), seal(SECRET, OLD, OWNER)])

    assert OLD.encode().reveal() not in shown
    assert repr(OLD.key) not in shown
    assert "sk-a-key" not in shown
