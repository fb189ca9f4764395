"""
Settings of the provider service, and each provider's own settings.

Which providers there are is `registry.py`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from yarl import URL

from kit.config import ConfigError, DynamicSetting, setting
from kit.config_values import read_secret_file
from kit.providers import CUSTOM_PREFIX, operator_custom
from kit.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = [
    "CALLERS",
    "DYNAMIC_SETTINGS",
    "ProviderSettings",
    "ProvidersConfig",
    "base_url_variable",
    "provider_settings",
]

# Who may call this service. `external` may not: a call names its credential source, which the edge decides.
CALLERS: Final = {
    "Invoke": frozenset({"edge"}),
    "Upload": frozenset({"edge"}),
    "Connect": frozenset({"edge"}),
    "Reshape": frozenset({"edge"}),
    "ListModels": frozenset({"cli", "edge"}),
}

_PREFIX: Final = "HEADRACE_PROVIDER_"
_BASE_URL: Final = "_BASE_URL"
_API_KEY: Final = "_API_KEY"
_API_KEY_FILE: Final = "_API_KEY_FILE"
# Read by the edge; whether there is such a provider is looked at here.
_ADDRESS: Final = "_ADDRESS"
# What only some providers need, by the name of the field.
_FIELDS: Final = {
    "region": "_REGION",
    "project": "_PROJECT",
    "account": "_ACCOUNT",
    "api_version": "_API_VERSION",
    "resource": "_RESOURCE",
}
_FIELD_VALUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_CUSTOM: Final = _PREFIX + CUSTOM_PREFIX.upper().replace("-", "_")

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
    DynamicSetting(
        prefix=_PREFIX,
        suffix=_FIELDS["region"],
        doc="Region of `aws-bedrock` or `google-vertex-ai`, where neither the call nor the key names one.",
    ),
    DynamicSetting(
        prefix=_PREFIX,
        suffix=_FIELDS["project"],
        doc="Project of `google-vertex-ai`, where neither the call nor the key names one.",
    ),
    DynamicSetting(
        prefix=_PREFIX,
        suffix=_FIELDS["account"],
        doc="Cloudflare account of `workers-ai`.",
    ),
    DynamicSetting(
        prefix=_PREFIX,
        suffix=_FIELDS["api_version"],
        doc="`api-version` that `azure-openai` is asked for on compat paths.",
    ),
    DynamicSetting(
        prefix=_PREFIX,
        suffix=_FIELDS["resource"],
        doc="Resource of `azure-openai` that the operator's key belongs to; models may leave it out.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvidersConfig:
    """How provider APIs are called, where a request or a gateway does not say otherwise."""

    PREFIX: ClassVar[str] = "HEADRACE_PROVIDERS_"

    only: tuple[str, ...] = setting(
        (),
        "Provider slugs that this process serves, those that the operator added too; `custom` stands for all "
        "of the latter. Default: all that it knows; a process of its own for the local model serves `local` "
        "and leaves it out of the others.",
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
        None,
        "HTTP proxy for calls to providers: `http://[user:password@]host:port`. A host that a client or an "
        "account chose is looked up here before it is given to the proxy, which then resolves it by itself; "
        "where names cannot be looked up, `0.0.0.0/0` in `ALLOWED_NETWORKS` leaves them to the proxy.",
        secret=True,
    )
    no_proxy: tuple[str, ...] = setting(
        ("localhost", "127.0.0.1", "::1"), "Hosts that are called without the proxy, exact names."
    )
    allowed_networks: tuple[str, ...] = setting(
        (),
        "Networks (CIDR) that an address which a client or an account chose may lead into although they are "
        "not public: custom providers, and hosts made from what a call names.",
    )
    ca_bundle: Path | None = setting(
        None, "PEM file of the certificate authorities to trust, instead of the system's."
    )
    credential_timeout_s: float = setting(
        2.0,
        "Longest wait for auth where a request needs a stored key that is not known here yet. More than "
        "`HEADRACE_AUTH_VAULT_TIMEOUT_S`.",
        at_least=0.001,
    )
    credentials: int = setting(
        10_000,
        "Most answers of auth about stored keys kept, in memory and for as long as auth allows. One is for "
        "an account, a gateway, a provider and an alias, and takes about 1 kB.",
        at_least=1,
    )
    key_report_interval_s: float = setting(
        5.0, "How often auth is told how stored keys were taken and when they were last used.", at_least=0.01
    )
    realtime_idle_timeout_s: float = setting(
        900.0,
        "Longest time without a frame either way on a WebSocket to a provider; pings do not count. Long, as "
        "people in a conversation may be silent; providers end sessions themselves after an hour or less.",
        at_least=0.05,
    )
    realtime_heartbeat_s: float = setting(
        30.0,
        "How long a WebSocket to a provider may be quiet before it is pinged. One that does not answer in "
        "half of that time counts as broken.",
        at_least=0.05,
    )
    realtime_max_frame_bytes: int = setting(
        16 << 20,
        "Longest frame that is taken from a provider on a WebSocket. Bounds what a session holds in memory.",
        at_least=1024,
    )
    models_cache_s: float = setting(
        60.0, "How long a provider's list of models is reused. 0: not at all.", at_least=0
    )

    def __post_init__(self) -> None:
        """Refuse networks that are none."""
        for text in self.allowed_networks:
            try:
                ip_network(text)
            except ValueError as error:
                wrong = f"{self.PREFIX}ALLOWED_NETWORKS: {text[:80]!r} is no network: {error}"
                raise ValueError(wrong) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """
    What the operator set for one provider.

    Attributes:
        slug: The provider.
        base_url: Where its API is; None: at its public address.
        api_key: The operator's own key; None: there is none.
        region: Where no call names one.
        project: Likewise.
        account: At the provider.
        api_version: To ask for, where no call names one.
        resource: That the key belongs to, where no call names one.
    """

    slug: str
    base_url: URL | None = None
    api_key: Secret | None = None
    region: str = ""
    project: str = ""
    account: str = ""
    api_version: str = ""
    resource: str = ""


def provider_settings(
    env: Mapping[str, str], providers: Mapping[str, Collection[str]]
) -> dict[str, ProviderSettings]:
    """
    Read the settings of every provider, and of those that the operator adds by naming an address for them.

    Args:
        env: The environment.
        providers: Slugs, and which of `region`, `project`, `account`, `api_version`, `resource` each uses.

    Raises:
        ConfigError: at least one value is wrong, or is for a provider that does not exist or does not use it.
    """
    problems: list[str] = []
    found: dict[str, ProviderSettings] = {}
    known = {_variable(slug): slug for slug in (*providers, *operator_custom(env))}
    for variable, slug in known.items():
        try:
            found[slug] = ProviderSettings(
                slug=slug,
                base_url=_base_url(env, variable + _BASE_URL),
                api_key=_api_key(env, variable + _API_KEY),
                **_fields(env, variable, providers.get(slug, ())),
            )
        except ValueError as error:
            problems.append(str(error))
    problems += [
        _misplaced(name, variable, sorted(providers))
        for name in sorted(env)
        if (variable := _provider_part(name)) and variable not in known
    ]
    if problems:
        raise ConfigError(problems)
    return found


def base_url_variable(slug: str) -> str:
    """Return the name of the setting that says where a provider is."""
    return _variable(slug) + _BASE_URL


def _misplaced(name: str, variable: str, slugs: list[str]) -> str:
    if variable.startswith(_CUSTOM):
        return f"{name} is for a provider that has no address: set {variable}{_BASE_URL}."
    return f"{name} is for a provider that does not exist: {', '.join(slugs)} do."


def _fields(env: Mapping[str, str], variable: str, allowed: Collection[str]) -> dict[str, str]:
    """Read what only some providers need."""
    found = {}
    for field, suffix in _FIELDS.items():
        name = variable + suffix
        text = env.get(name, "").strip()
        if not text:
            continue
        if field not in allowed:
            raise ValueError(f"{name} is not a setting of Headrace: that provider has no {field}.")
        if not _FIELD_VALUE.fullmatch(text):
            raise ValueError(f"{name} must be letters, digits and -._: alone, but is {text[:80]!r}")
        found[field] = text
    return found


def _variable(slug: str) -> str:
    return _PREFIX + slug.upper().replace("-", "_")


def _provider_part(name: str) -> str:
    for suffix in (_BASE_URL, _API_KEY_FILE, _API_KEY, _ADDRESS, *_FIELDS.values()):
        if name.startswith(_PREFIX) and name.endswith(suffix):
            return name.removesuffix(suffix)
    return ""


def _base_url(env: Mapping[str, str], name: str) -> URL | None:
    text = env.get(name, "").strip().rstrip("/")
    if not text:
        return None
    # Not shown: what is wrong with it may be the password in it.
    wrong = f"{name} must be an http or https address without user, query or fragment"
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
