"""
A finished stream of chunks as the one answer that it stands for. Pure.

llama.cpp notices that a client has gone only while it writes. So every generation is asked for as a stream,
and whoever did not want one gets it folded.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

__all__ = ["NotWholeError", "fold"]

_DATA: Final = b"data: "
_DONE: Final = b"[DONE]"
_ERROR: Final = b"error: "
# What all chunks have in common and the answer has too.
_SHARED: Final[tuple[str, ...]] = ("id", "created", "model", "system_fingerprint")


class NotWholeError(Exception):
    """
    The stream does not end as a whole one does.

    Attributes:
        error: What llama.cpp says about it; None when it was cut.
    """

    def __init__(self, error: dict[str, Any] | None) -> None:
        super().__init__("the answer is not whole")
        self.error = error


def fold(stream: bytes) -> bytes:
    """
    Fold a stream of `chat.completion.chunk` or `text_completion` events.

    Raises:
        NotWholeError: it was cut, or holds an error.
    """
    chunks = _chunks(stream)
    if not chunks:
        raise NotWholeError(None)
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for part in chunk.get("choices") or ():
            _merge(choices.setdefault(part["index"], _choice(part)), part)
    answer: dict[str, Any] = {name: chunks[0][name] for name in _SHARED if name in chunks[0]}
    answer["object"] = chunks[0]["object"].removesuffix(".chunk")
    answer["choices"] = [_finished(choices[index]) for index in sorted(choices)]
    answer["usage"] = _usage([chunk["usage"] for chunk in chunks if chunk.get("usage")], answer["object"])
    timings = [chunk["timings"] for chunk in chunks if chunk.get("timings")]
    if timings:
        answer["timings"] = timings[-1]
    return orjson.dumps(answer)


def _chunks(stream: bytes) -> list[dict[str, Any]]:
    chunks: list[dict[str, Any]] = []
    whole = False
    for line in stream.splitlines():
        if line.startswith(_ERROR):
            raise NotWholeError(_error(orjson.loads(line.removeprefix(_ERROR))))
        if not line.startswith(_DATA):
            continue
        data = line.removeprefix(_DATA)
        if data == _DONE:
            whole = True
            continue
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise NotWholeError(None) from error
        if chunk is None:  # text completions begin with one
            continue
        if "error" in chunk:
            raise NotWholeError(_error(chunk))
        chunks.append(chunk)
    if not whole:
        raise NotWholeError(None)
    return chunks


def _error(event: dict[str, Any]) -> dict[str, Any]:
    error = event.get("error", event)
    return error if isinstance(error, dict) else {"message": str(error)}


def _choice(part: dict[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"index": part["index"]}
    head |= {"message": {"role": "assistant", "content": ""}} if "delta" in part else {"text": ""}
    return {**head, "logprobs": None, "finish_reason": None}


def _merge(choice: dict[str, Any], part: dict[str, Any]) -> None:
    if "delta" in part:
        _merge_delta(choice["message"], part["delta"])
    else:
        choice["text"] += part.get("text") or ""
    if logprobs := part.get("logprobs"):
        kept = choice["logprobs"] = choice["logprobs"] or {"content": []}
        kept["content"] += logprobs.get("content") or []
    if part.get("finish_reason"):
        choice["finish_reason"] = part["finish_reason"]


def _merge_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            calls = message.setdefault("tool_calls", [])
            for piece in value:
                _merge_call(calls, piece)
        elif name != "role" and isinstance(value, str):
            message[name] = message.get(name, "") + value


def _merge_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    index = piece.get("index", len(calls))
    while len(calls) <= index:
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call, function = calls[index], piece.get("function") or {}
    call["id"] = piece.get("id") or call["id"]
    call["function"]["name"] += function.get("name") or ""
    call["function"]["arguments"] += function.get("arguments") or ""


def _finished(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.get("message")
    if message and message.get("tool_calls") and not message["content"]:
        message["content"] = None
    return choice


def _usage(usages: list[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    """
    Add up what each choice's last chunk says.

    A chat's prompt is the same for all choices and computed once; text completions may have a prompt each.
    """
    if not usages:
        return None
    prompts = [usage.get("prompt_tokens", 0) for usage in usages]
    prompt = max(prompts) if kind == "chat.completion" else sum(prompts)
    completion = sum(usage.get("completion_tokens", 0) for usage in usages)
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {**usages[-1], **counts}
