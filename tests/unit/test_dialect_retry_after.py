from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.providers.dialects.retry_after import parse_duration, parse_retry_after

NOW_S = 1_445_412_420.0  # Wed, 21 Oct 2015 07:27:00 GMT


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "1500", "retry-after": "20"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-tokens": "1h2m3.5s"}, 3723.5),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "1s"}, 1.0),
        (
            {
                "x-ratelimit-reset-requests": "20ms",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "149984",
            },
            0.02,
        ),
        (
            {
                "anthropic-ratelimit-requests-reset": "2015-10-21T07:27:30Z",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2015-10-21T07:28:30Z",
                "anthropic-ratelimit-tokens-remaining": "500",
            },
            30.0,
        ),
        ({"retry-after": "1m30s"}, 90.0),
        # Azure
        ({"retry-after-ms": "500"}, 0.5),
        ({"x-ratelimit-reset-requests": "17"}, 17.0),
        # Cerebras
        (
            {
                "x-ratelimit-reset-requests-day": "33011.4",
                "x-ratelimit-remaining-requests-day": "9500",
                "x-ratelimit-reset-tokens-minute": "11.4",
                "x-ratelimit-remaining-tokens-minute": "0",
            },
            11.4,
        ),
        # OpenAI, by the day
        ({"x-ratelimit-reset-tokens_usage_based": "9ms"}, 0.009),
        # OpenRouter, and what is common elsewhere
        ({"x-ratelimit-reset": "1445412480000"}, 60.0),
        ({"x-ratelimit-reset": "1445412480"}, 60.0),
        ({"x-ratelimit-reset": "1445412000"}, 0.0),
        ({"ratelimit-reset": "5"}, 5.0),
        # Mistral
        ({"ratelimitbysize-reset": "34"}, 34.0),
        ({"x-ratelimit-reset": "tomorrow"}, None),
        ({"x-ratelimit-reset-requests": ""}, None),
    ],
)
def test_every_form(headers: dict[str, str], expected: float | None) -> None:
    """Case 151: a wait is read from each form in which providers say it."""
    assert expected == parse_retry_after(headers, now_s=NOW_S)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1d", 86_400.0), ("2m", 120.0), ("3", 3.0), ("", None), ("6 minutes", None), ("m", None)],
)
def test_durations(value: str, expected: float | None) -> None:
    """Case 151: durations are read whole or not at all."""
    assert expected == parse_duration(value)


@given(
    name=st.sampled_from(
        [
            "retry-after",
            "retry-after-ms",
            "x-ratelimit-reset",
            "x-ratelimit-reset-tokens",
            "anthropic-ratelimit-tokens-reset",
        ]
    ),
    value=st.text(max_size=40),
)
def test_no_header_is_too_strange(name: str, value: str) -> None:
    """A header of any content gives a wait that is not negative, or none."""
    wait = parse_retry_after({name: value}, now_s=NOW_S)

    assert wait is None or wait >= 0
