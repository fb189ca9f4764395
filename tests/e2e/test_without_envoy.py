"""A system without Envoy: the edge takes connections itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from headrace.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from headrace.inference.v1 import inference_service_pb2, inference_service_pb2_grpc
from tests.e2e.calls import DONE, call, chat_body
from tests.e2e.topologies import each_topology_of_its_own

if TYPE_CHECKING:
    import aiohttp

    from tests.e2e.conftest import Launch
    from tests.fakes.stack import Stack, Topology

MODEL = "openai/gpt-4o-mini"


@each_topology_of_its_own
async def test_it_works_without_envoy(
    launch: Launch, topology: Topology, session: aiohttp.ClientSession
) -> None:
    """Answers and streams are served, and gRPC on a port of its own; a stop leaves nothing."""
    stack = await asyncio.to_thread(launch, topology, envoy=False)
    url = f"{stack.openai_base_url}/chat/completions"
    whole = await call(session, url, chat_body(MODEL, "hello"), token=stack.token)
    streamed = await call(session, url, chat_body(MODEL, "hello", stream=True), token=stack.token)
    if topology == "split":  # all in one process, there is no gRPC for others
        await asyncio.to_thread(_assert_grpc, stack)
    stopped = await asyncio.to_thread(stack.stop)

    assert whole.text == streamed.text == "The stand-in answers."
    assert streamed.events[-1].data == DONE
    stopped.assert_clean()


def _assert_grpc(stack: Stack) -> None:
    """Demand that an edge of its own serves gRPC on its port, and no other service can be reached there."""
    with grpc.insecure_channel(stack.grpc_target) as channel:
        models = inference_service_pb2_grpc.InferenceServiceStub(channel).ListModels(
            inference_service_pb2.ListModelsRequest(),
            metadata=(("authorization", f"Bearer {stack.token}"),),
            timeout=20,
        )
        with pytest.raises(grpc.RpcError) as raised:
            auth_service_pb2_grpc.AuthServiceStub(channel).Authenticate(
                auth_service_pb2.AuthenticateRequest(), metadata=(("headrace-caller", "edge"),), timeout=20
            )

    assert MODEL in models.models
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
