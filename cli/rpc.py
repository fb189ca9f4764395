"""Calls to a running installation, and what is said when there is none."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from kit.config import ConfigError, load
from kit.errors import GatewayError, Reason
from kit.runtime_config import RuntimeConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping

    from kit.tls import TlsSource

__all__ = ["CALLER", "TIMEOUT_S", "channel", "fail", "not_running", "run", "runtime_of"]

CALLER: Final = "cli"
TIMEOUT_S: Final = 10.0

_T = TypeVar("_T")


class NotRunningError(Exception):
    """There is nobody to call; the message says how to start."""


@asynccontextmanager
async def channel(name: str, runtime: RuntimeConfig) -> AsyncIterator[Any]:
    """
    Open a channel to a service, for a generated stub.

    To another host it shows the certificate in `HEADRACE_TLS_DIR`, which must be of the identity `cli`.

    Raises:
        ConfigError: That certificate cannot be used.
        NotRunningError: Nobody listens where it would.
    """
    from kit.rpc.client import connect
    from kit.telemetry.tracing import Tracing

    target = runtime.target(name)
    if not _is_there(target):
        raise NotRunningError(not_running(runtime))
    opened = connect(
        target,
        service=name,
        caller=CALLER,
        tracing=Tracing(CALLER),
        max_message_bytes=runtime.max_message_bytes,
        tls=_certificates(target, runtime),
    )
    try:
        yield opened
    except GatewayError as error:
        if error.reason is Reason.SERVICE_UNAVAILABLE:
            raise NotRunningError(f"{name} does not answer. {not_running(runtime)}") from error
        raise
    finally:
        await opened.close()


def _certificates(target: str, runtime: RuntimeConfig) -> TlsSource | None:
    from kit.rpc.credentials import is_local

    if runtime.tls_dir is None or is_local(target):
        return None
    from kit.tls import source_of

    return source_of(runtime.tls_dir)


def _is_there(target: str) -> bool:
    return not target.startswith("unix:") or Path(target.removeprefix("unix:")).exists()


def not_running(runtime: RuntimeConfig) -> str:
    """Say that there is no installation, and how to start one."""
    return (
        f"Headrace is not running on the data directory {runtime.data_dir}. Start it with `headrace up`, "
        "or set HEADRACE_DATA_DIR to where it runs."
    )


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a call and give its result; end the program with a plain sentence when it fails."""
    try:
        return asyncio.run(work)
    except NotRunningError as error:
        fail(str(error))
    except ConfigError as error:
        fail("\n".join(error.problems), status=2)
    except GatewayError as error:
        fail(error.message)
    except KeyboardInterrupt:
        sys.exit(130)


def fail(text: str, *, status: int = 1) -> NoReturn:
    """Say what is wrong, and end the program."""
    for line in text.splitlines():
        sys.stderr.write(f"headrace: {line}\n")
    sys.exit(status)


def runtime_of(env: Mapping[str, str]) -> RuntimeConfig:
    """Read where the installation is; end the program when the settings do not say."""
    try:
        return load(RuntimeConfig, env)
    except ConfigError as error:
        fail("\n".join(error.problems), status=2)
