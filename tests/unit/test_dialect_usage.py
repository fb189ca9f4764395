from __future__ import annotations

from typing import Any

import pytest

from headrace.common.v1 import usage_pb2
from services.providers.dialects.usage import (
    UsageCounts,
    estimate,
    merge_report,
    read_anthropic_usage,
    read_gemini_usage,
    read_openai_usage,
)


def test_fields_mirror_the_proto() -> None:
    """The counts have the fields of `headrace.common.v1.Usage`, no more and no fewer."""
    names = [field.name for field in usage_pb2.Usage.DESCRIPTOR.fields]

    assert names == list(UsageCounts.__dataclass_fields__)


def test_openai_chat_usage() -> None:
    """Chat completions report cached, reasoning and audio tokens as parts."""
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 5, "cache_write_tokens": 7},
        "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 2},
    }

    assert read_openai_usage(usage) == UsageCounts(
        input_tokens=100,
        output_tokens=50,
        cache_read_tokens=40,
        cache_write_tokens=7,
        reasoning_tokens=30,
        input_audio_tokens=5,
        output_audio_tokens=2,
    )


def test_openai_responses_usage() -> None:
    """Responses name the same counts otherwise."""
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 15,
    }

    assert read_openai_usage(usage) == UsageCounts(
        input_tokens=10, output_tokens=5, cache_read_tokens=4, reasoning_tokens=3
    )


def test_embeddings_usage_has_no_output() -> None:
    """Embeddings report a prompt and an equal total, so the output is known to be nothing."""
    assert UsageCounts(input_tokens=8, output_tokens=0) == read_openai_usage(
        {"prompt_tokens": 8, "total_tokens": 8}
    )


@pytest.mark.parametrize("value", [None, "5", -1, 2.5, True, [], {}])
def test_nonsense_is_unknown_not_zero(value: Any) -> None:
    """What is not a count is not known."""
    assert UsageCounts() == read_openai_usage({"prompt_tokens": value, "prompt_tokens_details": value})


def test_anthropic_totals_include_the_cache() -> None:
    """Cases 42 and 44: cache reads and writes are input; one-hour writes are kept apart."""
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 3},
    }

    assert read_anthropic_usage(usage) == UsageCounts(
        input_tokens=140,
        output_tokens=7,
        cache_read_tokens=100,
        cache_write_tokens=30,
        cache_write_1h_tokens=20,
        reasoning_tokens=3,
    )


def test_later_report_does_not_zero_an_earlier_one() -> None:
    """Case 43: later numbers are set, not added, and absent or null ones leave the earlier number."""
    report = merge_report(
        {"input_tokens": 25, "output_tokens": 1}, {"output_tokens": 9, "input_tokens": None}
    )

    assert UsageCounts(input_tokens=25, output_tokens=9) == read_anthropic_usage(report)


def test_estimate_fills_only_what_is_unknown() -> None:
    """A cut stream is estimated from the request's length and the events that came."""
    assert UsageCounts(input_tokens=3, output_tokens=7, estimated=True) == estimate(
        None, request_bytes=10, content_events=7
    )
    known = UsageCounts(input_tokens=100, output_tokens=1, cache_read_tokens=60)
    assert UsageCounts(input_tokens=100, output_tokens=7, cache_read_tokens=60, estimated=True) == estimate(
        known, request_bytes=10, content_events=7
    )


def test_counts_that_no_field_holds_are_unknown() -> None:
    """A count beyond 64 bits is not known, and neither is a sum that grows beyond them."""
    most = (1 << 63) - 1
    assert UsageCounts(input_tokens=most) == read_openai_usage(
        {"prompt_tokens": most, "completion_tokens": most + 1}
    )
    assert UsageCounts(cache_read_tokens=most, output_tokens=1) == read_anthropic_usage(
        {"input_tokens": 1, "cache_read_input_tokens": most, "output_tokens": 1}
    )
    written = {"ephemeral_1h_input_tokens": most, "ephemeral_5m_input_tokens": most}
    assert UsageCounts(cache_write_1h_tokens=most) == read_anthropic_usage({"cache_creation": written})


def test_pictures() -> None:
    """OpenAI and Google tell how many tokens were pictures; Google also that none were."""
    openai = read_openai_usage(
        {
            "input_tokens": 250,
            "output_tokens": 1000,
            "input_tokens_details": {"text_tokens": 50, "image_tokens": 200},
            "output_tokens_details": {"image_tokens": 900, "text_tokens": 100},
        }
    )
    picture, text = (
        read_gemini_usage(
            {
                "promptTokenCount": 5,
                "candidatesTokenCount": 7,
                "totalTokenCount": 12,
                "candidatesTokensDetails": [{"modality": kind, "tokenCount": 7}],
            }
        )
        for kind in ("IMAGE", "TEXT")
    )

    assert (200, 900) == (openai.input_image_tokens, openai.output_image_tokens)
    assert (7, 0) == (picture.output_image_tokens, text.output_image_tokens)
    assert read_gemini_usage({"promptTokenCount": 5}).output_image_tokens is None
