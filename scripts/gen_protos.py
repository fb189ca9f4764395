"""
Generate the Python code under `gen/` from the protos under `proto/`.

Run by `make proto`. Writes into a temporary directory first and replaces `gen/` only when everything
succeeded. `--check` compares instead of replacing and fails on any difference.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
GEN = ROOT / "gen"


def generate(out: Path) -> None:
    """
    Generate all code into an empty directory.

    Raises:
        subprocess.CalledProcessError: protoc refused a file; its message is on standard error.
    """
    protos = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={PROTO}",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--mypy_out={out}",
        f"--mypy_grpc_out={out}",
        *protos,
    ]
    # The mypy plugins sit beside the interpreter, which need not be on PATH.
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    subprocess.run(command, check=True, env={"PATH": path})
    _drop_files_without_service(out)
    for directory in sorted({path.parent for path in out.rglob("*.py")}):
        _mark_packages(directory, out)
    (out / "headrace" / "py.typed").touch()


def _drop_files_without_service(out: Path) -> None:
    for path in [*out.rglob("*_pb2_grpc.py"), *out.rglob("*_pb2_grpc.pyi")]:
        source = path.relative_to(out).with_name(path.name.split("_pb2_grpc")[0] + ".proto")
        if "\nservice " not in (PROTO / source).read_text():
            path.unlink()


def _mark_packages(directory: Path, out: Path) -> None:
    while directory != out:
        (directory / "__init__.py").touch()
        directory = directory.parent


def _differences(left: Path, right: Path) -> list[str]:
    names = {
        str(path.relative_to(base))
        for base in (left, right)
        for path in base.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return [
        name
        for name in sorted(names)
        if not (left / name).exists()
        or not (right / name).exists()
        or not filecmp.cmp(left / name, right / name, shallow=False)
    ]


def main() -> int:
    """Generate, or check that what is there is what would be generated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; fail when gen/ is out of date")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "gen"
        out.mkdir()
        generate(out)
        if arguments.check:
            stale = _differences(out, GEN)
            for name in stale:
                print(f"gen/{name} is out of date: run `make proto`", file=sys.stderr)
            return 1 if stale else 0
        shutil.rmtree(GEN, ignore_errors=True)
        shutil.copytree(out, GEN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
