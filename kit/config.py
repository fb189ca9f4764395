"""
Settings from the environment, strictly.

A setting is a field of a frozen dataclass; `load` reads all fields of a class and reports every problem at
once, one readable line each. `unknown` finds `HEADRACE_*` variables that no setting declares. How one value
is read is in `kit.config_values`; settings that every process has are in `kit.runtime_config`.

An empty variable counts as not set, because that is what a blank in a manifest means.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from kit.config_values import Kind, Limits, kind_of, parse, read_secret_file, show
from kit.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "ConfigError",
    "DynamicSetting",
    "Secret",
    "Setting",
    "describe",
    "load",
    "masked",
    "required",
    "setting",
    "unknown",
]

PREFIX = "HEADRACE_"
_META = "headrace"
_T = TypeVar("_T")


class ConfigError(Exception):
    """
    The settings are not usable.

    Attributes:
        problems: One line for each problem, fit to be shown to the operator. Never holds a secret.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meta:
    doc: str
    env: str | None
    secret: bool
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting as the reference documents it."""

    env: str
    field: str
    kind: Kind
    limits: Limits
    doc: str
    secret: bool
    required: bool
    default: object

    @property
    def default_text(self) -> str:
        """The default as an operator would write it; empty when there is none."""
        return "" if self.required else show(self.default, self.kind)

    @property
    def names(self) -> tuple[str, ...]:
        """Every variable that this setting is read from."""
        return (self.env, f"{self.env}_FILE") if self.secret else (self.env,)


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicSetting:
    """A family of variables with a free part in the middle: `<prefix><SLUG><suffix>`."""

    prefix: str
    suffix: str
    doc: str
    secret: bool = False

    def matches(self, name: str) -> bool:
        """Tell whether a variable belongs to this family."""
        return (
            name.startswith(self.prefix)
            and name.endswith(self.suffix)
            and len(name) > len(self.prefix) + len(self.suffix)
        )


def setting(
    default: Any,
    doc: str,
    *,
    env: str | None = None,
    secret: bool = False,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Any:
    """
    Declare a setting that has a default.

    Args:
        default: The value when the variable is not set.
        doc: One or more sentences for the reference: what it does and why the default is what it is.
        env: The variable's name, when it is not `PREFIX` and the field's name in capitals.
        secret: Whether the value must not be shown; the field's type is then `Secret` or `Secret | None`,
            and `<env>_FILE` may name a file that holds the value.
        at_least: Smallest allowed number.
        at_most: Largest allowed number.
    """
    meta = _Meta(doc=doc, env=env, secret=secret, limits=Limits(at_least=at_least, at_most=at_most))
    return dataclasses.field(default=default, metadata={_META: meta})


def required(
    doc: str,
    *,
    env: str | None = None,
    secret: bool = False,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Any:
    """Declare a setting without a default; arguments as for `setting`."""
    meta = _Meta(doc=doc, env=env, secret=secret, limits=Limits(at_least=at_least, at_most=at_most))
    return dataclasses.field(metadata={_META: meta})


def describe(cls: type) -> tuple[Setting, ...]:
    """
    Return the settings of a config class, in the order of its fields.

    Raises:
        TypeError: the class is not a config class; a defect, not a matter of the environment.
    """
    # `Path` and `Secret` often stand under TYPE_CHECKING, because the class only names them in annotations.
    names = {"Path": Path, "Secret": Secret, "ClassVar": ClassVar, "Literal": Literal}
    hints = typing.get_type_hints(cls, localns=names)
    prefix = getattr(cls, "PREFIX", PREFIX)
    return tuple(_describe_field(field, hints[field.name], prefix) for field in dataclasses.fields(cls))


def _describe_field(field: dataclasses.Field[Any], annotation: object, prefix: str) -> Setting:
    meta = field.metadata.get(_META)
    if not isinstance(meta, _Meta):
        raise TypeError(f"{field.name}: declare it with setting() or required()")
    env = meta.env or prefix + field.name.upper()
    kind = kind_of(annotation, env=env)
    if meta.secret != (kind.base == "secret"):
        raise TypeError(f"{env}: secret=True and the type Secret go together")
    return Setting(
        env=env,
        field=field.name,
        kind=kind,
        limits=meta.limits,
        doc=meta.doc,
        secret=meta.secret,
        required=field.default is MISSING,
        default=None if field.default is MISSING else field.default,
    )


def load(cls: type[_T], env: Mapping[str, str]) -> _T:
    """
    Read a config class from an environment.

    Raises:
        ConfigError: at least one value is missing or wrong; it names all of them.
    """
    problems: list[str] = []
    values: dict[str, object] = {}
    for declared in describe(cls):
        try:
            found = _read(declared, env)
        except ValueError as error:
            problems.append(str(error))
            continue
        if found is not None:
            values[declared.field] = found
        elif declared.required:
            problems.append(f"{declared.env} is not set: {_first_sentence(declared.doc)}")
    if problems:
        raise ConfigError(problems)
    try:
        return cls(**values)
    except ValueError as error:  # from the class's own __post_init__: what one field alone cannot show
        raise ConfigError(str(error).splitlines()) from error


def _read(declared: Setting, env: Mapping[str, str]) -> object | None:
    text = env.get(declared.env, "").strip()
    file = env.get(f"{declared.env}_FILE", "").strip() if declared.secret else ""
    if text and file:
        raise ValueError(f"{declared.env} and {declared.env}_FILE are both set: keep one of them")
    if file:
        try:
            return read_secret_file(Path(file))
        except ValueError as error:
            raise ValueError(f"{declared.env}_FILE: the file {file} {error}") from error
    if not text:
        return None
    try:
        return parse(text, declared.kind, declared.limits)
    except ValueError as error:
        raise ValueError(f"{declared.env} {error}, but is {text[:80]!r}") from error


def _first_sentence(doc: str) -> str:
    return doc.split(". ", maxsplit=1)[0].rstrip(".") + "."


def masked(config: object) -> dict[str, str]:
    """Return what is not at its default, as text by variable name, secrets masked, to be logged at start."""
    values = ((declared, getattr(config, declared.field)) for declared in describe(type(config)))
    return {
        declared.env: show(value, declared.kind)
        for declared, value in values
        if declared.required or value != declared.default
    }


def unknown(
    env: Mapping[str, str],
    classes: Iterable[type],
    patterns: Iterable[DynamicSetting] = (),
    *,
    others: Iterable[str] = (),
) -> list[str]:
    """
    Return one line for each `HEADRACE_*` variable that nothing declares.

    Args:
        env: The environment.
        classes: Config classes.
        patterns: Families of variables.
        others: Further names that are in order.
    """
    declared = {name for cls in classes for entry in describe(cls) for name in entry.names} | set(others)
    families = tuple(patterns)
    return [
        _unknown_line(name, declared, families)
        for name in sorted(env)
        if name.startswith(PREFIX)
        and name not in declared
        and not any(family.matches(name) for family in families)
    ]


def _unknown_line(name: str, declared: set[str], families: Sequence[DynamicSetting]) -> str:
    parts = name.split("_")
    candidates = set(declared)
    for family in families:
        if name.startswith(family.prefix):
            first = family.prefix.count("_") + 1
            candidates.update("_".join(parts[:end]) + family.suffix for end in range(first, len(parts)))
    close = difflib.get_close_matches(name, sorted(candidates), n=1, cutoff=0.75)
    hint = f" Did you mean {close[0]}?" if close else " See docs/configuration.md."
    return f"{name} is not a setting of Headrace.{hint}"
