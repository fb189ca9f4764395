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

__all__ = ["Endpoint", "check_target"]

_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
# The path goes into the request line as it is: no space, no control character, no second `?`, no fragment.
_PATH: Final = re.compile(r"[!$&'()*+,\-./0-9:;=@A-Z_a-z~%\[\]|^{}`\"<>\\]*")
_QUERY: Final = re.compile(r"[!$&'()*+,\-./0-9:;=@A-Z_a-z~%?\[\]|^{}`\"<>\\]*")
_VERSION: Final = re.compile(r"v\d+[a-z0-9]*")
_MODELS: Final = "models"
# Some servers take an encoded slash, or a slash the other way, for a slash.
_SLASH: Final = r"(?:/|\\|%2f|%5c)"
_DOT_SEGMENT: Final = re.compile(rf"(?:^|{_SLASH})(?:\.|%2e){{1,2}}(?:{_SLASH}|;|$)", re.IGNORECASE)


class Endpoint:
    """
    A provider's API on the network.

    Clients differ in whether they take the version (`v1`) for a part of the base or of the path, so that a
    path is accepted with and without it, and with all of the base's own path.

    Args:
        base_url: The provider's usual one.
        override: The operator's; without a path it gets the usual path, so that a bare host is enough.
        version: Put before paths that name none, where the base does not end with one.
        unversioned: Beginnings of paths that have no version.
        native_url: What native paths are joined to that begin with no version of the base's, where it is
            another address; but `models` is the base's.
        verbatim: Native paths are joined to the base as they are.

    Attributes:
        host: That is called.
        overridden: The address is the operator's.
    """

    def __init__(
        self,
        base_url: URL,
        override: URL | None = None,
        *,
        version: str = "",
        unversioned: tuple[str, ...] = (),
        native_url: URL | None = None,
        verbatim: bool = False,
    ) -> None:
        chosen = _chosen(base_url, override)
        self._base = str(chosen).rstrip("/")
        self._path = chosen.raw_path.strip("/")
        own = _own_version(chosen)
        self._version = own or version
        # Where no version is put before a path, the client's own stays.
        self._versions = {self._version, _own_version(base_url) or version} if self._version else set()
        # An address that ends with a version means what it says.
        self._unversioned = () if own and override is not None else unversioned
        self._root = self._base.removesuffix(f"/{own}") if own else self._base
        self._native = Endpoint(native_url, override) if native_url is not None else self
        self._verbatim = verbatim
        self.overridden = override is not None
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
        check_target(target)
        path = f"{target.path}?{target.query}" if target.query else target.path
        if self._verbatim:
            return URL(f"{self._base}/{path.lstrip('/')}", encoded=True)
        return self._for(target.path)._join(path)  # noqa: SLF001 - of its own kind

    def bare(self, path: str) -> str:
        """Return a native path without version and base, to know an endpoint by."""
        path = self._for(path)._without_base(path.strip("/"))  # noqa: SLF001 - of its own kind
        first, _, rest = path.partition("/")
        return rest if rest and _VERSION.fullmatch(first) else path

    def _for(self, path: str) -> Endpoint:
        """Choose the address of a native path."""
        path = path.strip("/")
        return self if path == _MODELS or path.partition("/")[0] in self._versions else self._native

    def _join(self, path: str) -> URL:
        path = path.lstrip("/")
        if not path:
            return URL(self._base, encoded=True)
        path = self._without_base(path)
        if _VERSION.fullmatch(path.partition("/")[0]):
            return URL(f"{self._root}/{path}", encoded=True)
        if self._version and not self._has_no_version(path):
            return URL(f"{self._root}/{self._version}/{path}", encoded=True)
        return URL(f"{self._root}/{path}", encoded=True)

    def _without_base(self, path: str) -> str:
        """Take off what the base has already."""
        if self._path and path.startswith(f"{self._path}/"):
            path = path.removeprefix(f"{self._path}/")
        first, _, rest = path.partition("/")
        return rest if rest and first in self._versions else path

    def _has_no_version(self, path: str) -> bool:
        path = path.partition("?")[0]
        return any(not start or path == start or path.startswith(f"{start}/") for start in self._unversioned)


def check_target(target: NativeTarget) -> None:
    """
    Refuse a native call that cannot stand in a request line, or leaves the address that it is joined to.

    Raises:
        GatewayError: METHOD_NOT_ALLOWED or INVALID_REQUEST.
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


def _chosen(base_url: URL, override: URL | None) -> URL:
    if override is None:
        return base_url
    if override.raw_path.strip("/"):
        return override
    return override.with_path(base_url.raw_path, encoded=True)


def _own_version(url: URL) -> str:
    """Return the version that an address ends with; empty when it ends with none."""
    last = url.raw_path.rstrip("/").rpartition("/")[2]
    return last if _VERSION.fullmatch(last) else ""
