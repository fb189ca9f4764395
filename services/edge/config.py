"""Settings of the edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kit.config import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConfig:
    """What the edge listens on, and how much it takes."""

    PREFIX: ClassVar[str] = "HEADRACE_EDGE_"

    listen_http: tuple[str, ...] = setting(
        (),
        "Addresses to serve HTTP on: `unix:/path` or `host:port`, separated by commas. "
        "Default: the socket `<process>-http.sock` in the run directory.",
    )
    max_body_bytes: int = setting(
        32 << 20,
        "Longest request body. The default leaves room for audio and several images, "
        "which the public providers limit to 25 MB.",
        at_least=1024,
    )
    bodies_bytes: int = setting(
        128 << 20,
        "Most bytes of request bodies held at a time, all together; a request that would need more is "
        "refused with 503 and `Retry-After`. Large ones get three quarters of it. At least one of the "
        "longest fits, whatever this says. Reckon with four times as much memory, and with thirty times the "
        "longest body once, for reading its JSON. A body of up to 16 KiB that comes in one piece with its "
        "headers does not count, nor does one that is sent on as it comes.",
        at_least=1024,
    )
    max_upload_bytes: int = setting(
        512 << 20,
        "Longest body of a native call that is sent on as it comes. The default is what the public providers "
        "take as one file; nothing of it is kept in memory.",
        at_least=1024,
    )
    whole_body_bytes: int = setting(
        1 << 20,
        "Longest body of a native call that is read before the provider is asked. Only such a request can be "
        "answered from the cache; a longer one is sent on as it comes.",
        at_least=0,
    )
    max_header_bytes: int = setting(
        64 << 10,
        "Longest single header, and longest request line. Slightly above what Envoy allows for all headers "
        "together, so that Envoy decides.",
        at_least=1024,
    )
    body_timeout_s: float = setting(
        60.0, "How long a request's body may take to arrive before the request is refused.", at_least=0.01
    )
    max_messages: int = setting(
        5_000,
        "Most messages in one chat request. Providers refuse longer ones themselves; the bound keeps "
        "translation from holding up other requests.",
        at_least=1,
    )
    payload_bytes: int = setting(
        1 << 20,
        "Longest part of a request or answer body that is kept in the log, each. Longer ones are cut off and "
        "marked as not complete.",
        at_least=0,
    )
    max_cached_bytes: int = setting(
        8 << 20,
        "Longest answer that is kept for the cache when it does not come in one piece. "
        "It takes that much memory while it passes.",
        at_least=0,
    )
    cache_timeout_s: float = setting(
        0.25, "How long to wait for the cache before treating it as a miss.", at_least=0.001
    )
    longest_retry_pause_s: float = setting(
        30.0,
        "Longest pause before a step is tried again. A provider that asks for a longer one (`Retry-After`) "
        "is not tried again: the next step is, or its error is the answer.",
        at_least=0,
    )
    reservation_s: float = setting(
        900.0,
        "How long what limits reserve for a request holds without being settled; longer than requests take. "
        "After that it counts as used, as it does when an edge dies before a request told of any use.",
        at_least=1,
        at_most=86_400,
    )
    usual_output_tokens: int = setting(
        4096,
        "Tokens that an answer is taken to have, for limits, whose request does not bound it by `max_tokens` "
        "or the like.",
        at_least=1,
    )
    websocket_requests: int = setting(
        64,
        "Most requests that may be under way at a time on one WebSocket; a further one is refused.",
        at_least=1,
    )
    websocket_answer_bytes: int = setting(
        16 << 20,
        "Longest answer that is sent as one message of a WebSocket when the provider sends it in pieces. It "
        "takes that much memory; streams do not.",
        at_least=1024,
    )
    websocket_heartbeat_s: float = setting(
        30.0,
        "How long a WebSocket may be quiet before it is asked whether it is still there. One that does not "
        "answer within half of that is closed. Proxies close quiet ones as well, some after a minute.",
        at_least=0.05,
    )
    decision_timeout_s: float = setting(5.0, "How long to wait for auth or router to decide.", at_least=0.01)
    limits_timeout_s: float = setting(
        15.0,
        "How long to wait for router where limits count. Longer than `HEADRACE_ROUTER_COUNTERS_WAIT_S`, for "
        "which router itself waits for Valkey.",
        at_least=0.01,
    )
    decisions: int = setting(
        20_000, "Most decisions of auth and router kept, each. One takes about 1 kB.", at_least=1
    )
    public_url: str = setting(
        "",
        "Where clients reach this installation, such as `https://ai.example.com`; shown where the management "
        "API tells a gateway's URL. Default: what each request says that it asked for.",
    )
