"""Writes the head of a GGUF file: enough for what reads heads, too little for llama.cpp."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Value = str | int | list[str]


def write_gguf(
    path: Path, values: Mapping[str, Value] | None = None, *, version: int = 3, tensor_count: int = 1
) -> Path:
    """Write a file whose head has these values; without any, those of a small chat model."""
    small: Mapping[str, Value] = {"general.architecture": "llama", "llama.context_length": 2048}
    found = small if values is None else values
    pairs = b"".join(_text(key) + _value(value) for key, value in found.items())
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, tensor_count, len(found)) + pairs)
    return path


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(item) for item in value)
    return struct.pack("<II", 4, value)
