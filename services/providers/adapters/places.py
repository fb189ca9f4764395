"""
Where a native call goes, also where the call names its own host.

A host is never put together from what a call says unless a strict pattern allows it, and is then looked at
again when its address is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from yarl import URL

from kit.errors import GatewayError, Reason
from services.providers.endpoint import check_target

if TYPE_CHECKING:
    from services.providers.call import Call, NativeTarget
    from services.providers.endpoint import Endpoint
    from services.providers.registry import Provider

__all__ = ["NativePlace", "native_place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NativePlace:
    """
    Where a native call goes.

    Attributes:
        url: With the query.
        path: To know the endpoint by: without what leads to the API, and without its version.
        guarded: The host was chosen by whoever calls.
    """

    url: URL = field(repr=False)
    path: str
    guarded: bool = False


def native_place(call: Call, provider: Provider, endpoint: Endpoint) -> NativePlace:
    """
    Find out where a native call goes.

    Raises:
        GatewayError: METHOD_NOT_ALLOWED, or INVALID_REQUEST for a path or host that cannot be.
    """
    target = call.native
    assert target is not None
    if provider.target_header and (named := _header(call, provider.target_header)):
        return _at_target(named, target, provider, endpoint)
    path = target.path.strip("/").removeprefix("v1/")
    if provider.model_host and not endpoint.overridden and (path + "/").startswith("model/"):
        return _at_model_host(path, target, provider)
    return NativePlace(url=endpoint.native(target), path=endpoint.bare(target.path))


def _header(call: Call, name: str) -> str:
    return next((value.decode("latin-1").strip() for header, value in call.headers if header == name), "")


def _at_target(named: str, target: NativeTarget, provider: Provider, endpoint: Endpoint) -> NativePlace:
    """Go to the address in a header, which replaces path and query."""
    wrong = GatewayError(
        Reason.INVALID_REQUEST,
        f"{provider.target_header} must be an https address at a host of {provider.slug}.",
        param=provider.target_header,
    )
    try:
        url = URL(named, encoded=True)
        host, port = (url.raw_host or "").lower(), url.explicit_port
    except ValueError as error:
        raise wrong from error
    if url.scheme != "https" or url.user or url.password or url.raw_fragment or port not in {None, 443}:
        raise wrong
    if not re.fullmatch(provider.target_hosts, host):
        raise wrong
    moved = type(target)(method=target.method, path=url.raw_path.lstrip("/"), query=url.raw_query_string)
    if endpoint.overridden:
        return NativePlace(url=endpoint.native(moved), path=moved.path)
    check_target(moved)
    query = f"?{moved.query}" if moved.query else ""
    return NativePlace(
        url=URL(f"https://{host}/{moved.path}{query}", encoded=True), path=moved.path, guarded=True
    )


_MODEL_ID = re.compile(r"[a-z0-9]{1,32}")


def _at_model_host(path: str, target: NativeTarget, provider: Provider) -> NativePlace:
    """Go to the host of a model of one's own: `model/{id}`, and what of its API follows."""
    check_target(target)
    _, _, rest = path.partition("/")
    model, _, rest = rest.partition("/")
    if not _MODEL_ID.fullmatch(model):
        raise GatewayError(
            Reason.INVALID_REQUEST, "The id of a model is small letters and digits alone.", param="path"
        )
    query = f"?{target.query}" if target.query else ""
    place = f"{provider.model_host.format(id=model)}/{rest or 'production/predict'}{query}"
    return NativePlace(url=URL(place, encoded=True), path="", guarded=True)
