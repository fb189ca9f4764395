"""What the rehearsal raises."""

from __future__ import annotations

__all__ = ["ManifestError", "RehearsalError"]


class RehearsalError(Exception):
    """The rehearsal cannot do what it was asked for; the message says what and why."""


class ManifestError(RehearsalError):
    """
    A manifest holds something that the rehearsal does not understand, or that cannot be.

    Args:
        document: Kind and name of the document, such as `Deployment/edge`.
        path: The field, such as `spec.template.spec.containers[0].image`.
        problem: What is wrong with it.
    """

    def __init__(self, document: str, path: str, problem: str) -> None:
        super().__init__(f"{document}: {path}: {problem}")
        self.document = document
        self.path = path
        self.problem = problem
