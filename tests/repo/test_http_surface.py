"""Every path that the edge answers is documented."""

from __future__ import annotations

import re

from services.edge import routes
from tests.repo.tree import ROOT

PAGE = ROOT / "docs" / "openai-compatibility.md"
_ACCOUNT = "/v1/{account}/{gateway}"


def documented() -> str:
    """Return the table of endpoints."""
    return PAGE.read_text().partition("## Endpoints")[2].partition("\n## ")[0]


def test_every_route_is_documented() -> None:
    """Each path of the table of routes is in the table of endpoints."""
    paths = [f"`/v1/{endpoint}`" for endpoint in routes._COMPAT]
    paths += [f"`{call}`" for call in routes._GEMINI]
    paths += [f"`/{path}`" for path in routes._OPERATIONS]
    paths += [f"`{_ACCOUNT}`", f"`{_ACCOUNT}/compat/…`", f"`{_ACCOUNT}/{{provider}}/{{path}}`"]
    paths += ["`/client/v4/{path}`"]

    assert [] == [path for path in paths if path not in documented()]


def test_every_documented_path_leads_somewhere() -> None:
    """Each path of the table of endpoints is resolved to a handler."""
    paths = re.findall(r"^\| `(/[^`]+)`", documented(), re.MULTILINE)
    concrete = [re.sub(r"\{[a-z]+\}", "x", path).replace("compat/…", "compat/models") for path in paths]

    assert [] == [path for path in concrete if not routes.resolve(path).handler]
    assert len(concrete) > len(routes._COMPAT)
