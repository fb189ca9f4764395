"""
What Google does with the assertion of a service account: checks who signed it, and gives a token.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from google.auth import exceptions, jwt

__all__ = ["GoogleDoor"]

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_AUDIENCE = "https://oauth2.googleapis.com/token"


class GoogleDoor:
    """
    Gives tokens.

    Args:
        private_key: Of the account, in PEM.
        token: What it gets.
    """

    def __init__(self, private_key: str, token: str) -> None:
        key = serialization.load_pem_private_key(private_key.encode(), None)
        self._public_key = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._token = token

    def answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
        """Answer a request for a token: status and body."""
        form = parse_qs(body.decode())
        decode: Any = jwt.decode
        try:
            decode(form["assertion"][0], certs=self._public_key, audience=_AUDIENCE)
        except (KeyError, ValueError, exceptions.GoogleAuthError):
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        if form.get("grant_type") != [_GRANT]:
            return 400, {"error": "unsupported_grant_type"}
        return 200, {"access_token": self._token, "expires_in": 3599, "token_type": "Bearer"}
