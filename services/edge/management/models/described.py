"""Models whose fields are described by the texts below them, in the schemas that are made of them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices, BaseModel

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.fields import FieldInfo

__all__ = ["Described", "texts_of"]


class Described(BaseModel):
    """
    Reads the texts when a schema is made.

    Pydantic's `use_attribute_docstrings` reads them with every import, which is a tenth of a second of each
    start; and few starts are asked for a schema.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Put descriptions where none is."""
        made = handler(core_schema)
        properties = handler.resolve_ref_schema(made).get("properties", {})
        for name, text in texts_of(cls).items():
            if (field := cls.model_fields.get(name)) is not None:
                for known_as in _names(name, field) & properties.keys():
                    properties[known_as].setdefault("description", text)
        return made


def _names(name: str, field: FieldInfo) -> set[str]:
    """Return all names of a field: which one a schema has is said by whoever makes it."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else ()
    return {
        each
        for each in (name, field.alias, field.serialization_alias, alias, *choices)
        if isinstance(each, str)
    }


def texts_of(model: type) -> dict[str, str]:
    """Return the texts below fields, of a model and of those that it is made from."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if cls is not Described and issubclass(cls, Described):
            found |= _own_texts(cls)
    return found


def _own_texts(cls: type) -> dict[str, str]:
    try:
        statement = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except OSError:  # a generic model with its parameters: what it is made from has the text
        return {}
    assert isinstance(statement, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(below.value.value)
        for field, below in pairwise(statement.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }
