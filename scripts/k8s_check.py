"""
Render every overlay and every combination of components, and ask what Kubernetes has against them.

Run by `make k8s-check`: `kubectl kustomize` must render each without a warning, strict schemas of the three
newest versions must take each object, a name must be there once, and a number once in a list of ports, and
`kubectl apply --dry-run=client` must accept the overlays. What only a server can say (admission, quotas,
immutable fields) is not asked.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.k8s_render import K8S, RenderError, render
from scripts.k8s_schemas import VERSIONS, problems
from scripts.k8s_server import running
from scripts.kubectl import kubectl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["COMPONENTS", "ambiguous", "combinations", "kustomization"]

# What ends the name of a ConfigMap, and is another one for each combination.
_HASH: Final = re.compile(r"(headrace(?:-providers)?)-[0-9a-z]{10}(?![0-9a-z])")
# What changes what others made comes after them, in this order.
_LAST: Final = ("mtls", "mtls-trust", "vault", "durable-spool")
_ALL: Final = tuple(sorted(path.parent.name for path in K8S.glob("components/*/kustomization.yaml")))
COMPONENTS: Final = (*(name for name in _ALL if name not in _LAST), *_LAST)
"""All components, in an order in which they can be named together."""


def kustomization(components: Sequence[str], directory: Path) -> str:
    """Return a kustomization of the base and some components, to stand in a directory."""
    here = os.path.relpath(K8S, directory)
    return json.dumps(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "headrace",
            "resources": [f"{here}/base"],
            "components": [f"{here}/components/{name}" for name in components],
        }
    )


def combinations() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield a name and components: each alone, and all but each."""
    for one in COMPONENTS:
        yield f"with {one}", (one,)
        yield f"without {one}", tuple(name for name in COMPONENTS if name != one)


def directories(temporary: Path) -> dict[str, Path]:
    """Return what is to be rendered, by name: what is in the repository, and every combination."""
    found = {
        str(path.parent.relative_to(K8S)): path.parent
        for kind in ("overlays", "tests")
        for path in sorted(K8S.glob(f"{kind}/*/kustomization.yaml"))
    }
    for name, components in combinations():
        directory = temporary / name.replace(" ", "-")
        directory.mkdir()
        (directory / "kustomization.yaml").write_text(kustomization(components, directory))
        found[name] = directory
    return found


def ambiguous(document: dict[str, Any]) -> list[str]:
    """
    Return the ports of an object that `kubectl apply` cannot tell apart.

    It merges these lists by number alone: of TCP and UDP with one number, a change of what is there already
    loses one.
    """
    name = f"{document['kind']}/{document['metadata']['name']}"
    return [
        f"{name} has the port {number} twice, of which `kubectl apply` keeps one"
        for numbers in _port_lists(document)
        for number, times in Counter(numbers).items()
        if times > 1
    ]


def _port_lists(document: dict[str, Any]) -> Iterator[list[int | None]]:
    spec = document.get("spec", {})
    if document["kind"] == "Service":
        yield [port.get("port") for port in spec.get("ports", ())]
    pod = spec.get("jobTemplate", {}).get("spec", spec).get("template", {}).get("spec", {})
    for container in (*pod.get("containers", ()), *pod.get("initContainers", ())):
        yield [port.get("containerPort") for port in container.get("ports", ())]


def complaints(documents: list[dict[str, Any]], checked: dict[str, list[str]]) -> list[str]:
    """Return what is wrong with rendered objects; one that was looked at before is not looked at again."""
    found, names = [], set()
    for document in documents:
        name = (document["kind"], document["metadata"].get("namespace"), document["metadata"]["name"])
        if name in names:
            found.append(f"{document['kind']}/{document['metadata']['name']} is there twice")
        names.add(name)
        key = _HASH.sub(r"\1", json.dumps(document, sort_keys=True))
        if key not in checked:
            checked[key] = problems(document) + ambiguous(document)
        found += checked[key]
    return found


def dry_run(directory: Path) -> list[str]:
    """Return what `kubectl apply --dry-run=client` has against an overlay."""
    with running() as address, tempfile.TemporaryDirectory() as home:
        # No file of whoever runs this says where a cluster is: only the server of this block is asked.
        environment = {"HOME": home, "KUBECONFIG": f"{home}/config", "PATH": os.environ.get("PATH", "")}
        command = [str(kubectl()), "--server", address, "apply", "--dry-run=client", "--validate=false"]
        done = subprocess.run(
            [*command, "-k", str(directory)], capture_output=True, text=True, check=False, env=environment
        )
    return [f"apply --dry-run: {done.stderr.strip()}"] if done.returncode or done.stderr else []


def main() -> int:
    """Check everything; say what is wrong with what."""
    checked: dict[str, list[str]] = {}
    failed = 0
    kubectl()
    # kubectl resolves links, and so must the paths that lead from there to the repository.
    with tempfile.TemporaryDirectory() as created, ThreadPoolExecutor(max_workers=2) as pool:
        wanted = directories(Path(created).resolve())
        futures = {name: pool.submit(render, directory) for name, directory in wanted.items()}
        for name, future in futures.items():
            try:
                found = complaints(future.result(), checked)
            except RenderError as error:
                found = [str(error)]
            if name.startswith("overlays/") and not found:
                found += dry_run(wanted[name])
            failed += bool(found)
            for line in found:
                print(f"{name}: {line}", file=sys.stderr)
    print(
        f"k8s: {len(wanted) - failed} of {len(wanted)} renderings are good for Kubernetes "
        f"{', '.join(VERSIONS)}: {len(checked)} different objects"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
