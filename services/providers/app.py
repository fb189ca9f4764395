"""
Builds providers. Decides nothing.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from headrace.provider.v1.provider_service_pb2_grpc import add_ProviderServiceServicer_to_server
from kit.clock import SystemClock
from kit.config import ConfigError, load
from kit.errors import GatewayError
from kit.providers import LOCAL, SLUGS
from kit.service import Binding, Service
from services.providers.adapters.anthropic import AnthropicAdapter
from services.providers.adapters.local import LocalAdapter
from services.providers.adapters.openai import OpenAIAdapter
from services.providers.config import CALLERS, ProvidersConfig, provider_settings
from services.providers.endpoint import Endpoint
from services.providers.models import ModelLists
from services.providers.registry import PROVIDERS, Provider
from services.providers.server import ProviderServicer
from services.providers.telemetry import AttemptTelemetry
from services.providers.upstream import Timeouts, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from kit.service import Runtime
    from services.providers.adapters.adapter import Adapter
    from services.providers.config import ProviderSettings
    from services.providers.local.engine import LocalEngine

__all__ = ["build"]


@asynccontextmanager
async def build(runtime: Runtime) -> AsyncIterator[Service]:
    """Build the service for a process."""
    config = load(ProvidersConfig, runtime.env)
    settings = provider_settings(runtime.env, SLUGS)
    slugs = served_slugs(config, runtime.settings.process)
    telemetry = AttemptTelemetry(runtime.tracing, runtime.metrics)
    timeouts = default_timeouts(config)

    async with AsyncExitStack() as stack:
        upstream = Upstream(config)
        stack.push_async_callback(upstream.close)
        adapters: dict[str, Adapter] = {
            slug: make_adapter(PROVIDERS[slug], settings[slug], config) for slug in slugs
        }
        if LOCAL in adapters and settings[LOCAL].base_url is None:
            engine = await stack.enter_async_context(running_engine(runtime))
            adapters[LOCAL] = LocalAdapter(PROVIDERS[LOCAL], engine, config)
        models = ModelLists(upstream, timeouts, reuse_s=config.models_cache_s, clock=SystemClock())
        servicer = ProviderServicer(
            adapters=adapters,
            upstream=upstream,
            timeouts=timeouts,
            models=models,
            telemetry=telemetry,
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
            check=partial(check_any, tuple(adapters.values())),
        )


def default_timeouts(config: ProvidersConfig) -> Timeouts:
    """Return the time-outs of an attempt that names none."""
    return Timeouts(
        connect_s=config.connect_timeout_s,
        first_byte_s=config.first_byte_timeout_s,
        idle_s=config.idle_timeout_s,
        total_s=config.total_timeout_s,
    )


def served_slugs(config: ProvidersConfig, process: str) -> tuple[str, ...]:
    """
    Return the providers that a process serves.

    Raises:
        ConfigError: one of those named does not exist.
    """
    if unknown := [slug for slug in config.only if slug not in PROVIDERS]:
        names = ", ".join(sorted(PROVIDERS))
        raise ConfigError([f"HEADRACE_PROVIDERS_ONLY names {unknown[0]!r}, but there are only {names}"])
    if config.only:
        return config.only
    if process == "providers-local":
        return (LOCAL,)
    return tuple(slug for slug in PROVIDERS if slug != LOCAL or process != "providers")


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


def make_adapter(provider: Provider, settings: ProviderSettings, config: ProvidersConfig) -> Adapter:
    """Make the adapter of a provider from its row and the operator's settings."""
    endpoint = Endpoint(provider.base_url, settings.base_url)
    match provider.api:
        case "openai":
            return OpenAIAdapter(provider, endpoint, settings.api_key, config)
        case "anthropic":
            return AnthropicAdapter(provider, endpoint, settings.api_key, config)
