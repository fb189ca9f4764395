"""
Every setting that there is, by who reads it.

A variable that is not here is refused by every process, whichever services it runs: a misspelt setting must
not be ignored. `scripts/gen_config_docs.py` makes the reference from the same table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deploy.envoy.config import EnvoyConfig
from kit.config import DynamicSetting, unknown
from kit.database_config import DatabaseConfig
from kit.runtime_config import RuntimeConfig
from kit.valkey_config import ValkeyConfig
from services.auth.config import AuthConfig
from services.auth.vault.config import SECRET_SETTINGS, HashicorpConfig, VaultConfig
from services.cache.config import CacheConfig
from services.edge.config import EdgeConfig
from services.edge.spool.config import SpoolConfig
from services.ledger.config import LedgerConfig
from services.providers.config import DYNAMIC_SETTINGS as PROVIDER_SETTINGS
from services.providers.config import ProvidersConfig
from services.providers.local.config import LocalConfig
from services.router.config import HealthConfig, RouterConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "COMMAND_SETTINGS",
    "CONFIGS",
    "DATABASE_SERVICES",
    "DYNAMIC_SETTINGS",
    "SHARED",
    "VALKEY_SERVICES",
    "configs_of",
    "unknown_settings",
]

DATABASE_SERVICES: Final = ("auth", "router", "ledger")
"""Services that keep tables."""

VALKEY_SERVICES: Final = ("router", "cache")
"""Services that may keep something in Valkey."""

CONFIGS: Final[Mapping[str, tuple[type, ...]]] = {
    "every process": (RuntimeConfig,),
    "envoy, the front door": (EnvoyConfig,),
    "auth, router and ledger": (DatabaseConfig,),
    "router and cache": (ValkeyConfig,),
    "edge": (EdgeConfig, SpoolConfig),
    "auth": (AuthConfig, VaultConfig, HashicorpConfig),
    "router": (RouterConfig, HealthConfig),
    "cache": (CacheConfig,),
    "ledger": (LedgerConfig,),
    "providers": (ProvidersConfig, LocalConfig),
}

SHARED: Final = frozenset(
    {"every process", "envoy, the front door", "auth, router and ledger", "router and cache"}
)
"""Owners that are not one service."""

DYNAMIC_SETTINGS: Final = (
    *PROVIDER_SETTINGS,
    *SECRET_SETTINGS,
    DynamicSetting(
        prefix="HEADRACE_PROVIDER_",
        suffix="_ADDRESS",
        doc="gRPC address of the process that serves a provider, when it is not one of the usual two.",
    ),
)

# Read by the `headrace` command alone, which is above the services and so not imported here; a test compares.
# They pass, so that one environment serves both.
COMMAND_SETTINGS: Final = frozenset(
    {
        "HEADRACE_WORKERS",
        "HEADRACE_URL",
        "HEADRACE_TOKEN",
        "HEADRACE_TOKEN_FILE",
    }
)


def configs_of(services: Iterable[str]) -> list[type]:
    """Return the config classes of services, each once."""
    names = list(services)
    shared: list[type] = [DatabaseConfig] if any(name in DATABASE_SERVICES for name in names) else []
    if any(name in VALKEY_SERVICES for name in names):
        shared.append(ValkeyConfig)
    return [*shared, *(cls for name in names for cls in CONFIGS.get(name, ()))]


def unknown_settings(env: Mapping[str, str]) -> list[str]:
    """Return one line for each `HEADRACE_*` variable that does not exist."""
    classes = [cls for group in CONFIGS.values() for cls in group]
    return unknown(env, classes, DYNAMIC_SETTINGS, others=COMMAND_SETTINGS)
