"""Render manifests: `make k8s-render OVERLAY=production` prints what `kubectl apply -k` would apply."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.kubectl import kubectl

__all__ = ["K8S", "RenderError", "render", "render_text"]

K8S: Final = Path(__file__).resolve().parent.parent / "deploy" / "k8s"
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RenderError(Exception):
    """kubectl does not accept a kustomization; the message is its own."""


def render_text(directory: Path) -> str:
    """
    Return what `kubectl kustomize` makes of a directory.

    Raises:
        RenderError: it cannot, or not without a warning: a field that the next version drops, say.
    """
    command = [str(kubectl()), "kustomize", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        raise RenderError(f"{directory}: {done.stderr.strip()}")
    return done.stdout


def render(directory: Path) -> list[dict[str, Any]]:
    """
    Return the objects of a kustomization.

    Raises:
        RenderError: there is something wrong with it.
    """
    return [document for document in yaml.load_all(render_text(directory), Loader=_LOADER) if document]


def main() -> int:
    """Print an overlay's manifests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overlay", help="a directory of deploy/k8s/overlays, or any path")
    given = parser.parse_args()
    named = K8S / "overlays" / given.overlay
    try:
        print(render_text(named if named.is_dir() else Path(given.overlay)), end="")
    except RenderError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
