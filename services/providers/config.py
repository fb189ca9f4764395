"""
Settings of the provider service, and each provider's own settings.

Which providers there are is `registry.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from yarl import URL

from kit.config import ConfigError, DynamicSetting, setting
from kit.config_values import read_secret_file
from kit.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CALLERS", "DYNAMIC_SETTINGS", "ProviderSettings", "ProvidersConfig", "provider_settings"]

# Who may call this service. `external` may not: a call names its credential source, which the edge decides.
CALLERS: Final = {"Invoke": frozenset({"edge"}), "ListModels": frozenset({"cli", "edge"})}

_PREFIX: Final = "HEADRACE_PROVIDER_"
_BASE_URL: Final = "_BASE_URL"
_API_KEY: Final = "_API_KEY"
_API_KEY_FILE: Final = "_API_KEY_FILE"

DYNAMIC_SETTINGS: Final = (
    DynamicSetting(
        prefix=_PREFIX,
        suffix=_BASE_URL,
        doc="Where a provider's API is, instead of its public address. Trusted: it may be a private address.",
    ),
    DynamicSetting(
        prefix=_PREFIX,
        suffix=_API_KEY,
        doc="The operator's own key for a provider, used when a request brings none.",
        secret=True,
    ),
    DynamicSetting(
        prefix=_PREFIX,
        suffix=_API_KEY_FILE,
        doc="File that holds the operator's own key for a provider.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvidersConfig:
    """How provider APIs are called, where a request or a gateway does not say otherwise."""

    PREFIX: ClassVar[str] = "HEADRACE_PROVIDERS_"

    only: tuple[str, ...] = setting(
        (),
        "Provider slugs that this process serves. Default: all that it knows; a process of its own for the "
        "local model serves `local` and leaves it out of the others.",
    )
    connect_timeout_s: float = setting(
        10.0, "Longest time to get a connection to a provider, TLS included.", at_least=0.001
    )
    first_byte_timeout_s: float = setting(
        300.0,
        "Longest time from a request sent to the first content of its answer. Models that think before they "
        "answer take minutes.",
        at_least=0.001,
    )
    idle_timeout_s: float = setting(
        120.0,
        "Longest silence in the middle of an answer. Providers send keep-alives well below a minute apart.",
        at_least=0.001,
    )
    total_timeout_s: float = setting(
        900.0, "Longest time for a whole attempt, streams included.", at_least=0.001
    )
    pool_size: int = setting(
        4096, "Most connections to all providers together. Each running stream holds one.", at_least=1
    )
    pool_size_per_host: int = setting(
        0, "Most connections to one provider. 0: as many as the whole pool allows.", at_least=0
    )
    keepalive_s: float = setting(
        30.0,
        "How long an idle connection is kept. Below the 60 s after which common load balancers close theirs, "
        "so that a request does not meet a connection that is about to go.",
        at_least=0,
    )
    max_answer_bytes: int = setting(
        64 << 20, "Longest answer that is read, decompressed, streams included.", at_least=1024
    )
    max_event_bytes: int = setting(
        8 << 20, "Longest single event of a stream. Bounds what one stream can hold in memory.", at_least=1024
    )
    max_tokens_default: int = setting(
        4096,
        "Output limit where a provider demands one, the request names none and the model's own is not known.",
        at_least=1,
    )
    proxy_url: Secret | None = setting(
        None, "HTTP proxy for calls to providers: `http://[user:password@]host:port`.", secret=True
    )
    no_proxy: tuple[str, ...] = setting(
        ("localhost", "127.0.0.1", "::1"), "Hosts that are called without the proxy, exact names."
    )
    ca_bundle: Path | None = setting(
        None, "PEM file of the certificate authorities to trust, instead of the system's."
    )
    models_cache_s: float = setting(
        60.0, "How long a provider's list of models is reused. 0: not at all.", at_least=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """
    What the operator set for one provider.

    Attributes:
        slug: The provider.
        base_url: Where its API is; None: at its public address.
        api_key: The operator's own key; None: there is none.
    """

    slug: str
    base_url: URL | None = None
    api_key: Secret | None = None


def provider_settings(env: Mapping[str, str], slugs: Iterable[str]) -> dict[str, ProviderSettings]:
    """
    Read the settings of every provider in `slugs`.

    Raises:
        ConfigError: at least one value is wrong, or is for a provider that does not exist.
    """
    problems: list[str] = []
    found: dict[str, ProviderSettings] = {}
    known = {_variable(slug): slug for slug in slugs}
    for variable, slug in known.items():
        try:
            found[slug] = ProviderSettings(
                slug=slug,
                base_url=_base_url(env, variable + _BASE_URL),
                api_key=_api_key(env, variable + _API_KEY),
            )
        except ValueError as error:
            problems.append(str(error))
    problems += [
        f"{name} is for a provider that does not exist: {', '.join(sorted(known.values()))} do."
        for name in sorted(env)
        if (variable := _provider_part(name)) and variable not in known
    ]
    if problems:
        raise ConfigError(problems)
    return found


def _variable(slug: str) -> str:
    return _PREFIX + slug.upper().replace("-", "_")


def _provider_part(name: str) -> str:
    for suffix in (_BASE_URL, _API_KEY_FILE, _API_KEY):
        if name.startswith(_PREFIX) and name.endswith(suffix):
            return name.removesuffix(suffix)
    return ""


def _base_url(env: Mapping[str, str], name: str) -> URL | None:
    text = env.get(name, "").strip().rstrip("/")
    if not text:
        return None
    wrong = f"{name} must be an http or https address without user, query or fragment, but is {text[:80]!r}"
    try:
        url = URL(text)
    except ValueError as error:
        raise ValueError(wrong) from error
    if url.scheme not in {"http", "https"} or not url.host or url.user or url.query_string or url.fragment:
        raise ValueError(wrong)
    return url


def _api_key(env: Mapping[str, str], name: str) -> Secret | None:
    text, file = env.get(name, "").strip(), env.get(f"{name}_FILE", "").strip()
    if text and file:
        raise ValueError(f"{name} and {name}_FILE are both set: keep one of them")
    if file:
        try:
            return read_secret_file(Path(file))
        except ValueError as error:
            raise ValueError(f"{name}_FILE: the file {file} {error}") from error
    if text and not text.isascii():
        raise ValueError(f"{name} must be ASCII")
    return Secret(text) if text else None
