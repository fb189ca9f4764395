"""References to keys elsewhere: their shapes, and that none leads to what is another's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from kit.errors import GatewayError, Reason
from services.auth.core.provider_config import ProviderConfig
from services.auth.core.secret_ref import References, RefKind, SecretRef, parse
from services.auth.vault.secret_store import (
    EnvironmentStore,
    FileStore,
    KeyUnreadableError,
    ReferencedStore,
    SealedStore,
)
from services.auth.vault.store_sql import StoredKey

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def _key(ref: str, account_id: str = "acme") -> StoredKey:
    config = ProviderConfig(
        id="one",
        account_id=account_id,
        gateway_id="g",
        provider="openai",
        alias="default",
        created_at=NOW,
        updated_at=NOW,
        secret_ref=ref,
    )
    return StoredKey(config=config, sealed=None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("env:OPENAI", SecretRef(kind=RefKind.ENV, name="OPENAI")),
        ("env:OPENAI_2", SecretRef(kind=RefKind.ENV, name="OPENAI_2")),
        ("file:openai", SecretRef(kind=RefKind.FILE, name="openai")),
        ("file:.open-AI_2.key", SecretRef(kind=RefKind.FILE, name=".open-AI_2.key")),
        ("vault:openai#api_key", SecretRef(kind=RefKind.VAULT, name="openai", field="api_key")),
        ("vault:a/b.c/d#e", SecretRef(kind=RefKind.VAULT, name="a/b.c/d", field="e")),
        ("vault:a/...#e", SecretRef(kind=RefKind.VAULT, name="a/...", field="e")),
    ],
)
def test_a_reference_is_read_and_written_alike(text: str, expected: SecretRef) -> None:
    """A reference is taken apart, and put together again as it was."""
    assert expected == parse(text)
    assert text == parse(text).text


@pytest.mark.parametrize(
    "text",
    [
        "", "openai", "ENV:A", "http://x", "env:", "env:a", "env:A-B", "env:1A", "env:PATH/X", "env:A\n",
        "file:", "file:.", "file:..", "file:..data", "file:a/b", "file:../x", "file:/etc/passwd", "file:a\0b",
        "file:ä", "file:a\n", "file:" + "a" * 129,
        "vault:", "vault:a", "vault:a#", "vault:#b", "vault:../b#c", "vault:a/../b#c", "vault:a/..#c",
        "vault:..#c", "vault:.#c", "vault:./a#c", "vault:/a#c", "vault:a//b#c", "vault:a/#c", "vault:a?b#c",
        "vault:a%2e#c", "vault:a#b#c", "vault:a b#c", "vault:" + "a" * 510 + "#b",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    """Whatever could leave its place, or is not of a known kind, names the member in its error."""
    with pytest.raises(GatewayError) as caught:
        parse(text)

    assert (Reason.INVALID_REQUEST, "secret_ref") == (caught.value.reason, caught.value.metadata["param"])


@pytest.mark.parametrize(
    ("ref", "account_id", "kinds", "allowed"),
    [
        ("env:A", "local", {RefKind.ENV}, True),
        ("env:A", "acme", {RefKind.ENV}, False),
        ("file:a", "acme", {RefKind.ENV, RefKind.FILE}, True),
        ("file:a", "local", {RefKind.ENV}, False),
        ("vault:a#b", "acme", {RefKind.VAULT}, True),
        ("vault:a#b", "local", {RefKind.ENV, RefKind.FILE}, False),
    ],
)
def test_an_account_may_use_what_is_set_up_for_it(
    ref: str, account_id: str, kinds: set[RefKind], *, allowed: bool
) -> None:
    """The environment is the operator's alone; files and Vault are everybody's where they are set up."""
    references = References(operator_account="local", kinds=kinds)
    if allowed:
        references.check(parse(ref), account_id)
        return
    with pytest.raises(GatewayError) as caught:
        references.check(parse(ref), account_id)
    assert Reason.INVALID_REQUEST == caught.value.reason


async def test_the_environment_is_read_for_the_operator_alone() -> None:
    """One variable is given out, to one account; other variables are not seen at all."""
    store = EnvironmentStore({"HEADRACE_SECRET_A": " sk-a\n", "B": "sk-b", "HEADRACE_SECRET_C": ""}, "local")

    assert "sk-a" == (await store.get(parse("env:A"), "local")).reveal()
    for ref, account_id in (("env:A", "acme"), ("env:B", "local"), ("env:C", "local")):
        with pytest.raises(KeyUnreadableError):
            await store.get(parse(ref), account_id)


def _mounted(directory: Path, name: str, content: str, version: int = 1) -> None:
    """Lay a file as Kubernetes mounts a Secret, or a newer version of it."""
    directory.mkdir(parents=True, exist_ok=True)
    real = directory / f"..2026_{version}"
    real.mkdir()
    (real / name).write_text(content)
    (directory / "..new").symlink_to(real.name)
    (directory / "..new").rename(directory / "..data")
    if not (directory / name).is_symlink():
        (directory / name).symlink_to(f"..data/{name}")


async def test_mounted_files_are_read_as_they_are_now(tmp_path: Path) -> None:
    """Links as Kubernetes makes them work, the line's end goes, and a new version counts at once."""
    _mounted(tmp_path / "acme", "openai", "sk-one\n")
    store = FileStore(tmp_path)
    before = await store.get(parse("file:openai"), "acme")
    _mounted(tmp_path / "acme", "openai", "sk-two", version=2)

    assert ["sk-one", "sk-two"] == [
        before.reveal(),
        (await store.get(parse("file:openai"), "acme")).reveal(),
    ]


async def test_no_file_of_another_is_read(tmp_path: Path) -> None:
    """Neither another account's, nor one beside, nor one that a link in the directory leads to."""
    secrets = tmp_path / "secrets"
    _mounted(secrets / "umbrella", "openai", "sk-theirs")
    (secrets / "acme" / "folder").mkdir(parents=True)
    (secrets / "outside").write_text("sk-operators")
    (secrets / "acme" / "out").symlink_to("../outside")
    (secrets / "acme" / "theirs").symlink_to(secrets / "umbrella" / "openai")
    (secrets / "acme" / "round").symlink_to("round")
    (secrets / "acme" / "blank").write_text("\n")
    (secrets / "acme" / "binary").write_bytes(b"\xff\xfe\xff")
    (secrets / "acme" / "huge").write_text("x" * 70_000)
    store = FileStore(secrets)
    for name in ("openai", "out", "theirs", "round", "folder", "blank", "binary", "huge", "outside"):
        with pytest.raises(KeyUnreadableError, match=f"the file acme/{name} ") as caught:
            await store.get(SecretRef(kind=RefKind.FILE, name=name), "acme")
        assert "sk-" not in str(caught.value)
    for account_id in ("..", "umbrella/../umbrella", ""):
        with pytest.raises(KeyUnreadableError):
            await store.get(SecretRef(kind=RefKind.FILE, name="openai"), account_id)


async def test_a_kind_that_is_gone_is_said_so() -> None:
    """A reference whose store is not set up any more cannot be read, and a row without a key neither."""
    with pytest.raises(KeyUnreadableError, match="not set up any more"):
        await ReferencedStore({}).read(_key("file:openai"))
    with pytest.raises(KeyUnreadableError, match="no sealed key"):
        await SealedStore(None).read(_key(""))  # type: ignore[arg-type]  # the ring is not asked
