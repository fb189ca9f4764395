"""
Where a call goes: a provider's base URL joined with a path, and what a client may put into that path.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from yarl import URL

from kit.errors import GatewayError, Reason

if TYPE_CHECKING:
    from services.providers.call import NativeTarget

__all__ = ["Endpoint"]

_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
# The path goes into the request line as it is: no space, no control character, no second `?`, no fragment.
_PATH: Final = re.compile(r"[!$&'()*+,\-./0-9:;=@A-Z_a-z~%\[\]|^{}`\"<>\\]*")
_QUERY: Final = re.compile(r"[!$&'()*+,\-./0-9:;=@A-Z_a-z~%?\[\]|^{}`\"<>\\]*")
_DOT_SEGMENT: Final = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)


class Endpoint:
    """
    A provider's API on the network.

    Args:
        base_url: The provider's usual one.
        override: The operator's; without a path it gets the usual path, so that a bare host is enough.
    """

    def __init__(self, base_url: URL, override: URL | None = None) -> None:
        chosen = base_url
        if override is not None:
            has_path = override.raw_path.strip("/") != ""
            chosen = override if has_path else override.with_path(base_url.raw_path, encoded=True)
        self._base = str(chosen).rstrip("/")
        # Clients differ in whether they take the version for a part of the base or of the path.
        self._version = chosen.raw_path.rstrip("/").rpartition("/")[2] + "/"
        self._versioned = re.fullmatch(r"v\d+[a-z0-9]*/", self._version) is not None
        self.host = chosen.host or ""
        self._fixed: dict[str, URL] = {}

    def url(self, path: str) -> URL:
        """Return the URL of a path of ours, made once."""
        found = self._fixed.get(path)
        if found is None:
            found = self._fixed[path] = self._join(path)
        return found

    def native(self, target: NativeTarget) -> URL:
        """
        Return the URL of a native call: the client's path and query as they are.

        Raises:
            GatewayError: METHOD_NOT_ALLOWED, or INVALID_REQUEST for a path that is none or leads elsewhere.
        """
        if target.method not in _METHODS:
            raise GatewayError(
                Reason.METHOD_NOT_ALLOWED, "That method is not relayed.", method=target.method[:16]
            )
        if not _PATH.fullmatch(target.path) or not _QUERY.fullmatch(target.query):
            raise GatewayError(
                Reason.INVALID_REQUEST, "The path or query holds a forbidden character.", param="path"
            )
        if _DOT_SEGMENT.search(target.path):
            raise GatewayError(
                Reason.INVALID_REQUEST, "The path may not hold `.` or `..` segments.", param="path"
            )
        return self._join(f"{target.path}?{target.query}" if target.query else target.path)

    def _join(self, path: str) -> URL:
        path = path.lstrip("/")
        if self._versioned and path.startswith(self._version):
            path = path.removeprefix(self._version)
        return URL(f"{self._base}/{path}" if path else self._base, encoded=True)
