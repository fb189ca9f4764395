"""
The head of a GGUF file: enough of it to tell a model from something else before llama.cpp loads it.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Little-endian only, which is all there is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BadModelFileError", "ModelHead", "read_head"]

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
# Fixed-size value types by their number: a `struct` code each.
_NUMBERS: Final = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING: Final = 8
_ARRAY: Final = 9
# Real keys and the strings read here are short; anything longer is not a GGUF file after all.
_MAX_STRING_BYTES: Final = 1 << 20
_MAX_KEYS: Final = 100_000
# Everything of interest stands before the vocabulary, which takes long to read.
_VOCABULARY: Final = "tokenizer."

_Value = str | int | float | bool | None


class BadModelFileError(Exception):
    """The file is no GGUF model; the message completes "<path> …"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHead:
    """
    What a file says about its model.

    Attributes:
        architecture: Such as `llama` or `bert`; `clip` is a part of another model.
        trained_tokens: The context that the model was trained for; 0 when it does not say.
        embeds: Whether the model is made for embeddings and says how its vectors are pooled.
    """

    architecture: str
    trained_tokens: int
    embeds: bool


def read_head(path: Path) -> ModelHead:
    """
    Read a model file's head.

    Raises:
        BadModelFileError: it is not a GGUF file, not one of a known version, or is cut off.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) != _MAGIC:
            raise BadModelFileError("is not a GGUF file")
        try:
            return _read_head(file)
        except (struct.error, UnicodeDecodeError) as error:
            raise BadModelFileError("is a damaged or incomplete GGUF file") from error


def _read_head(file: BinaryIO) -> ModelHead:
    version = _number(file, "<I")
    if version not in _VERSIONS:
        raise BadModelFileError(f"is a GGUF file of version {version}; versions 2 and 3 are known")
    tensor_count, key_count = _number(file, "<Q"), _number(file, "<Q")
    if not tensor_count or key_count > _MAX_KEYS:
        raise BadModelFileError("is a GGUF file without a model")
    found: dict[str, _Value] = {}
    for _ in range(int(key_count)):
        key = _string(file)
        if key.startswith(_VOCABULARY):
            break
        found[key] = _value(file, int(_number(file, "<I")))
    architecture = found.get("general.architecture")
    if not isinstance(architecture, str):
        raise BadModelFileError("is a GGUF file that does not name its architecture")
    trained = found.get(f"{architecture}.context_length")
    return ModelHead(
        architecture=architecture,
        trained_tokens=trained if isinstance(trained, int) else 0,
        embeds=f"{architecture}.pooling_type" in found,
    )


def _number(file: BinaryIO, code: str) -> int | float | bool:
    (value,) = struct.unpack(code, file.read(struct.calcsize(code)))
    number: int | float | bool = value
    return number


def _string(file: BinaryIO) -> str:
    length = int(_number(file, "<Q"))
    if length > _MAX_STRING_BYTES:
        raise BadModelFileError("is a damaged or incomplete GGUF file")
    text = file.read(length)
    if len(text) < length:
        raise BadModelFileError("is a damaged or incomplete GGUF file")
    return text.decode()


def _value(file: BinaryIO, kind: int) -> _Value:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        _skip_array(file)
        return None
    if kind not in _NUMBERS:
        raise BadModelFileError("is a damaged or incomplete GGUF file")
    return _number(file, _NUMBERS[kind])


def _skip_array(file: BinaryIO) -> None:
    kind, length = int(_number(file, "<I")), int(_number(file, "<Q"))
    if kind in _NUMBERS:
        file.seek(length * struct.calcsize(_NUMBERS[kind]), 1)
        return
    if kind != _STRING:
        raise BadModelFileError("is a damaged or incomplete GGUF file")
    for _ in range(length):
        _string(file)
