"""The environment of a container, and references to variables in commands; pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.fields import quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deploy.rehearsal.objects import Data
    from deploy.rehearsal.pod_spec import ContainerSpec, Key

__all__ = ["Facts", "MissingReferenceError", "environment", "expanded", "field_value"]

_REFERENCE: Final = re.compile(r"\$(\$|\(([A-Za-z0-9_.-]+)\))")
_MAP_FIELD: Final = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class MissingReferenceError(RehearsalError):
    """A ConfigMap, Secret or key is not there; the container waits for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a pod may be told of itself."""

    name: str
    namespace: str
    uid: str
    address: str
    node: str
    node_address: str
    service_account: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def field_value(facts: Facts, path: str) -> str:
    """
    Return what a fieldRef says.

    Raises:
        RehearsalError: There is no such field.
    """
    fields = {
        "metadata.name": facts.name,
        "metadata.namespace": facts.namespace,
        "metadata.uid": facts.uid,
        "spec.nodeName": facts.node,
        "spec.serviceAccountName": facts.service_account,
        "status.podIP": facts.address,
        "status.podIPs": facts.address,
        "status.hostIP": facts.node_address,
    }
    if path in fields:
        return fields[path]
    match = _MAP_FIELD.fullmatch(path)
    if match is None:
        raise RehearsalError(f"the rehearsal does not know the field {path}")
    return (facts.labels if match[1] == "labels" else facts.annotations).get(match[2], "")


def environment(
    container: ContainerSpec,
    base: Mapping[str, str],
    facts: Facts,
    find: Callable[[str, str], Data | None],
) -> dict[str, str]:
    """
    Return the variables of a container.

    Args:
        container: The container.
        base: Those of its image.
        facts: What is known of the pod.
        find: Returns a ConfigMap or Secret of the pod's namespace by kind and name.

    Raises:
        MissingReferenceError: Something that it needs is not there.
    """
    made = {
        **base,
        "HOSTNAME": facts.name,
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
    }
    for each in container.env:
        if not each.name:
            assert each.source is not None
            made.update(_all_keys(each.source, each.prefix, find))
        elif each.source is not None:
            value = _value(each.source, container, facts, find)
            if value is not None:
                made[each.name] = value
        else:
            made[each.name] = _expanded(each.value, made)
    return made


def _all_keys(source: Key, prefix: str, find: Callable[[str, str], Data | None]) -> dict[str, str]:
    data = find(source.kind, source.name)
    if data is None:
        if source.optional:
            return {}
        raise MissingReferenceError(f"there is no {source.kind} {source.name}")
    return {prefix + key: value.decode() for key, value in data.data.items()}


def _value(
    source: Key, container: ContainerSpec, facts: Facts, find: Callable[[str, str], Data | None]
) -> str | None:
    if source.kind == "field":
        return field_value(facts, source.key)
    if source.kind == "resource":
        return _resource(source, container)
    data = find(source.kind, source.name)
    value = None if data is None else data.data.get(source.key)
    if value is not None:
        return value.decode()
    if source.optional:
        return None
    raise MissingReferenceError(f"there is no {source.kind} {source.name} with key {source.key}")


def _resource(source: Key, container: ContainerSpec) -> str:
    found = dict(container.resources).get(source.key)
    if found is None:
        raise RehearsalError(f"container {container.name} says nothing of {source.key}")
    return str(math.ceil(quantity(found) / quantity(source.name)))


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return a text with `$(NAME)` replaced; what is not known stays as it is, and `$$` is `$`."""

    def replace(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else variables.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


def expanded(parts: Sequence[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return a command's parts with references to variables replaced."""
    return tuple(_expanded(part, variables) for part in parts)
