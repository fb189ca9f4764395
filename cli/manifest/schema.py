"""The JSON Schema of the declarative file, for editors."""

from __future__ import annotations

import json
from typing import Any

from cli.manifest.models import Manifest

__all__ = ["schema_text"]


def schema_text() -> str:
    """Give the schema as a file has it."""
    made: dict[str, Any] = Manifest.model_json_schema(by_alias=True)
    _tidy(made)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "headrace.schema.json",
    }
    return json.dumps({**head, **made}, indent=2, ensure_ascii=False) + "\n"


def _tidy(value: Any) -> None:
    """Take away titles that only repeat names."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name in {"properties", "$defs"}:
                for each in member.values():
                    each.pop("title", None)
                    _tidy(each)
            else:
                _tidy(member)
    elif isinstance(value, list):
        for member in value:
            _tidy(member)
