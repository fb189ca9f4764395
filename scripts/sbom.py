"""
Write `build/sbom.cdx.json`: what the image installs, as CycloneDX. Run by `make sbom`.

The packages are installed as the Dockerfile installs them, into an environment of their own that is thrown
away, because this one holds what development needs besides. `LOCAL_MODEL=1` takes the local model in.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
OUTPUT: Final = ROOT / "build" / "sbom.cdx.json"
UV: Final = ROOT / ".uv" / "bin" / "uv"
CYCLONEDX: Final = Path(sys.executable).with_name("cyclonedx-py")


def install(directory: Path, *, local_model: bool) -> Path:
    """Install what runs into a new environment, and return its Python."""
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    excludes = () if local_model else ("--excludes", "requirements/local-model.txt")
    subprocess.run(
        [
            *(str(UV), "pip", "install", "-q", "--python", str(python), "--no-deps", "--require-hashes"),
            *(*excludes, "-r", "requirements/run.txt"),
        ],
        check=True,
        cwd=ROOT,
    )
    return python


def main() -> int:
    """Write the list; return the exit code."""
    OUTPUT.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="headrace-") as directory:
        python = install(Path(directory), local_model=os.environ.get("LOCAL_MODEL") == "1")
        subprocess.run(
            [
                *(str(CYCLONEDX), "environment", "--pyproject", "pyproject.toml", "--mc-type", "application"),
                *("--output-reproducible", "--output-format", "JSON", "--output-file", str(OUTPUT)),
                *("--spec-version", "1.6", str(python)),
            ],
            check=True,
            cwd=ROOT,
        )
    print(f"wrote {OUTPUT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
