"""What may be chosen of a stored key, what a change makes of it, and which keys are a pool."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kit.errors import GatewayError, Reason
from kit.secret import Secret
from services.auth.core.provider_config import (
    KeyStatus,
    ProviderConfig,
    ProviderConfigChange,
    aliases,
    applied,
    check_config,
    check_secret,
    fingerprint,
    pool,
    preview,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
CONFIG = ProviderConfig(
    id="one",
    account_id="acme",
    gateway_id="prod",
    provider="openai",
    alias="default",
    created_at=NOW,
    updated_at=NOW,
    secret_preview="abcd",
    rate_limit=5,
    status=KeyStatus.INVALID,
    last_used_at=NOW,
)


@pytest.mark.parametrize(
    "chosen",
    [
        {"alias": "A_z-9"}, {"alias": "a" * 64}, {"weight": 1}, {"weight": 1000}, {"rate_limit": None},
        {"rate_limit": 1}, {"rate_limit": 1_000_000_000}, {"rate_limit_period_ms": 1000},
        {"rate_limit_period_ms": 30 * 86_400_000}, {"provider": "custom-my-own"}, {"provider": "a.b_c-d"},
        {"gateway_id": "a_b-c"}, {"secret_ref": "file:openai"},
    ],
)  # fmt: skip
def test_what_is_within_bounds_is_taken(chosen: dict[str, Any]) -> None:
    """Each bound itself is allowed."""
    check_config(replace(CONFIG, **chosen))


@pytest.mark.parametrize(
    ("chosen", "param"),
    [
        ({"alias": ""}, "alias"), ({"alias": "a" * 65}, "alias"), ({"alias": "a b"}, "alias"),
        ({"alias": "ä"}, "alias"), ({"alias": "a\n"}, "alias"), ({"weight": 0}, "weight"),
        ({"weight": 1001}, "weight"), ({"weight": -1}, "weight"), ({"rate_limit": 0}, "rate_limit"),
        ({"rate_limit": -1}, "rate_limit"), ({"rate_limit": 1_000_000_001}, "rate_limit"),
        ({"rate_limit_period_ms": 999}, "rate_limit_period"),
        ({"rate_limit_period_ms": 30 * 86_400_000 + 1}, "rate_limit_period"),
        ({"provider": ""}, "provider"), ({"provider": "Open AI"}, "provider"),
        ({"provider": "a" * 65}, "provider"), ({"gateway_id": ""}, "gateway_id"),
        ({"gateway_id": "a--b"}, "gateway_id"), ({"gateway_id": "a" * 65}, "gateway_id"),
        ({"secret_ref": "http://a"}, "secret_ref"),
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused(chosen: dict[str, Any], param: str) -> None:
    """Each step beyond a bound is refused, and the member named."""
    with pytest.raises(GatewayError) as caught:
        check_config(replace(CONFIG, **chosen))

    assert (Reason.INVALID_REQUEST, param) == (caught.value.reason, caught.value.metadata["param"])


@pytest.mark.parametrize("text", ["x", "x" * 65_536, "line\nline", '{"a": 1}', "ключ"])
def test_a_key_may_be_any_text(text: str) -> None:
    """A key may be long, have lines, or be JSON, as some providers' are."""
    check_secret(text)


@pytest.mark.parametrize("text", ["", "  \n", "a\0b", "x" * 65_537, "ключ" * 10_000])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    """The error does not hold what was given."""
    with pytest.raises(GatewayError) as caught:
        check_secret(text)

    assert "secret" == caught.value.metadata["param"]
    assert not text.strip() or text not in caught.value.message


@pytest.mark.parametrize(
    ("secret", "expected"),
    [("", ""), ("x" * 11, ""), ("sk-345678901", "8901"), ("sk-" + "y" * 40 + "wxyz", "wxyz")],
)
def test_a_preview_is_a_small_part(secret: str, expected: str) -> None:
    """Of keys with fewer than twelve characters nothing is shown."""
    assert expected == preview(secret)


def test_a_change_leaves_what_it_does_not_name() -> None:
    """Absent members stay, status included; only the time of the change is new."""
    assert replace(CONFIG, updated_at=LATER) == applied(CONFIG, ProviderConfigChange(), LATER)


def test_a_change_is_made_of_what_it_names() -> None:
    """Every member that may change does, and the limit goes when it is zero."""
    change = ProviderConfigChange(
        alias="other", weight=7, rate_limit=0, rate_limit_period_ms=2000, default_config=True
    )
    expected = replace(
        CONFIG,
        updated_at=LATER,
        alias="other",
        weight=7,
        rate_limit=None,
        rate_limit_period_ms=2000,
        default_config=True,
    )

    assert expected == applied(CONFIG, change, LATER)


def test_a_new_key_starts_with_a_clean_status() -> None:
    """What was known of the old key does not hold for the new one, sealed or elsewhere."""
    sealed = applied(CONFIG, ProviderConfigChange(secret=Secret("sk-0123456789-wxyz")), LATER)
    elsewhere = applied(sealed, ProviderConfigChange(secret_ref="file:openai"), LATER)

    assert (KeyStatus.UNUSED, "wxyz", "") == (sealed.status, sealed.secret_preview, sealed.secret_ref)
    assert ("", "file:openai") == (elsewhere.secret_preview, elsewhere.secret_ref)


def test_a_fingerprint_tells_keys_apart_and_nothing_more() -> None:
    """The same key in another config has another fingerprint; it goes with the key when that changes."""
    sealed = applied(CONFIG, ProviderConfigChange(secret=Secret("sk-0123456789-wxyz")), LATER)
    elsewhere = applied(sealed, ProviderConfigChange(secret_ref="file:openai"), LATER)

    assert "00d07dfc" == fingerprint("one", "sk-0123456789-wxyz") == sealed.secret_fingerprint
    assert len({fingerprint("one", "a"), fingerprint("one", "b"), fingerprint("two", "a")}) == 3
    assert "" == elsewhere.secret_fingerprint


def test_a_change_is_held_to_the_same_bounds() -> None:
    """A change cannot make what could not be created."""
    with pytest.raises(GatewayError, match="A weight is 1 to 1000"):
        applied(CONFIG, ProviderConfigChange(weight=0), LATER)


def test_keys_of_one_alias_are_a_pool() -> None:
    """The alias chooses, `default` where none is named; aliases are listed once each, sorted."""
    configs = [replace(CONFIG, id=name, alias=name[0]) for name in ("b1", "a1", "b2")] + [CONFIG]

    assert ["b1", "b2"] == [each.id for each in pool(configs, "b")]
    assert [CONFIG] == list(pool(configs, ""))
    assert () == pool(configs, "c")
    assert ("a", "b", "default") == aliases(configs)
