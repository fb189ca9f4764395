"""
What is shown of a call: no key, no prompt.
"""

from __future__ import annotations

from yarl import URL

from services.providers.adapters.adapter import read_own_error
from services.providers.adapters.places import NativePlace
from services.providers.adapters.vertex import _Credential
from services.providers.call import Call, ClientDialect, Exchange, NativeTarget, Reading
from services.providers.dialects.native import native_stream, read_native_answer
from services.providers.upstream import Timeouts, UpstreamRequest

KEY = "sk-canary-5b1f0e77"
HEADERS = [("authorization", f"Bearer {KEY}")]
QUERY = f"key={KEY}"
BODY = KEY.encode()
TARGET = NativeTarget(method="POST", path="models", query=QUERY)
WHERE = URL(f"https://provider.example/v1?{QUERY}")
READING = Reading(
    stream=lambda: native_stream("openai", "models", request_bytes=0),
    whole=lambda body: read_native_answer("openai", "models", body),
    error=read_own_error,
)


def test_nothing_shows_a_key() -> None:
    """Whatever is printed of a call on its way, such as by a debugger or in a traceback, holds no key."""
    shown = [
        TARGET,
        Call(
            model="m",
            dialect=ClientDialect.NATIVE,
            body=BODY,
            stream=False,
            headers=[(name, value.encode()) for name, value in HEADERS],
            native=TARGET,
        ),
        Exchange(method="POST", url=WHERE, headers=HEADERS, body=BODY, reading=READING),
        NativePlace(url=WHERE, path="models"),
        UpstreamRequest(
            provider="p",
            method="POST",
            url=WHERE,
            headers=HEADERS,
            body=BODY,
            timeouts=Timeouts(connect_s=1, first_byte_s=1, idle_s=1, total_s=1),
        ),
        _Credential(account=None, token=KEY, region="us-central1", parent="projects/p"),
    ]

    assert [] == [repr(each) for each in shown if KEY in repr(each)]
