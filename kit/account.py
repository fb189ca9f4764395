"""
What an account id is: it stands in URLs, in tokens' owners and in the names of what belongs to an account.
"""

from __future__ import annotations

import re
from typing import Final

from kit.errors import GatewayError, Reason

__all__ = ["ACCOUNT_ID", "check_account_id"]

ACCOUNT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def check_account_id(text: str) -> str:
    """
    Return an account id that is one.

    Raises:
        GatewayError: INVALID_REQUEST.
    """
    if not ACCOUNT_ID.fullmatch(text):
        message = "An account id has 1 to 64 letters, digits, hyphens or underscores."
        raise GatewayError(Reason.INVALID_REQUEST, message, param="account_id")
    return text
