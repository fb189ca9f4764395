"""
Keys in HashiCorp Vault or OpenBao: its KV engine, version 2, over HTTP.

Speaks two requests of that API: reading a secret, and logging in by Kubernetes. Each account's secrets are
under a path of its own, which this module puts in front. Imported only where a Vault is set up.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp
import orjson
from yarl import URL

from kit.config_values import read_secret_file
from kit.secret import Secret
from services.auth.vault.secret_store import KeyUnreadableError, key_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from kit.clock import Clock
    from services.auth.core.secret_ref import SecretRef
    from services.auth.vault.config import HashicorpConfig

__all__ = ["HashicorpStore", "open_hashicorp"]

_MOST_BYTES: Final = 1 << 20  # Vault's own limit for an entry of its usual storage
_RENEW_AT: Final = 2 / 3  # of a login's time, as Vault's own agent does
_LEAST_BETWEEN_LOGINS_S: Final = 30.0  # each login leaves a token behind in Vault until its time is over
_LOGIN_S: Final = 10.0  # one that goes on is of use to whoever asks next
_LATE: Final = "Vault did not answer in time"
_REASONS: Final = {
    400: "Vault does not take the request: it may lack the path's mount, or auth's token",
    403: "Vault does not let auth read it: the token is bad or over, or its policy does not allow the path",
    404: "Vault has nothing there: no such secret, a deleted one, or no KV engine of version 2",
    412: "Vault does not have it yet on this node",
    429: "Vault asks to wait",
    503: "Vault is sealed or under maintenance",
}


class TokenSource(Protocol):
    """Has a token for Vault."""

    async def token(self) -> Secret:
        """
        Return the token.

        Raises:
            KeyUnreadableError: There is none now.
        """
        ...

    def refused(self, token: Secret) -> bool:
        """Take note that Vault refused a token; return whether asking for another makes sense."""
        ...


class GivenToken:
    """
    A token from a variable, or from a file that may change.

    Args:
        token: As it was at the start.
        file: Where it is read again, when it came from a file.
    """

    def __init__(self, token: Secret, file: Path | None) -> None:
        self._token = token
        self._file = file
        self._seen: tuple[int, int, int] | None = None

    async def token(self) -> Secret:
        """Return the token, read again where its file has changed."""
        if self._file is not None:
            await asyncio.to_thread(self._read, self._file)
        return self._token

    def refused(self, token: Secret) -> bool:
        """Look into the file again, whatever its times say."""
        self._seen = None
        return self._file is not None and token == self._token

    def _read(self, file: Path) -> None:
        try:
            now = file.stat()
            seen = (now.st_ino, now.st_mtime_ns, now.st_size)
            if seen != self._seen:
                self._token, self._seen = read_secret_file(file), seen
        except (OSError, ValueError):
            return  # being replaced, most likely; the one that is known may still do


class KubernetesLogin:
    """
    A token for which this pod's service account logs in, again before it is over.

    Args:
        session: To Vault.
        config: Role and files.
        clock: Tells when it is over.
    """

    def __init__(self, session: aiohttp.ClientSession, config: HashicorpConfig, clock: Clock) -> None:
        self._session = session
        self._config = config
        self._clock = clock
        self._token: Secret | None = None
        self._made_at_s = 0.0
        self._renew_at_s = 0.0
        self._login: asyncio.Task[Secret] | None = None

    async def token(self) -> Secret:
        """Return the token, logging in where there is none or it is soon over."""
        if self._token is not None and self._clock.monotonic_s() < self._renew_at_s:
            return self._token
        if self._login is None:
            self._login = asyncio.create_task(self._log_in(), name="vault login")
            self._login.add_done_callback(self._logged_in)
        # It goes on for the next one when this one waits no longer.
        return await asyncio.shield(self._login)

    def refused(self, token: Secret) -> bool:
        """Log in again next time, unless this token is a new one: then it is the policy that refuses."""
        if token != self._token:
            return True
        if self._clock.monotonic_s() - self._made_at_s < _LEAST_BETWEEN_LOGINS_S:
            return False
        self._token = None
        return True

    def _logged_in(self, task: asyncio.Task[Secret]) -> None:
        self._login = None
        if not task.cancelled() and task.exception() is None:
            self._token = task.result()

    async def _log_in(self) -> Secret:
        try:
            jwt = await asyncio.to_thread(read_secret_file, self._config.jwt_file)
        except ValueError as error:
            raise KeyUnreadableError(f"the file {self._config.jwt_file} {error}") from error
        url = _url(self._config, f"auth/{self._config.auth_mount}/login")
        body = orjson.dumps({"role": self._config.role, "jwt": jwt.reveal()})
        answer = await _ask(self._session, "POST", url, {"Content-Type": "application/json"}, body)
        auth = answer.get("auth")
        if not isinstance(auth, dict) or not isinstance(auth.get("client_token"), str):
            raise KeyUnreadableError("Vault's answer to the login has no token")
        lease_s = auth.get("lease_duration")
        # Without an end there is nothing to be early for.
        left_s = float(lease_s) if isinstance(lease_s, (int, float)) and lease_s > 0 else float("inf")
        self._made_at_s = self._clock.monotonic_s()
        self._renew_at_s = self._made_at_s + left_s * _RENEW_AT
        return Secret(auth["client_token"])


class HashicorpStore:
    """
    Reads accounts' keys from Vault.

    Args:
        session: To Vault.
        config: Where the secrets are.
        tokens: Has the token.
    """

    def __init__(self, session: aiohttp.ClientSession, config: HashicorpConfig, tokens: TokenSource) -> None:
        self._session = session
        self._config = config
        self._tokens = tokens

    async def get(self, ref: SecretRef, account_id: str) -> Secret:
        """Return a field of an account's secret, in its newest version."""
        where = "/".join(filter(None, (self._config.prefix.strip("/"), account_id, ref.name)))
        try:
            # Of all that it takes: whoever asks auth waits for the whole, and not for an answer of Vault's.
            async with asyncio.timeout(self._config.timeout_s):
                answer = await self._newest(where)
        except TimeoutError as error:
            raise KeyUnreadableError(_LATE) from error
        data = answer.get("data")
        fields = data.get("data") if isinstance(data, dict) else None
        if not isinstance(fields, dict):
            raise KeyUnreadableError(f"{where} in Vault is not a secret of a KV engine of version 2")
        value = fields.get(ref.field)
        if not isinstance(value, str):
            raise KeyUnreadableError(f"{where} in Vault has no field {ref.field} that is a text")
        return key_of(value.encode(), f"{where}#{ref.field} in Vault")

    async def _newest(self, where: str) -> Mapping[str, Any]:
        token = await self._tokens.token()
        try:
            return await self._read(where, token)
        except _RefusedError:
            if not self._tokens.refused(token):
                raise
            return await self._read(where, await self._tokens.token())

    async def _read(self, where: str, token: Secret) -> Mapping[str, Any]:
        url = _url(self._config, f"{self._config.mount.strip('/')}/data/{where}")
        return await _ask(self._session, "GET", url, {"X-Vault-Token": token.reveal()}, None)


@asynccontextmanager
async def open_hashicorp(
    config: HashicorpConfig, *, token_file: Path | None, clock: Clock
) -> AsyncIterator[HashicorpStore]:
    """
    Make the store of a Vault. Nothing is asked of it before the first key is.

    Raises:
        OSError: The certificates cannot be read.
    """
    trusted = None if config.ca_file is None else await asyncio.to_thread(_trusting, config.ca_file)
    headers = {"X-Vault-Request": "true", "Accept": "application/json"}
    if config.namespace:
        headers["X-Vault-Namespace"] = config.namespace
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trusted or True, limit=8),
        # Of a login, which may outlast who asked for it; a key's own time is shorter.
        timeout=aiohttp.ClientTimeout(total=max(_LOGIN_S, config.timeout_s)),
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
    ) as session:
        tokens: TokenSource
        if config.token is not None:
            tokens = GivenToken(config.token, token_file)
        else:
            tokens = KubernetesLogin(session, config, clock)
        yield HashicorpStore(session, config, tokens)


class _RefusedError(KeyUnreadableError):
    """Vault refused the token, or what it asked for."""


def _trusting(ca_file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise OSError(f"HEADRACE_AUTH_VAULT_CA_FILE: the file {ca_file} cannot be used: {error}.") from error
    return context


def _url(config: HashicorpConfig, path: str) -> URL:
    # References have no character that would need quoting; the operator's own settings are quoted here.
    return URL(str(config.address).rstrip("/")) / "v1" / path


async def _ask(
    session: aiohttp.ClientSession, method: str, url: URL, headers: Mapping[str, str], body: bytes | None
) -> Mapping[str, Any]:
    try:
        # A redirect would take the token to an address that nobody chose.
        async with session.request(
            method, url, headers=headers, data=body, allow_redirects=False
        ) as response:
            content = await response.content.read(_MOST_BYTES + 1)
            while not response.content.at_eof() and len(content) <= _MOST_BYTES:
                content += await response.content.read(_MOST_BYTES + 1 - len(content))
            status = response.status
    except TimeoutError as error:
        raise KeyUnreadableError(_LATE) from error
    except (aiohttp.ClientError, OSError) as error:
        raise KeyUnreadableError(f"Vault cannot be reached: {type(error).__name__}") from error
    if status != 200:
        reason = _REASONS.get(status, f"Vault answered with status {status}")
        raise (_RefusedError if status == 403 else KeyUnreadableError)(f"{url.path}: {reason}")
    return _parsed(content)


def _parsed(content: bytes) -> Mapping[str, Any]:
    try:
        answer = orjson.loads(content) if len(content) <= _MOST_BYTES else None
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise KeyUnreadableError("Vault's answer is not JSON, or too long")
    return answer
