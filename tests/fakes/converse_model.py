"""
Holds requests and answers of Bedrock to AWS's own description of them, which botocore ships.

A request on the wire has bytes in base64, where the description speaks of bytes.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

__all__ = ["problems"]

_MODEL = botocore.session.get_session().get_service_model("bedrock-runtime")


def problems(operation: str, body: dict[str, Any]) -> str:
    """Say what is wrong with the body of a request; empty: nothing is."""
    shape = _MODEL.operation_model(operation).input_shape
    params = {"modelId": "m", **_decoded(body, shape)}
    found: str = ParamValidator().validate(params, shape).generate_report()
    return found


def _decoded(value: Any, shape: Any) -> Any:
    """Read base64 where the description has bytes, and hold texts to their patterns."""
    kind = shape.type_name
    if kind == "structure" and isinstance(value, dict) and not shape.metadata.get("document"):
        if shape.metadata.get("union") and len(value) != 1:
            raise AssertionError(f"{shape.name} may have one member, but has {sorted(value)}")
        return {
            name: _decoded(entry, shape.members[name]) if name in shape.members else entry
            for name, entry in value.items()
        }
    if kind == "list" and isinstance(value, list):
        return [_decoded(entry, shape.member) for entry in value]
    if kind == "blob" and isinstance(value, str):
        return base64.b64decode(value, validate=True)
    pattern = shape.metadata.get("pattern") if kind == "string" else None
    if pattern and not re.fullmatch(pattern, value):
        raise AssertionError(f"{shape.name} may not be {value!r}")
    return value
