"""
Reads whole answers of chat completions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kit.errors import GatewayError, Reason
from services.providers.dialects.answer import load_object, text
from services.providers.dialects.neutral.completion import Choice, Completion, Finish
from services.providers.dialects.neutral.conversation import (
    MediaPart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from services.providers.dialects.neutral.sides import InBandError
from services.providers.dialects.openai_chat.answer_words import (
    BROKEN,
    FINISHES,
    arguments_text,
    broken,
    made_up_id,
    read_annotations,
    read_image,
    read_logprobs,
    read_sources,
    read_usage,
    usable_id,
)
from services.providers.dialects.openai_chat.same import in_band_failure
from services.providers.dialects.openai_chat.thought_reader import (
    read_content_parts,
    read_thoughts,
    to_parts,
)

if TYPE_CHECKING:
    from services.providers.dialects.neutral.completion import AnswerPart

__all__ = ["read_answer", "read_signature"]

Json = dict[str, Any]


def read_answer(body: bytes) -> Completion:
    """
    Read an answer; see `TargetSide`.

    Raises:
        GatewayError: UPSTREAM_MALFORMED; it is none.
        InBandError: It is an error.
    """
    document = load_object(body)
    failure = in_band_failure(document, body, started=False)
    if failure is not None:
        raise InBandError(failure.failure_class, failure.message, failure.status)
    listed = document.get("choices")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    if not entries:
        raise GatewayError(Reason.UPSTREAM_MALFORMED, "The provider's answer holds no choice.")
    warnings: list[str] = []
    answer_id = text(document.get("id"))
    choices = [_choice(entry, at, answer_id, warnings) for at, entry in enumerate(entries)]
    _cite(choices[0], read_sources(document))
    return Completion(
        id=answer_id,
        model=text(document.get("model")),
        choices=choices,
        usage=read_usage(document),
        service_tier=text(document.get("service_tier")),
        warnings=tuple(warnings),
    )


def _choice(entry: Json, at: int, answer_id: str, warnings: list[str]) -> Choice:
    error = entry.get("error")
    word = text(entry.get("finish_reason"))
    kind = word.lower()
    if kind in BROKEN:
        told = text(error.get("message")) if isinstance(error, dict) else ""
        raise InBandError(BROKEN[kind], told[:4000] or broken(word))
    message = entry.get("message")
    parts = _parts(message if isinstance(message, dict) else {}, at, answer_id)
    if word and kind not in FINISHES:
        warnings.append(f"finish_reason={word[:40]}")
    finish = FINISHES.get(kind, Finish.STOP)
    if finish is Finish.STOP and any(isinstance(part, ToolCallPart) for part in parts):
        # Said by hosts, and by OpenAI where the tool was named.
        finish = Finish.TOOL_CALLS
    given = entry.get("index")
    return Choice(
        index=given if isinstance(given, int) and not isinstance(given, bool) else at,
        parts=parts,
        finish=finish,
        stop_sequence=text(entry.get("stop_reason")) if finish is Finish.STOP else "",
        logprobs=read_logprobs(entry.get("logprobs")),
    )


def _parts(message: Json, choice: int, answer_id: str) -> list[AnswerPart]:
    parts: list[AnswerPart] = list(to_parts(read_thoughts(message)))
    said: list[str] = []
    for piece, is_thought in read_content_parts(message.get("content")):
        if is_thought:
            parts.append(ReasoningPart(text=piece))
        else:
            said.append(piece)
    citations = read_annotations(message.get("annotations"))
    if said or citations:
        parts.append(TextPart(text="".join(said), citations=citations))
    if refusal := text(message.get("refusal")):
        parts.append(RefusalPart(text=refusal))
    parts += _media(message)
    parts += _calls(message, choice, answer_id)
    return parts


def _cite(choice: Choice, sources: list[Json]) -> None:
    """Give the sources of an answer to its text, unless it has some."""
    texts = [part for part in choice.parts if isinstance(part, TextPart)]
    if texts and not any(part.citations for part in texts):
        texts[-1].citations = sources


def _media(message: Json) -> list[MediaPart]:
    images = message.get("images")
    found = [read_image(entry) for entry in images] if isinstance(images, list) else []
    audio = message.get("audio")
    if isinstance(audio, dict) and (data := text(audio.get("data"))):
        found.append(MediaPart(kind="audio", data=data, text=text(audio.get("transcript"))))
    return [part for part in found if part is not None]


def _calls(message: Json, choice: int, answer_id: str) -> list[ToolCallPart]:
    listed = message.get("tool_calls")
    entries = list(listed) if isinstance(listed, list) else []
    if not entries and isinstance(message.get("function_call"), dict):
        entries = [{"function": message["function_call"]}]
    calls: list[ToolCallPart] = []
    taken: set[str] = set()
    for entry in entries:
        call = _call(entry, made_up_id(answer_id, choice, len(calls)), taken)
        if call is not None:
            taken.add(call.id)
            calls.append(call)
    return calls


def _call(entry: Any, fallback: str, taken: set[str]) -> ToolCallPart | None:
    if not isinstance(entry, dict):
        return None
    custom = entry.get("custom")
    function = custom if isinstance(custom, dict) else entry.get("function")
    if not isinstance(function, dict) or not (name := text(function.get("name"))):
        return None
    given = usable_id(entry.get("id"))
    is_custom = function is custom
    return ToolCallPart(
        id=fallback if not given or given in taken else given,
        name=name,
        arguments=text(function.get("input")) if is_custom else arguments_text(function.get("arguments")),
        signature=read_signature(entry),
        custom=is_custom,
    )


def read_signature(call: Json) -> str:
    """Read the signature that Gemini's calls carry in `extra_content`."""
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    return text(google.get("thought_signature")) if isinstance(google, dict) else ""
