"""
What Kubernetes has against a manifest: strict schemas of its newest versions, and ours of others' kinds.

Kubernetes' own come with the package `kubernetes-validate`. Kinds of cert-manager, of the Prometheus operator
and of the Gateway API have schemas in `deploy/k8s/schemas`, which know the fields that we use and no other.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from referencing import Registry

__all__ = ["VERSIONS", "problems"]

VERSIONS: Final = ("1.35", "1.36", "1.37")
"""The three newest versions that there are schemas of."""

OURS: Final = Path(__file__).resolve().parent.parent / "deploy" / "k8s" / "schemas"


def _theirs() -> Path:
    found = find_spec("kubernetes_validate")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "kubernetes-json-schema"


_THEIRS: Final = _theirs()


def problems(document: dict[str, Any]) -> list[str]:
    """Return what is wrong with an object, one line each; nothing when every version takes it."""
    kind, version = str(document.get("kind")), str(document.get("apiVersion"))
    name = f"{kind}/{document.get('metadata', {}).get('name')}"
    own = _own_schema(kind, version)
    validators = {"": own} if own else {each: _schema(kind, version, each) for each in VERSIONS}
    found = []
    for each, validator in validators.items():
        if validator is None:
            found.append(f"{name}: there is no schema of {version} {kind} in {each}")
            continue
        for error in validator.iter_errors(document):
            place = ".".join(str(part) for part in error.absolute_path)
            found.append(f"{name} {each}: {place}: {error.message[:300]}")
    return found


@cache
def _schema(kind: str, api_version: str, version: str) -> Draft202012Validator | None:
    """Return the strict schema of a kind in a version of Kubernetes, named as the package names its files."""
    from jsonschema import Draft202012Validator  # takes seconds, which who asks nothing need not wait

    directory = _THEIRS / f"v{version}.0-local-strict"
    short = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    path = directory / f"{kind.lower()}-{short}.json"
    if not path.exists():
        return None
    return Draft202012Validator(json.loads(path.read_text()), registry=_definitions(directory))


@cache
def _definitions(directory: Path) -> Registry[Any]:
    from referencing import Registry, Resource

    contents = json.loads((directory / "_definitions.json").read_text())
    return Resource.from_contents(contents) @ Registry()


@cache
def _own_schema(kind: str, api_version: str) -> Draft202012Validator | None:
    from jsonschema import Draft202012Validator

    group = api_version.rpartition("/")[0]
    path = OURS / f"{group}_{kind}.yaml"
    if not path.exists():
        return None
    schema = yaml.safe_load(path.read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)
