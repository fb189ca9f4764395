"""A provider of OpenAI's API is one row and one page: what CONTRIBUTING.md says of it is done here."""

from __future__ import annotations

import importlib
import re
import sys
from typing import TYPE_CHECKING

import pytest

from services.providers.registry import PROVIDERS
from tests.fakes.provider_calls import chat_request, native_request, provider_harness, text_of
from tests.fakes.upstream import FakeUpstream
from tests.fakes.upstream_shapes import ARGUMENTS, INPUT_TOKENS, TEXT
from tests.repo.test_provider_docs import lacking
from tests.repo.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from services.providers.registry import Provider
    from tests.fakes.provider_calls import ProviderHarness

REGISTRY = "services/providers/registry.py"
_DIFF = re.compile(r"^```diff\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^--- (\S+)\n\+\+\+ b/(\S+)\n@@[^\n]*\n", re.MULTILINE)
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def changes() -> dict[str, tuple[str, str]]:
    """Return what the example changes: by file, the lines as they are and as they are to be."""
    (diff,) = _DIFF.findall((ROOT / "CONTRIBUTING.md").read_text())
    _, *found = _FILE.split(diff)
    return {
        path: (_side(lines, " -"), _side(lines, " +"))
        for path, lines in zip(found[1::3], found[2::3], strict=True)
    }


def _side(lines: str, marks: str) -> str:
    return "".join(line[1:] for line in lines.splitlines(keepends=True) if line[0] in marks)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Provider]:
    """The rows of the registry after the example was applied to it."""
    before, after = changes()[REGISTRY]
    text = (ROOT / REGISTRY).read_text()
    assert 1 == text.count(before), "the example no longer fits the registry"
    (tmp_path / "changed_registry.py").write_text(text.replace(before, after))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "changed_registry", raising=False)
    found: dict[str, Provider] = importlib.import_module("changed_registry").PROVIDERS
    return found


@pytest.fixture
def row(rows: dict[str, Provider]) -> Provider:
    """The row of the example."""
    (slug,) = set(rows) - set(PROVIDERS)
    return rows[slug]


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@pytest.fixture
async def providers(row: Provider, upstream: FakeUpstream) -> AsyncIterator[ProviderHarness]:
    async with provider_harness(upstream.url, rows={row.slug: row}) as harness:
        yield harness


def test_it_is_a_row_and_a_page(row: Provider) -> None:
    """The example adds to the registry, adds a page, and touches nothing else."""
    page = f"docs/providers/{row.slug}.md"

    assert {REGISTRY, page} == set(changes())
    assert not (ROOT / page).exists()
    assert "" == changes()[page][0]
    before, after = changes()[REGISTRY]
    assert after.endswith(before)


def test_its_page_says_what_its_row_says(row: Provider) -> None:
    """The example's page is one that the test of all pages takes."""
    _, page = changes()[f"docs/providers/{row.slug}.md"]

    assert [] == lacking(row, page)


async def test_chat(row: Provider, upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A chat reaches the provider's path with the request's key, and is metered."""
    invoked = await providers.invoke(chat_request(row.slug, "m-1"))

    assert (200, TEXT) == (invoked.started.status, invoked.json["choices"][0]["message"]["content"])
    assert (INPUT_TOKENS, 5) == (invoked.ended.usage.input_tokens, invoked.ended.usage.output_tokens)
    (received,) = upstream.journal
    assert ("/v1/chat/completions", "Bearer sk-test") == (received.path, received.header("authorization"))
    assert "m-1" == received.json["model"]


async def test_stream(row: Provider, providers: ProviderHarness) -> None:
    """A stream comes in whole events up to [DONE], and is metered."""
    invoked = await providers.invoke(chat_request(row.slug, "m-1+words=20", stream=True))

    assert " ".join(f"w{index}" for index in range(20)) == text_of(invoked)
    assert "[DONE]" == invoked.events[-1]
    assert 20 == invoked.ended.usage.output_tokens
    assert not invoked.ended.HasField("failure")


async def test_tool_call(row: Provider, upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A tool is offered, and its call comes back."""
    invoked = await providers.invoke(chat_request(row.slug, "m-1+tools=1", body={"tools": [TOOL]}))

    (call,) = invoked.json["choices"][0]["message"]["tool_calls"]
    assert ("get_weather", ARGUMENTS) == (call["function"]["name"], call["function"]["arguments"])
    assert "tool_calls" == invoked.ended.finish_reason
    assert [TOOL] == upstream.journal[0].json["tools"]


async def test_native(row: Provider, upstream: FakeUpstream, providers: ProviderHarness) -> None:
    """A native call goes to the path that it names, with and without the version."""
    for path in ("files/a", "v1/files/a"):
        await providers.invoke(native_request(row.slug, path, method="GET"))

    assert ["/v1/files/a"] * 2 == [received.path for received in upstream.journal]
