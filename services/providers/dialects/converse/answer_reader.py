"""A whole answer of Converse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import load_object, text
from services.providers.dialects.failures import FailureClass
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.neutral.sides import InBandError
from services.providers.dialects.usage import read_converse_usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.providers.dialects.neutral.completion import AnswerPart

__all__ = [
    "BOTCHED",
    "BOTCHED_MESSAGE",
    "FINISHES",
    "citation_of",
    "finish_of",
    "read_answer",
    "reader_for",
    "stop_sequence_of",
]

FINISHES: Final = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "tool_use": Finish.TOOL_CALLS,
    "guardrail_intervened": Finish.CONTENT_FILTER,
    "content_filtered": Finish.CONTENT_FILTER,
}
# The provider could not make an answer of what the model wrote: a failure, and no end of an answer.
BOTCHED: Final = ("malformed_model_output", "malformed_tool_use")
BOTCHED_MESSAGE: Final = "The model wrote an answer that the provider could not read."
_SERVER_TOOL: Final = "server_tool_use"


def reader_for(origin: str, answer_id: Callable[[], str]) -> Callable[[bytes], Completion]:
    """
    Make the reader for models whose signatures are of this origin.

    Args:
        origin: Of signatures.
        answer_id: Tells the id of the answer, which is in a header and not in the body.
    """

    def read(body: bytes) -> Completion:
        completion = read_answer(body, origin=origin)
        completion.id = answer_id()
        return completion

    return read


def read_answer(body: bytes, *, origin: str = "converse") -> Completion:
    """
    Read an answer.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it holds no message.
        InBandError: the model wrote what the provider could not read.
    """
    document = load_object(body)
    output = document.get("output")
    message = output.get("message") if isinstance(output, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer holds no message.")
    warnings: list[str] = []
    if document.get("stopReason") in BOTCHED:
        raise InBandError(FailureClass.SERVER, BOTCHED_MESSAGE)
    parts: list[AnswerPart] = []
    for block in content:
        if isinstance(block, dict):
            parts += _parts(block, origin, warnings)
    called = any(isinstance(part, ToolCallPart) for part in parts)
    finish = finish_of(document.get("stopReason"), warnings, called=called)
    usage = document.get("usage")
    return Completion(
        model=_routed_to(document),
        choices=[Choice(parts=parts, finish=finish, stop_sequence=stop_sequence_of(document))],
        usage=read_converse_usage(usage) if isinstance(usage, dict) else None,
        service_tier=_tier(document),
        warnings=tuple(warnings),
    )


def finish_of(reason: Any, warnings: list[str], *, called: bool) -> Finish:
    """
    Read why the model stopped; a word that is not known counts as a normal end.

    Args:
        reason: Converse's word.
        warnings: Where a word that is not known is told.
        called: A tool of the client's was called. Some models do so and say that they were done.
    """
    found = FINISHES.get(reason) if isinstance(reason, str) else None
    if found is None:
        if reason is not None:
            warnings.append(f"stop reason {text(reason)[:40]!r} is not known")
        found = Finish.STOP
    return Finish.TOOL_CALLS if called and found is Finish.STOP else found


def stop_sequence_of(document: dict[str, Any]) -> str:
    """Return the stop sequence that was met, where the model tells it."""
    fields = document.get("additionalModelResponseFields")
    return text(fields.get("stop_sequence")) if isinstance(fields, dict) else ""


def citation_of(citation: Any) -> dict[str, Any] | None:
    """Read a source on the web in the shape of OpenAI's annotations; None for any other source."""
    location = citation.get("location") if isinstance(citation, dict) else None
    web = location.get("web") if isinstance(location, dict) else None
    if not isinstance(web, dict) or not text(web.get("url")):
        return None
    cited = {"url": web["url"], "title": text(citation.get("title"))}
    return {"type": "url_citation", "url_citation": cited}


def _parts(block: dict[str, Any], origin: str, warnings: list[str]) -> list[AnswerPart]:
    if isinstance(block.get("text"), str):
        return [TextPart(text=block["text"])]
    call = block.get("toolUse")
    if isinstance(call, dict):
        return _call(call, warnings)
    for name, read in (("reasoningContent", _thought), ("citationsContent", _cited), ("image", _image)):
        value = block.get(name)
        if isinstance(value, dict):
            return read(value, origin)
    warnings.append(f"content block {next(iter(block), '')[:40]!r} is not known")
    return []


def _call(call: dict[str, Any], warnings: list[str]) -> list[AnswerPart]:
    if call.get("type") == _SERVER_TOOL:
        warnings.append("a call that the provider answers itself was left out")
        return []
    arguments = call.get("input")
    try:
        written = orjson.dumps(arguments).decode() if isinstance(arguments, dict | list) else text(arguments)
    except TypeError as error:  # nested beyond what JSON's writer takes
        raise GatewayError(
            Reason.UPSTREAM_MALFORMED, "The provider's answer holds a call that is nested too deeply."
        ) from error
    return [ToolCallPart(id=text(call.get("toolUseId")), name=text(call.get("name")), arguments=written)]


def _thought(value: dict[str, Any], origin: str) -> list[AnswerPart]:
    sealed = text(value.get("redactedContent"))
    if sealed:
        return [ReasoningPart(sealed=sealed, origin=origin)]
    shown = value.get("reasoningText")
    if not isinstance(shown, dict):
        return []
    signature = text(shown.get("signature"))
    thought = text(shown.get("text"))
    if not thought and not signature:
        return []
    return [ReasoningPart(text=thought, signature=signature, origin=origin if signature else "")]


def _cited(value: dict[str, Any], origin: str) -> list[AnswerPart]:
    del origin
    content, citations = value.get("content"), value.get("citations")
    written = "".join(
        text(entry.get("text"))
        for entry in (content if isinstance(content, list) else [])
        if isinstance(entry, dict)
    )
    sources = [citation_of(entry) for entry in (citations if isinstance(citations, list) else [])]
    return [TextPart(text=written, citations=[source for source in sources if source is not None])]


def _image(value: dict[str, Any], origin: str) -> list[AnswerPart]:
    del origin
    source = value.get("source")
    data = text(source.get("bytes")) if isinstance(source, dict) else ""
    if not data:
        return []
    return [MediaPart(kind="image", media_type=f"image/{text(value.get('format')) or 'png'}", data=data)]


def _routed_to(document: dict[str, Any]) -> str:
    """Return the model that a prompt router chose; empty where none did."""
    trace = document.get("trace")
    router = trace.get("promptRouter") if isinstance(trace, dict) else None
    return text(router.get("invokedModelId")) if isinstance(router, dict) else ""


def _tier(document: dict[str, Any]) -> str:
    tier = document.get("serviceTier")
    return text(tier.get("type")) if isinstance(tier, dict) else ""
