"""
Keys of AWS, and signatures made with them.

botocore signs; it is imported before the first signature, by `load_botocore`: that takes a fifth of a second.
"""

from __future__ import annotations

import asyncio
import re
import sys
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.providers.headers import HeaderList

__all__ = [
    "AwsKeys",
    "is_region",
    "is_signed",
    "load_botocore",
    "read_keys",
    "signature_headers",
    "signed_names",
]

_REGION: Final = re.compile(r"[a-z]{2,4}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}")
_ACCESS_KEY: Final = re.compile(r"[A-Za-z0-9_]{16,128}")
_ALGORITHM: Final = "aws4-hmac-sha256"
# What signs, and what takes streams apart.
_BOTOCORE: Final = ("botocore.auth", "botocore.awsrequest", "botocore.eventstream")
_SIGNED: Final = re.compile(r"SignedHeaders=([a-z0-9;_-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsKeys:
    """
    An access key.

    Attributes:
        access_key: Its id.
        secret_key: Never leaves the process.
        region: Where it is used.
        token: Of a session; None: it belongs to none.
    """

    # These three are what botocore's signer reads of its own credentials.
    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    region: str


async def load_botocore() -> None:
    """Import what is needed of botocore, once, while other calls go on."""
    if _BOTOCORE[-1] not in sys.modules:
        await asyncio.to_thread(_load)


def _load() -> None:
    for name in _BOTOCORE:
        import_module(name)


def read_keys(text: str) -> AwsKeys | None:
    """
    Read what is stored as a key; None: it is an API key, which is sent as it is.

    Raises:
        ValueError: it begins like JSON, but holds no access key. The message holds none of it.
    """
    if not text.lstrip().startswith("{"):
        return None
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - wrong content, whatever its type
    values = {name: document.get(name) or "" for name in ("accessKeyId", "secretAccessKey", "region")}
    token = document.get("sessionToken")
    for name, value in values.items():
        if not isinstance(value, str) or not value:
            raise ValueError(f"has no {name}")
    if not _ACCESS_KEY.fullmatch(values["accessKeyId"]) or not is_region(values["region"]):
        raise ValueError("has an accessKeyId or a region that cannot be one")
    if token is not None and (not isinstance(token, str) or not token.isprintable() or not token.isascii()):
        raise ValueError("has a sessionToken that cannot be one")
    return AwsKeys(
        access_key=values["accessKeyId"],
        secret_key=values["secretAccessKey"],
        region=values["region"],
        token=token or None,
    )


def is_region(name: str) -> bool:
    """Tell whether this can be the name of a region: hosts are made of it."""
    return _REGION.fullmatch(name) is not None


def is_signed(authorization: str) -> bool:
    """Tell whether a header holds a signature, and not a key."""
    return authorization.lstrip()[: len(_ALGORITHM)].lower() == _ALGORITHM


def signed_names(authorization: str) -> frozenset[str]:
    """Return the names of the headers that a signature covers."""
    match = _SIGNED.search(authorization)
    return frozenset(match.group(1).split(";")) if match is not None else frozenset()


def signature_headers(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    keys: AwsKeys,
    service: str,
    region: str,
) -> HeaderList:
    """
    Sign a request, and return the headers that carry the signature.

    Args:
        method: As it is sent.
        url: As it is sent, with path and query encoded: the signature is for this host and no other.
        headers: That the signature is to cover beside the host, as they are sent.
        body: As it is sent: whatever changes it later makes the signature worthless.
        keys: Sign it.
        service: That it is for.
        region: Likewise.
    """
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest

    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body)
    SigV4Auth(keys, service, region).add_auth(request)
    return [(name.lower(), value) for name, value in request.headers.items() if name.lower() not in headers]
