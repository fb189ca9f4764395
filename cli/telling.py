"""How a command ends that the API refused: with a sentence instead of a traceback."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from cli.api import ApiError
from cli.rpc import fail

__all__ = ["TellingGroup"]


class TellingGroup(TyperGroup):
    """A group of commands, of which each may raise `ApiError`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except ApiError as error:
            fail(str(error))
