"""The objects that were applied, as an API server keeps them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

from deploy.certificates import Authority
from deploy.rehearsal import applying
from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.fields import Notes
from deploy.rehearsal.objects import Autoscaler, Certificate, Data, Object, Workload
from deploy.rehearsal.read_objects import read_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from deploy.rehearsal.applying import Key

__all__ = ["ObjectStore"]

T = TypeVar("T", bound=Object)


class ObjectStore:
    """All objects, and who signs certificates."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._authority = Authority.new()
        self.notes = Notes()

    def apply(self, documents: list[dict[str, Any]], allowed: Callable[[Workload], None]) -> list[Workload]:
        """
        Take over manifests: all of them, or none when one is not understood.

        Args:
            documents: The manifests.
            allowed: Raises when a workload cannot be as it is wanted.

        Returns:
            The workloads among them.
        """
        notes = Notes()
        read = {(each.kind, each.namespace, each.name): each for each in read_documents(documents, notes)}
        together = {**self._objects, **read}
        applying.check(together)
        workloads = [each for each in read.values() if isinstance(each, Workload)]
        for workload in workloads:
            allowed(workload)
        self._objects, self.notes = together, notes
        certificates = [each for each in read.values() if isinstance(each, Certificate)]
        missing = [each for each in certificates if self.data(each.namespace, "Secret", each.secret) is None]
        self._keep(applying.issue(missing, self._authority))
        return workloads

    def _keep(self, data: Iterable[Data]) -> None:
        self._objects.update({(each.kind, each.namespace, each.name): each for each in data})

    def all_of(self, kind: type[T]) -> list[T]:
        """Return all objects of a kind."""
        return [each for each in self._objects.values() if isinstance(each, kind)]

    def find(self, kind: str, name: str) -> Object:
        """
        Return an object of any namespace.

        Raises:
            RehearsalError: There is none.
        """
        for (of_kind, _, of_name), found in self._objects.items():
            if (of_kind, of_name) == (kind, name):
                return found
        raise RehearsalError(f"there is no {kind}/{name}")

    def remove(self, found: Object) -> None:
        """Forget an object."""
        del self._objects[found.kind, found.namespace, found.name]

    def data(self, namespace: str, kind: str, name: str) -> Data | None:
        """Return a ConfigMap or Secret, or None when it is not there."""
        found = self._objects.get((kind, namespace, name))
        return found if isinstance(found, Data) else None

    def named_data(self, kind: str, name: str) -> Data:
        """
        Return a ConfigMap or Secret of any namespace.

        Raises:
            RehearsalError: There is none.
        """
        found = self.find(kind, name)
        if not isinstance(found, Data):
            raise RehearsalError(f"{kind}/{name} holds no data")
        return found

    def change(self, kind: str, name: str, data: Mapping[str, bytes]) -> None:
        """
        Give keys of a ConfigMap or Secret new values.

        Raises:
            RehearsalError: There is none, or it may not change.
        """
        found = self.named_data(kind, name)
        if found.immutable:
            raise RehearsalError(f"{kind}/{name} is immutable")
        self._keep([dataclasses.replace(found, data={**found.data, **data})])

    def renew(self, name: str) -> None:
        """
        Issue a Certificate again.

        Raises:
            RehearsalError: There is none.
        """
        found = self.find("Certificate", name)
        assert isinstance(found, Certificate)
        self._keep(applying.issue([found], self._authority))

    def autoscaler(self, workload: Workload) -> Autoscaler | None:
        """Return who says how many there are at least."""
        wanted = (workload.kind, workload.namespace, workload.name)
        for each in self.all_of(Autoscaler):
            if (each.target_kind, each.namespace, each.target) == wanted:
                return each
        return None
