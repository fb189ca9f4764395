"""Every provider has a page, and what the page says of it is what its row says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from kit.providers import ALIASES, LOCAL
from services.providers.config import base_url_variable
from services.providers.dialects.openai_chat.hosts import USUAL
from services.providers.registry import CUSTOM, PROVIDERS
from tests.repo.tree import ROOT

if TYPE_CHECKING:
    from services.providers.registry import Provider

PAGES = ROOT / "docs" / "providers"
INDEX = "README"
# Speak OpenAI's API, so that their rows say all that there is to it.
COMPATIBLE = ("azure", "openai")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_ROW = re.compile(r"^\| ([^|]+?) \| ([^|]+?) \|$", re.MULTILINE)
ROWS = [*PROVIDERS.values(), CUSTOM]


def told(page: str) -> dict[str, str]:
    """Return the two-column tables of a page as one, by what stands first; the upper row of two counts."""
    return dict(reversed(_ROW.findall(page)))


def settings(row: Provider) -> set[str]:
    """Return what the operator can set for a provider, as pages name it."""
    variable = base_url_variable(row.slug).removesuffix("_BASE_URL")
    if row is CUSTOM:
        variable += "_<SLUG>"
    extra = {f"{variable}_{field.upper()}" for field in row.settings}
    return {f"{variable}_BASE_URL", f"{variable}_API_KEY", "…_API_KEY_FILE"} | extra


def lacking(row: Provider, page: str) -> list[str]:
    """Return what a provider's page should say and does not."""
    codes = set(_CODE.findall(_FENCE.sub("", page)))
    slug = "custom-{slug}" if row is CUSTOM else row.slug
    lacks = [
        f"`{name}/…`"
        for name in (slug, *row.aliases)
        if not any(code.startswith(f"{name}/") or _is_native(row, name, code) for code in codes)
    ]
    wanted = settings(row) | {row.auth.header.lower()}
    if row.auth.prefix:
        wanted.add(row.auth.prefix.strip())
    wanted |= {address for address in (row.base_url, row.native_url) if address and row.slug != LOCAL}
    lacks += [f"`{code}`" for code in wanted if not any(_says(code, found) for found in codes)]
    return sorted(lacks + (_wrong(row, page, codes) if row.api in COMPATIBLE else []))


def _is_native(row: Provider, name: str, code: str) -> bool:
    """Tell whether a path names a provider that has no models to be named before."""
    return row.api == "native" and f"/{name}/" in code


def _says(wanted: str, code: str) -> bool:
    return wanted == code or wanted.lower() in re.split(r"[ :=]+", code.lower())


def _wrong(row: Provider, page: str, codes: set[str]) -> list[str]:
    """Compare what a page says of OpenAI's API with the row."""
    table = told(page)
    claims = {
        "responses": "same dialect" if row.responses else "translated to chat completions",
        "embeddings": "same dialect" if row.embeddings else "none: 400 `UNSUPPORTED`",
        "other endpoints": ", ".join(f"`{name}`" for name in sorted(row.endpoints)) or "none",
    }
    wrong = [f"{name}: {claim}" for name, claim in claims.items() if claim != table.get(name)]
    if not table.get("chat completions", "").startswith("same dialect"):
        wrong.append("chat completions: same dialect")
    if row is not CUSTOM and row.lists_models == table.get("models", "").startswith("not listed"):
        wrong.append(f"models: {'listed' if row.lists_models else 'not listed'}")
    members = (row.chat.lacks - USUAL.lacks) | row.chat.takes
    return wrong + [f"`{member}`" for member in members if member not in codes]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.slug)
def test_page_says_what_the_row_says(row: Provider) -> None:
    """A page has the slug, every alias, address, key and setting of its provider, and what it can do."""
    assert [] == lacking(row, (PAGES / f"{row.slug}.md").read_text())


def test_no_page_too_many() -> None:
    """Each page is of a provider that there is; the index is of all."""
    assert {row.slug for row in ROWS} | {INDEX} == {path.stem for path in PAGES.glob("*.md")}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.slug)
def test_no_setting_of_another_provider(row: Provider) -> None:
    """A page names the settings of its own provider alone."""
    page = (PAGES / f"{row.slug}.md").read_text()
    variable = base_url_variable(row.slug).removesuffix("BASE_URL")
    named = set(re.findall(r"HEADRACE_PROVIDER_[A-Z<>_]+", page))

    assert [] == sorted(name for name in named if not name.startswith(variable))


def test_index_links_to_every_page() -> None:
    """The index has a line for each provider that leads to its page."""
    page = (PAGES / f"{INDEX}.md").read_text()

    assert [] == [row.slug for row in ROWS if f"]({row.slug}.md)" not in page]


def test_pages_are_about_something() -> None:
    """A page begins with a heading, says what models are called or that there are none, and has its table."""
    wrong = []
    for row in ROWS:
        page = (PAGES / f"{row.slug}.md").read_text()
        table = told(page)
        kind = "compat paths" if row.api == "native" else "key"
        if not page.startswith("# ") or kind not in table or "native" not in table:
            wrong.append(row.slug)

    assert [] == wrong


def test_aliases_are_those_of_the_rows() -> None:
    """The further names that all services share are the registry's."""
    assert {alias: row.slug for row in PROVIDERS.values() for alias in row.aliases} == dict(ALIASES)
