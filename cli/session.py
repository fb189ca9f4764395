"""How a command reaches the installation: which address, which token, which account."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cli.api import TIMEOUT_S, Api, ApiError, path_of
from cli.ready import connectable
from cli.rpc import fail, not_running
from kit.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cli.config import CliConfig
    from kit.runtime_config import RuntimeConfig

__all__ = ["Session", "complete_gateway", "connect", "connect_local"]

_COMPLETION_TIMEOUT_S = 1.0
_OWN_TIMEOUT_S = 5.0
_HERE: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """
    What a command works with.

    Attributes:
        api: The management API.
        account: The account that is meant.
        own_account: The account that belongs to the installation.
    """

    api: Api
    account: str
    own_account: str

    def path(self, *segments: str) -> str:
        """Give a path under the account."""
        return path_of("accounts", self.account, *segments)

    def gateway(self, gateway_id: str, *segments: str) -> str:
        """Give a path under a gateway."""
        return self.path("ai-gateway", "gateways", gateway_id, *segments)


def connect(
    url: str = "", account: str = "", *, env: Mapping[str, str] = os.environ, timeout_s: float = TIMEOUT_S
) -> Session:
    """
    Find the installation from options and settings; end the program when they do not say where it is.

    Raises:
        ApiError: The address is none.
    """
    from cli.config import CliConfig
    from kit.config import ConfigError, load
    from kit.runtime_config import RuntimeConfig

    try:
        config, runtime = load(CliConfig, env), load(RuntimeConfig, env)
    except ConfigError as error:
        fail("\n".join(error.problems), status=2)
    chosen = url or config.url or ""
    api = Api(
        chosen or _local_url(config),
        config.token or _token(runtime, chosen),
        absent="" if chosen else not_running(runtime),
        timeout_s=timeout_s,
    )
    return Session(api=api, account=account or runtime.account, own_account=runtime.account)


def connect_local(config: CliConfig, runtime: RuntimeConfig) -> Session:
    """
    Find the installation that this process itself has started.

    Raises:
        ApiError: Its token cannot be read.
    """
    token = config.token
    if token is None:
        try:
            token = Secret((runtime.data_dir / "token").read_text().strip())
        except OSError as error:
            raise ApiError(f"the token in {runtime.data_dir} cannot be read: {error.strerror}") from error
    # A stop waits for a call that is under way.
    api = Api(_local_url(config), token, timeout_s=_OWN_TIMEOUT_S)
    return Session(api=api, account=runtime.account, own_account=runtime.account)


def _local_url(config: CliConfig) -> str:
    host = connectable(config.host)
    return f"http://[{host}]:{config.port}" if ":" in host else f"http://{host}:{config.port}"


def _is_here(url: str) -> bool:
    """Say whether an address is this machine's own: nobody else is sent this installation's token."""
    return (urlsplit(url).hostname or "") in _HERE


def _token(runtime: RuntimeConfig, url: str) -> Secret:
    path = runtime.data_dir / "token"
    if url and not _is_here(url):
        fail(f"There is no token for {url}: set HEADRACE_TOKEN or HEADRACE_TOKEN_FILE.")
    try:
        return Secret(path.read_text().strip())
    except FileNotFoundError:
        if not url and not runtime.data_dir.exists():
            fail(not_running(runtime))
        fail(
            f"There is no token: set HEADRACE_TOKEN or HEADRACE_TOKEN_FILE, or write it to {path}. "
            "`headrace token recover` makes one on the operator's own machine."
        )
    except OSError as error:
        fail(f"The token in {path} cannot be read: {error.strerror}.")


def complete_gateway(incomplete: str) -> list[str]:
    """Give the names of gateways that begin so, for the shell; nothing when they cannot be had soon."""
    # Whatever goes wrong, a person who presses Tab wants no message.
    try:
        session = connect(timeout_s=_COMPLETION_TIMEOUT_S)
        gateways = session.api.pages(session.path("ai-gateway", "gateways"), {"search": incomplete})
    except (Exception, SystemExit):  # noqa: BLE001  # as above
        return []
    return [each["id"] for each in gateways if each["id"].startswith(incomplete)]
