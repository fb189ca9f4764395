"""
Sources of a text: OpenAI's chat completions nest them, its responses do not.
"""

from __future__ import annotations

from typing import Any

__all__ = ["flat_citation", "flat_logprobs", "nested_citation"]

_URL = "url_citation"
# Members of each kind of annotation, with what stands for one that is missing.
_MEMBERS: dict[str, dict[str, Any]] = {
    _URL: {"start_index": 0, "end_index": 0, "url": "", "title": ""},
    "file_citation": {"file_id": "", "filename": "", "index": 0},
    "container_file_citation": {
        "container_id": "",
        "file_id": "",
        "filename": "",
        "start_index": 0,
        "end_index": 0,
    },
    "file_path": {"file_id": "", "index": 0},
}


def flat_citation(citation: dict[str, Any]) -> dict[str, Any] | None:
    """Make an annotation of a response; None: it says nothing that one could hold."""
    kind = citation.get("type")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        return None
    inner = citation.get(kind)
    source = inner if isinstance(inner, dict) else citation
    flat: dict[str, Any] = {"type": kind}
    for name, missing in _MEMBERS[kind].items():
        value = source.get(name)
        fits = isinstance(value, type(missing)) and not isinstance(value, bool)
        flat[name] = value if fits else missing
    return flat


def nested_citation(annotation: dict[str, Any]) -> dict[str, Any]:
    """Make an entry of a chat message's `annotations` from an annotation of a response."""
    if annotation.get("type") != _URL or isinstance(annotation.get(_URL), dict):
        return annotation
    members = {name: value for name, value in annotation.items() if name != "type"}
    return {"type": _URL, _URL: members}


def flat_logprobs(entries: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Make a response's log probabilities, whose `bytes` and `top_logprobs` are never null."""
    made = []
    for entry in entries or ():
        if (one := _logprob(entry)) is not None:
            top = entry.get("top_logprobs")
            alternatives = map(_logprob, top if isinstance(top, list) else ())
            one["top_logprobs"] = [alternative for alternative in alternatives if alternative is not None]
            made.append(one)
    return made


def _logprob(entry: Any) -> dict[str, Any] | None:
    if not isinstance(entry, dict):
        return None
    token, logprob, raw = entry.get("token"), entry.get("logprob"), entry.get("bytes")
    if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
        return None
    whole = isinstance(raw, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in raw)
    return {"token": token, "bytes": raw if whole else list(token.encode()), "logprob": logprob}
