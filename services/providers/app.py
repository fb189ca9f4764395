"""
Builds providers. Decides nothing.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from yarl import URL

from headrace.provider.v1.provider_service_pb2_grpc import add_ProviderServiceServicer_to_server
from kit.clock import SystemClock
from kit.config import ConfigError, load
from kit.errors import GatewayError, Reason
from kit.pricing.table import PriceTable
from kit.providers import LOCAL, canonical, is_custom, operator_custom
from kit.service import Binding, Service
from services.providers.adapters.anthropic import AnthropicAdapter
from services.providers.adapters.azure import AzureAdapter
from services.providers.adapters.cohere import CohereAdapter
from services.providers.adapters.gemini import GeminiAdapter
from services.providers.adapters.local import LocalAdapter
from services.providers.adapters.native_only import NativeOnlyAdapter
from services.providers.adapters.openai import OpenAIAdapter
from services.providers.adapters.unaddressed import UnaddressedAdapter
from services.providers.adapters.vertex import VertexAdapter
from services.providers.adapters.workers_ai import WorkersAIAdapter
from services.providers.config import CALLERS, ProvidersConfig, base_url_variable, provider_settings
from services.providers.custom import CustomAdapters, operator_adapter
from services.providers.endpoint import Endpoint
from services.providers.fetch import MediaFetcher
from services.providers.key_pool import KeyPools
from services.providers.key_reports import KeyReports
from services.providers.keyring import Keyring
from services.providers.models import ModelLists
from services.providers.payer import Payer
from services.providers.realtime.dial import Dialer
from services.providers.realtime.opening import Opener
from services.providers.registry import CUSTOM, PROVIDERS, Provider
from services.providers.sending import Sender
from services.providers.server import ProviderServicer
from services.providers.telemetry import AttemptTelemetry
from services.providers.upstream import Timeouts, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from kit.service import Runtime
    from services.providers.adapters.adapter import Adapter
    from services.providers.config import ProviderSettings
    from services.providers.fetch import Fetcher
    from services.providers.local.engine import LocalEngine

__all__ = ["build"]


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Service]:
    """Build the service for a process."""
    config = load(ProvidersConfig, runtime.env)
    settings = provider_settings(runtime.env, {slug: row.settings for slug, row in PROVIDERS.items()})
    slugs = served_slugs(
        config,
        runtime.settings.process,
        operator_custom(runtime.env),
        local_model=runtime.settings.local_enabled,
    )
    telemetry = AttemptTelemetry(runtime.tracing, runtime.metrics)
    timeouts = default_timeouts(config)

    async with AsyncExitStack() as stack:
        upstream = Upstream(config)
        stack.push_async_callback(upstream.close)
        adapters: dict[str, Adapter] = {
            slug: make_adapter(PROVIDERS[slug], settings[slug], config, MediaFetcher(upstream), upstream)
            for slug in slugs
            if slug in PROVIDERS
        }
        adapters |= custom_adapters({slug: settings[slug] for slug in slugs}, config)
        if LOCAL in adapters and settings[LOCAL].base_url is None:
            engine = await stack.enter_async_context(running_engine(runtime))
            adapters[LOCAL] = LocalAdapter(PROVIDERS[LOCAL], engine, config)
        telemetry.expect(adapters.values())
        payer = await stack.enter_async_context(running_payer(runtime, config, slugs))
        dialer = Dialer(upstream, config)
        stack.push_async_callback(dialer.close)
        models = ModelLists(upstream, timeouts, reuse_s=config.models_cache_s, clock=SystemClock())
        servicer = ProviderServicer(
            adapters=adapters,
            custom=CustomAdapters(config),
            sender=Sender(payer, upstream, telemetry),
            opener=Opener(payer, dialer, telemetry),
            timeouts=timeouts,
            models=models,
            prices=PriceTable(),
            clock=SystemClock(),
            telemetry=telemetry,
            session_idle_s=config.realtime_idle_timeout_s,
            log=runtime.log("providers"),
        )

        yield Service(
            name="providers",
            bindings=(
                Binding(
                    service="headrace.provider.v1.ProviderService",
                    add=add_ProviderServiceServicer_to_server,
                    servicer=servicer,
                    callers=CALLERS,
                ),
            ),
            check=partial(check_ready, payer, tuple(adapters.values())),
        )


@asynccontextmanager
async def running_payer(
    runtime: Runtime, config: ProvidersConfig, slugs: Sequence[str]
) -> AsyncIterator[Payer]:
    """Decide who pays, and follow what auth says of stored keys; the local model alone needs no auth."""
    clock = SystemClock()
    pools = KeyPools(clock)
    if tuple(slugs) == (LOCAL,):
        yield Payer(None, pools, note=lambda _, __: None)
        return
    keyring = Keyring(
        runtime.channel("auth"),
        timeout_s=config.credential_timeout_s,
        capacity=config.credentials,
        log=runtime.log("keyring"),
    )
    reports = KeyReports(keyring.report, clock)
    async with keyring.following(pools.prune), reports.sending(config.key_report_interval_s):
        yield Payer(keyring, pools, reports.note)


def default_timeouts(config: ProvidersConfig) -> Timeouts:
    """Return the time-outs of an attempt that names none."""
    return Timeouts(
        connect_s=config.connect_timeout_s,
        first_byte_s=config.first_byte_timeout_s,
        idle_s=config.idle_timeout_s,
        total_s=config.total_timeout_s,
    )


def served_slugs(
    config: ProvidersConfig, process: str, custom: Sequence[str] = (), *, local_model: bool = True
) -> tuple[str, ...]:
    """
    Return the providers that a process serves, each once.

    Args:
        config: Names them, by slug or by another name, or does not.
        process: Its name.
        custom: Slugs of the providers that the operator added.
        local_model: Whether the installation has the local model. Who is told to serve it serves it anyway.

    Raises:
        ConfigError: one of those named does not exist.
    """
    known = (*PROVIDERS, *custom)
    only = tuple(dict.fromkeys(slug for name in config.only for slug in _named(name, custom)))
    if unknown := [slug for slug in only if slug not in known]:
        names = ", ".join(sorted(known))
        raise ConfigError([f"HEADRACE_PROVIDERS_ONLY names {unknown[0]!r}, but there are only {names}"])
    if config.only:
        return only
    if process == "providers-local":
        return (LOCAL,)
    return tuple(slug for slug in known if slug != LOCAL or (local_model and process != "providers"))


def _named(name: str, custom: Sequence[str]) -> Sequence[str]:
    """Return the slugs that a name stands for; `custom` stands for all that the operator added."""
    return custom if name == CUSTOM.slug else (canonical(name),)


@asynccontextmanager
async def running_engine(runtime: Runtime) -> AsyncIterator[LocalEngine]:
    """Run the engine of the local models; it loads the first one in the background."""
    # Imported here: a process that serves no local model needs none of it.
    from services.providers.local.config import LocalConfig
    from services.providers.local.engine import LocalEngine

    log = runtime.log("local")
    engine = LocalEngine(
        load(LocalConfig, runtime.env),
        run_dir=runtime.settings.run_dir,
        complain=lambda line: log.debug("llama.cpp", line=line),
    )
    try:
        await engine.start(progress=lambda state: log.info("local engine", state=state))
        yield engine
    finally:
        await engine.stop()


async def check_ready(payer: Payer, adapters: Sequence[Adapter]) -> None:
    """
    Find out whether calls can be made and paid for. Once auth was heard of, its absence does not count.

    Raises:
        GatewayError: they cannot.
    """
    if not payer.heard:
        raise GatewayError(Reason.SERVICE_UNAVAILABLE, "Auth was not heard of yet.", service="auth")
    await check_any(adapters)


async def check_any(adapters: Sequence[Adapter]) -> None:
    """
    Find out whether at least one provider can be called: one that cannot does not stop the others.

    Raises:
        GatewayError: none can.
    """
    failed: GatewayError | None = None
    for adapter in adapters:
        try:
            await adapter.check()
        except GatewayError as error:
            failed = error
        else:
            return
    if failed is not None:
        raise failed


def custom_adapters(settings: Mapping[str, ProviderSettings], config: ProvidersConfig) -> dict[str, Adapter]:
    """Make the adapters of the providers that the operator added."""
    return {
        slug: operator_adapter(slug, found.base_url, found.api_key, config)
        for slug, found in settings.items()
        if is_custom(slug) and found.base_url is not None
    }


def make_adapter(  # noqa: PLR0911 - one for each API
    provider: Provider,
    settings: ProviderSettings,
    config: ProvidersConfig,
    fetcher: Fetcher | None = None,
    upstream: Upstream | None = None,
) -> Adapter:
    """
    Make the adapter of a provider from its row and the operator's settings.

    Args:
        provider: The row.
        settings: The operator's.
        config: Limits.
        fetcher: Gets media for providers that fetch none; without it, media by address are refused for those.
        upstream: For what an adapter asks before a call, such as a token; without it, such a call is refused.
    """
    # Imported here: what speaks to AWS and Google takes long to import, and a process may serve neither.
    if not provider.base_url and settings.base_url is None:
        return UnaddressedAdapter(provider, base_url_variable(provider.slug))
    match provider.api:
        case "anthropic":
            return AnthropicAdapter(provider, endpoint_of(provider, settings), settings.api_key, config)
        case "native":
            return NativeOnlyAdapter(provider, endpoint_of(provider, settings), settings.api_key)
        case "cohere":
            return CohereAdapter(provider, endpoint_of(provider, settings), settings.api_key, config)
        case "workers-ai":
            return WorkersAIAdapter(provider, settings, config, fetcher)
        case "azure":
            return AzureAdapter(provider, settings, config)
        case "bedrock":
            from services.providers.adapters.bedrock import BedrockAdapter

            return BedrockAdapter(provider, settings, config, fetcher)
        case "gemini":
            endpoint = endpoint_of(provider, settings)
            return GeminiAdapter(provider, endpoint, settings.api_key, config, fetcher)
        case "vertex":
            return VertexAdapter(provider, settings, config, fetcher=fetcher, upstream=upstream)
        case _:
            return OpenAIAdapter(provider, endpoint_of(provider, settings), settings.api_key, config)


def endpoint_of(provider: Provider, settings: ProviderSettings) -> Endpoint:
    """Return where a provider's API is."""
    return Endpoint(
        URL(provider.base_url),
        settings.base_url,
        version=provider.version,
        unversioned=provider.unversioned,
        native_url=URL(provider.native_url) if provider.native_url else None,
    )
