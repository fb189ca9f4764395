"""
Places of Vertex AI: regions and their hosts, projects, and what stands in its paths.

Hosts are made from what calls and keys name, so that only what a strict pattern allows gets into one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kit.errors import GatewayError, Reason
from services.providers.adapters.google import MODEL_NAME, bad_model

if TYPE_CHECKING:
    from services.providers.adapters.adapter import MeteredApi

__all__ = [
    "ANTHROPIC",
    "GLOBAL",
    "GOOGLE",
    "HOST",
    "base_of",
    "metered",
    "parent_of",
    "publisher_and_model",
    "region_in",
]

HOST: Final = "aiplatform.googleapis.com"
GLOBAL: Final = "global"
GOOGLE: Final = "google"
ANTHROPIC: Final = "anthropic"

_MULTI_REGIONS: Final = frozenset({"us", "eu"})
_REGION: Final = re.compile(r"[a-z]{2,20}(?:-[a-z]{2,20}[0-9]{1,2})?")
# A number, a name, or a name within a domain.
_PROJECT: Final = re.compile(r"(?:[a-z0-9][a-z0-9.-]{0,100}:)?[a-z0-9][a-z0-9-]{0,62}")
_LOCATION: Final = re.compile(r"(?:^|/)locations/([^/]+)(?:/|$)")


def base_of(region: str, template: str) -> str:
    """
    Return the address of a region's host.

    Args:
        region: Its name.
        template: Address that holds `{region}`, for all but the regions that have one of another kind.

    Raises:
        GatewayError: INVALID_REQUEST; there can be no such region.
    """
    region = _checked(region)
    if region == GLOBAL:
        return f"https://{HOST}"
    if region in _MULTI_REGIONS:
        return f"https://aiplatform.{region}.rep.googleapis.com"
    return template.format(region=region)


def parent_of(project: str, region: str) -> str:
    """
    Return how paths of a project begin in a region.

    Raises:
        GatewayError: INVALID_REQUEST; there can be no such project or region.
    """
    if not _PROJECT.fullmatch(project):
        raise GatewayError(Reason.INVALID_REQUEST, "That cannot be a project of Google's.", param="project")
    return f"projects/{project}/locations/{_checked(region)}"


def region_in(path: str) -> str:
    """Return what stands for the region in a path; empty: nothing does."""
    found = _LOCATION.search(path)
    return found[1] if found else ""


def publisher_and_model(model: str, provider: str) -> tuple[str, str]:
    """
    Take a name apart: `{publisher}/{model}`, or as it stands in paths; a bare one tells by itself.

    Raises:
        GatewayError: INVALID_REQUEST; there can be no such model, or it is of another publisher.
    """
    publisher, _, name = model.removeprefix("publishers/").replace("/models/", "/", 1).rpartition("/")
    publisher = publisher or (ANTHROPIC if name.startswith("claude") else GOOGLE)
    if publisher not in {GOOGLE, ANTHROPIC} or not MODEL_NAME.fullmatch(name):
        raise bad_model(provider)
    return publisher, name


def metered(path: str) -> tuple[MeteredApi, str]:
    """Tell whose API a native path is of, and what it is called there."""
    if path.endswith("/endpoints/openapi/chat/completions"):
        return "openai", "chat/completions"
    if "publishers/anthropic/" in path:
        model, _, method = path.rpartition("/")[2].partition(":")
        chat = model != "count-tokens" and method in {"rawPredict", "streamRawPredict"}
        return "anthropic", "messages" if chat else ""
    return "gemini", path


def _checked(region: str) -> str:
    if not _REGION.fullmatch(region):
        raise GatewayError(Reason.INVALID_REQUEST, "That cannot be a region of Vertex AI.", param="region")
    return region
