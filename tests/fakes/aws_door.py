"""
What AWS does with a signature: makes it anew from what arrived, and lets nothing in that differs.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["AwsDoor"]

_ALGORITHM = "AWS4-HMAC-SHA256"
_PARTS = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<names>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


class AwsDoor:
    """
    Judges signatures.

    Args:
        secret_keys: By the access key's name.
        hosts: That a request may have been signed for, beside the one that it was sent to.
    """

    def __init__(self, secret_keys: Mapping[str, str], hosts: Iterable[str] = ()) -> None:
        self._secret_keys = secret_keys
        self._hosts = tuple(hosts)

    @staticmethod
    def is_signed(headers: Mapping[str, str]) -> bool:
        """Tell whether a request is signed at all."""
        return headers.get("authorization", "").startswith(_ALGORITHM)

    def admits(self, method: str, raw_path: str, headers: Mapping[str, str], body: bytes) -> bool:
        """
        Tell whether a signature is right.

        Args:
            method: As it arrived.
            raw_path: Path and query, likewise.
            headers: By their names in lower case.
            body: As it arrived.
        """
        parts = _PARTS.fullmatch(headers.get("authorization", ""))
        if parts is None or parts["key"] not in self._secret_keys:
            return False
        names = parts["names"].split(";")
        covered = {name: headers[name] for name in names if name in headers and name != "host"}
        wanted = (
            self._signature(parts, method, f"https://{host}{raw_path}", covered, body)
            for host in (headers.get("host", ""), *self._hosts)
        )
        return "host" in names and any(hmac.compare_digest(one, parts["signature"]) for one in wanted)

    def _signature(
        self, parts: re.Match[str], method: str, url: str, headers: dict[str, str], body: bytes
    ) -> str:
        signer = SigV4Auth(
            Credentials(parts["key"], self._secret_keys[parts["key"]]), parts["service"], parts["region"]
        )
        request = AWSRequest(method=method, url=url, headers=headers, data=body)
        request.context["timestamp"] = headers.get("x-amz-date", "")
        signed = signer.string_to_sign(request, signer.canonical_request(request))
        return str(signer.signature(signed, request))
