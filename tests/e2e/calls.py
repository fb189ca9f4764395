"""HTTP calls as end-to-end tests make and judge them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import aiohttp

DONE = "[DONE]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A server-sent event."""

    name: str
    data: str

    @property
    def json(self) -> Any:
        """Return its data, parsed."""
        return orjson.loads(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    # When each piece of the body came, in seconds on the monotonic clock.
    read_at: Sequence[float]

    @property
    def json(self) -> Any:
        """Return the body, parsed."""
        return orjson.loads(self.body)

    @property
    def log_id(self) -> str:
        """Return the id of the log entry."""
        return self.headers["cf-aig-log-id"]

    @property
    def events(self) -> list[Event]:
        """Return the body's events."""
        return events_of(self.body)

    @property
    def text(self) -> str:
        """Return the text of an OpenAI chat answer, streamed or not."""
        if self.headers["content-type"].startswith("text/event-stream"):
            return text_of(self.events)
        return str(self.json["choices"][0]["message"]["content"])


def events_of(body: bytes) -> list[Event]:
    """Split a body into its server-sent events."""
    events = []
    for block in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        fields: dict[str, list[str]] = {}
        for line in block.decode().splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        if "data" in fields:
            events.append(Event(name="".join(fields.get("event", [])), data="\n".join(fields["data"])))
    return events


def text_of(events: list[Event]) -> str:
    """Join the text of OpenAI chat chunks."""
    parsed = [event.json for event in events if event.data != DONE]
    return "".join(
        choice["delta"].get("content") or "" for chunk in parsed for choice in chunk.get("choices", ())
    )


def chat_body(model: str, text: str, **members: Any) -> dict[str, Any]:
    """Make a chat request of one question."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **members}


async def call(
    session: aiohttp.ClientSession,
    url: str,
    body: Any = None,
    *,
    method: str = "POST",
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """
    Make a call and read its answer to the end.

    Args:
        session: Client session.
        url: Where to.
        body: Bytes as they are, None for no body, or what is to be sent as JSON.
        method: HTTP method.
        token: Sent as the bearer token in `Authorization`.
        headers: Further headers; they win over the others.
    """
    sent = {"content-type": "application/json"}
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    sent |= headers or {}
    data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
    async with session.request(method, url, data=data, headers=sent) as response:
        pieces, read_at = [], []
        async for piece in response.content.iter_any():
            pieces.append(piece)
            read_at.append(time.monotonic())
        return Answer(
            status=response.status, headers=response.headers, body=b"".join(pieces), read_at=read_at
        )
