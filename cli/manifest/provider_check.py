"""The router's own checks of a provider that an account names, before it is asked."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from services.router.core.custom_provider import CustomProvider, checked

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_provider"]

_TEXTS: Final = ("description", "link", "curl_example", "js_example")
_ANY: Final = datetime(2000, 1, 1, tzinfo=UTC)


def check_provider(account_id: str, slug: str, fields: Mapping[str, Any]) -> None:
    """
    Check what a provider is to be.

    Raises:
        GatewayError: INVALID_REQUEST; `param` is the path to what is wrong.
    """
    checked(
        CustomProvider(
            account_id=account_id,
            id="",
            slug=slug,
            base_url=fields["base_url"],
            name=fields["name"],
            headers=tuple((name, value.encode()) for name, value in fields["headers"].items()),
            enabled=fields["enable"],
            created_at=_ANY,
            updated_at=_ANY,
            beta=fields["beta"],
            position=fields["position"],
            **{name: fields[name] for name in _TEXTS},
        )
    )
