"""The typed front door, over gRPC through Envoy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from headrace.auth.v1 import auth_service_pb2, auth_service_pb2_grpc
from headrace.inference.v1 import inference_service_pb2, inference_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.stack import Stack

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"
TIMEOUT_S = 20

Metadata = tuple[tuple[str, str | bytes], ...]

both_models = pytest.mark.parametrize("model", [GPT, CLAUDE])


@pytest.fixture
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    """Give a channel to the gRPC port."""
    with grpc.insecure_channel(stack.grpc_target) as channel:
        yield channel


@pytest.fixture
def inference(channel: grpc.Channel) -> inference_service_pb2_grpc.InferenceServiceStub:
    """Give the typed front door."""
    return inference_service_pb2_grpc.InferenceServiceStub(channel)


@pytest.fixture
def credentials(stack: Stack) -> Metadata:
    """Give the metadata that a caller sends."""
    return (("authorization", f"Bearer {stack.token}"),)


def chat(model: str, text: str, **members: Any) -> inference_service_pb2.ChatRequest:
    """Make a request of one question."""
    message = inference_service_pb2.Message(
        role=inference_service_pb2.ROLE_USER, parts=[inference_service_pb2.Part(text=text)]
    )
    return inference_service_pb2.ChatRequest(model=model, messages=[message], **members)


def weather_tool() -> inference_service_pb2.Tool:
    """Describe a tool."""
    parameters = struct_pb2.Struct()
    parameters.update({"type": "object", "properties": {"city": {"type": "string"}}})
    return inference_service_pb2.Tool(name="get_weather", description="Weather", parameters=parameters)


def reason_of(error: grpc.RpcError) -> str:
    """Give the reason in an error's details."""
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert [detail for detail in status.details if detail.Unpack(info)]
    assert info.domain == "headrace"
    return str(info.reason)


@both_models
def test_chat(
    inference: inference_service_pb2_grpc.InferenceServiceStub, credentials: Metadata, model: str
) -> None:
    """A question is answered, typed, with usage; metadata has what HTTP has in headers."""
    answer, rpc = inference.Chat.with_call(chat(model, "stop short"), metadata=credentials, timeout=TIMEOUT_S)
    headers = dict(rpc.initial_metadata())

    assert [part.text for part in answer.message.parts] == ["cut"]
    assert answer.message.role == inference_service_pb2.ROLE_ASSISTANT
    assert answer.finish_reason == "length"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 1)
    assert answer.log_id == headers["cf-aig-log-id"]
    assert headers["cf-aig-provider"] == model.partition("/")[0]


@both_models
def test_chat_calls_tools(
    inference: inference_service_pb2_grpc.InferenceServiceStub, credentials: Metadata, model: str
) -> None:
    """A tool call comes as its name and its arguments' text."""
    answer = inference.Chat(
        chat(model, "What is the weather in Paris?", tools=[weather_tool()]),
        metadata=credentials,
        timeout=TIMEOUT_S,
    )
    [called] = answer.message.tool_calls

    assert answer.finish_reason == "tool_calls"
    assert called.name == "get_weather"
    assert json.loads(called.arguments) == {"city": "Paris", "unit": "celsius"}


@both_models
def test_chat_stream(
    inference: inference_service_pb2_grpc.InferenceServiceStub, credentials: Metadata, model: str
) -> None:
    """A stream gives text in pieces, then once the finish reason and once the usage."""
    pieces = list(
        inference.ChatStream(chat(model, "Tell me a long story."), metadata=credentials, timeout=TIMEOUT_S)
    )

    assert len([piece for piece in pieces if piece.text]) > 3
    assert "".join(piece.text for piece in pieces).endswith("went hungry that winter.")
    assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["stop"]
    [usage] = [piece.usage for piece in pieces if piece.HasField("usage")]
    assert (usage.input_tokens, usage.output_tokens) == (10, 40)


def test_a_broken_stream_ends_with_an_error(
    inference: inference_service_pb2_grpc.InferenceServiceStub, credentials: Metadata
) -> None:
    """A stream that its provider cuts does not end with OK."""
    request = chat(f"{GPT}+words=6+cut=3", "hi")
    pieces: list[str] = []

    def read_all() -> None:
        stream = inference.ChatStream(request, metadata=credentials, timeout=TIMEOUT_S)
        pieces.extend(piece.text for piece in stream)

    with pytest.raises(grpc.RpcError) as raised:
        read_all()

    assert "".join(pieces).split() == ["w0", "w1", "w2"]
    assert reason_of(raised.value) in {"UPSTREAM_CUT", "UPSTREAM_ERROR"}


def test_embed(inference: inference_service_pb2_grpc.InferenceServiceStub, credentials: Metadata) -> None:
    """Texts become vectors, one each."""
    answer = inference.Embed(
        inference_service_pb2.EmbedRequest(model="openai/text-embedding-3-small", inputs=["one", "two"]),
        metadata=credentials,
        timeout=TIMEOUT_S,
    )

    assert [len(vector.values) for vector in answer.embeddings] == [1536, 1536]


def test_list_models(
    inference: inference_service_pb2_grpc.InferenceServiceStub, credentials: Metadata
) -> None:
    """The models that can be asked for are listed with their providers."""
    answer = inference.ListModels(
        inference_service_pb2.ListModelsRequest(), metadata=credentials, timeout=TIMEOUT_S
    )

    assert {GPT, CLAUDE, "local/smollm2-135m-instruct"} <= set(answer.models)


@pytest.mark.parametrize(
    ("metadata", "model", "code", "reason"),
    [
        ((), GPT, grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
        ((("authorization", "Bearer hr_x"),), GPT, grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
        (None, "nonesuch/x", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PROVIDER"),
        (None, "gpt-4o-mini", grpc.StatusCode.INVALID_ARGUMENT, "BAD_CHAT_FORMAT"),
    ],
    ids=["no token", "bad token", "unknown provider", "no provider"],
)
def test_a_refusal_has_a_code_and_a_reason(
    inference: inference_service_pb2_grpc.InferenceServiceStub,
    credentials: Metadata,
    metadata: Metadata | None,
    model: str,
    code: grpc.StatusCode,
    reason: str,
) -> None:
    """An error is a status with `ErrorInfo`, the same for gRPC callers as between services."""
    with pytest.raises(grpc.RpcError) as raised:
        inference.Chat(
            chat(model, "hi"), metadata=credentials if metadata is None else metadata, timeout=TIMEOUT_S
        )

    assert raised.value.code() == code
    assert reason_of(raised.value) == reason


def test_who_comes_through_envoy_is_no_service(channel: grpc.Channel, stack: Stack) -> None:
    """A caller from outside that says it is a service of ours is not believed."""
    auth = auth_service_pb2_grpc.AuthServiceStub(channel)
    with pytest.raises(grpc.RpcError) as raised:
        auth.Authenticate(
            auth_service_pb2.AuthenticateRequest(),
            metadata=(("headrace-caller", "edge"),),
            timeout=TIMEOUT_S,
        )

    assert raised.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert reason_of(raised.value) == "CALLER_NOT_ALLOWED"


def test_health(channel: grpc.Channel) -> None:
    """The standard health service answers through Envoy."""
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)

    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection(channel: grpc.Channel) -> None:
    """A tool finds the typed front door by reflection, with its methods."""
    database = ProtoReflectionDescriptorDatabase(channel)

    assert "headrace.inference.v1.InferenceService" in database.get_services()
    file = database.FindFileContainingSymbol("headrace.inference.v1.InferenceService")
    assert [method.name for service in file.service for method in service.method] == [
        "Chat",
        "ChatStream",
        "Embed",
        "ListModels",
    ]


def test_an_unknown_service(channel: grpc.Channel) -> None:
    """A service that is not there is UNIMPLEMENTED with a word of explanation."""
    method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/headrace.nonesuch.v1.NonesuchService/Do"
    )
    with pytest.raises(grpc.RpcError) as raised:
        method(b"", timeout=TIMEOUT_S)

    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert raised.value.details()
