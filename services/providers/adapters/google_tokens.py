"""
Access tokens for service accounts of Google's: an assertion is signed here and exchanged for a token there.

Tokens are kept until shortly before they end, under a hash of the account's key. Nothing here is logged.
google-auth signs; it is imported with the first signature, since that takes a fifth of a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64decode
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import orjson
from yarl import URL

from kit.errors import GatewayError, Reason
from services.providers.answer import BrokenAnswerError
from services.providers.upstream import Timeouts, UpstreamRequest

if TYPE_CHECKING:
    from kit.clock import Clock
    from services.providers.upstream import Upstream

__all__ = ["GoogleTokens", "ServiceAccount", "read_account"]

_TOKEN_URL: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME_S: Final = 3600
# A token has to outlive the request that is sent with it.
_MARGIN_S: Final = 120.0
_MOST_KEPT: Final = 256
_TIMEOUTS: Final = Timeouts(connect_s=10.0, first_byte_s=15.0, idle_s=15.0, total_s=20.0)
_EMAIL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}@[A-Za-z0-9.-]{1,190}")
_TOKEN: Final = re.compile(r"[!-~]{1,8192}")
_LONGEST_KEY: Final = 16 << 10
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """
    A key of a service account.

    Attributes:
        email: Of the account.
        private_key: In PEM.
        key_id: Of the key.
        project: It belongs to; empty: the key does not say.
        region: Where it is used; not Google's member but one that clients add. Empty: not said.
    """

    email: str
    private_key: str = field(repr=False)
    key_id: str = ""
    project: str = ""
    region: str = ""


def read_account(text: str) -> ServiceAccount | None:
    """
    Read the JSON of a key, or base64 of it; None: it is something else, such as a token.

    Raises:
        GatewayError: INVALID_REQUEST; it begins like such a key, but cannot be used. Holds none of it.
    """
    text = text.strip()
    if not text.startswith("{"):
        text = _decoded(text)
        if not text.startswith("{"):
            return None
    try:
        document: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise _unusable("is not valid JSON")
    email, private_key = document.get("client_email"), document.get("private_key")
    if not isinstance(email, str) or not _EMAIL.fullmatch(email):
        raise _unusable("has no client_email")
    if not isinstance(private_key, str) or not 0 < len(private_key) <= _LONGEST_KEY:
        raise _unusable("has no private_key")
    if document.get("token_uri", _TOKEN_URL) != _TOKEN_URL:
        # Whoever gives a key must not choose where we send things to.
        raise _unusable(f"has a token_uri other than {_TOKEN_URL}")
    return ServiceAccount(
        email=email,
        private_key=private_key,
        key_id=_text(document, "private_key_id"),
        project=_text(document, "project_id"),
        region=_text(document, "region"),
    )


class GoogleTokens:
    """
    The tokens of all accounts. Callers that want the same one at the same time wait for one exchange.

    Args:
        upstream: Where assertions are exchanged.
        clock: The time.
        provider: Slug, for errors.
        token_url: Where, instead of at Google.
    """

    def __init__(
        self, upstream: Upstream, clock: Clock, *, provider: str, token_url: URL | None = None
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        self._provider = provider
        self._token_url = token_url or URL(_TOKEN_URL)
        self._kept: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._running: dict[bytes, asyncio.Task[str]] = {}

    async def token(self, account: ServiceAccount) -> str:
        """
        Return a token.

        Raises:
            GatewayError: INVALID_REQUEST or CREDENTIAL_MISSING; the key is none, or not accepted. UPSTREAM_…;
                Google cannot be asked.
        """
        key = _key(account)
        kept = self._kept.get(key)
        if kept is not None and kept[0] > self._clock.monotonic_s():
            self._kept.move_to_end(key)
            return kept[1]
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._mint(account, key))
            task.add_done_callback(lambda done: self._done(key, done))
        # Whoever gives up waiting does not take the token away from the others.
        return await asyncio.shield(task)

    def _done(self, key: bytes, task: asyncio.Task[str]) -> None:
        self._running.pop(key, None)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report one that nobody waited for

    async def _mint(self, account: ServiceAccount, key: bytes) -> str:
        # Reading a key and signing with it takes milliseconds in which other calls go on.
        assertion = await asyncio.to_thread(_signed, account, int(self._clock.now_s()))
        status, body = await self._exchange(assertion)
        token, lifetime_s = self._read(status, body)
        self._kept[key] = (self._clock.monotonic_s() + max(0.0, lifetime_s - _MARGIN_S), token)
        self._kept.move_to_end(key)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return token

    async def _exchange(self, assertion: str) -> tuple[int, bytes]:
        answer = await self._upstream.send(
            UpstreamRequest(
                provider=self._provider,
                method="POST",
                url=self._token_url,
                headers=[("content-type", "application/x-www-form-urlencoded")],
                body=urlencode({"grant_type": _GRANT, "assertion": assertion}).encode(),
                timeouts=_TIMEOUTS,
            )
        )
        try:
            return answer.status, await answer.read_all()
        except BrokenAnswerError as error:
            raise GatewayError(Reason.UPSTREAM_CUT, error.message, provider=self._provider) from error
        finally:
            answer.close()

    def _read(self, status: int, body: bytes) -> tuple[str, float]:
        try:
            document: Any = orjson.loads(body)
        except orjson.JSONDecodeError:
            document = None
        document = document if isinstance(document, dict) else {}
        if 400 <= status < 500 and status != 429:
            word = _text(document, "error")
            raise GatewayError(
                Reason.CREDENTIAL_MISSING,
                f"Google does not accept the service account's key{f' ({word[:40]})' if word else ''}.",
                provider=self._provider,
            )
        token, lifetime_s = document.get("access_token"), document.get("expires_in", _LIFETIME_S)
        if status != 200 or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            text = f"Google answered the question for an access token with status {status}."
            raise GatewayError(Reason.UPSTREAM_ERROR, text, provider=self._provider, status=str(status))
        return token, float(lifetime_s) if isinstance(lifetime_s, int | float) else 0.0


def _signed(account: ServiceAccount, now_s: int) -> str:
    # Imported here: it is large, and most processes never need it.
    from google.auth import crypt, jwt

    read_key: Any = crypt.RSASigner.from_string
    encode: Any = jwt.encode
    try:
        signer = read_key(account.private_key, account.key_id or None)
        claims = {
            "iss": account.email,
            "scope": _SCOPE,
            "aud": _TOKEN_URL,
            "iat": now_s,
            "exp": now_s + _LIFETIME_S,
        }
        written: bytes = encode(signer, claims)
    except Exception:  # noqa: BLE001 - of whichever library, which may quote of the key that is at fault
        raise _unusable("has a private_key that cannot be read") from None
    return written.decode()


def _decoded(text: str) -> str:
    if not _BASE64.fullmatch(text):
        return ""
    try:
        return b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)).decode().strip()
    except ValueError:
        return ""


def _key(account: ServiceAccount) -> bytes:
    return hashlib.sha256(f"{account.email}\0{account.key_id}\0{account.private_key}".encode()).digest()


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _unusable(why: str) -> GatewayError:
    return GatewayError(Reason.INVALID_REQUEST, f"The service account's key {why}.", param="authorization")
