"""
YAML with the place of everything in it, so that a mistake can be told with its line.

Types are JSON's, as YAML 1.2 has them: `no` and `2026-01-01` are text. JSON is YAML, so this reads both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import yaml

__all__ = ["Document", "Mark", "Path", "Problem", "YamlError", "read_yaml", "write_yaml"]

Path: TypeAlias = tuple[str | int, ...]

# An anchor may be used often, and anchors in anchors many times more often.
_MOST_NODES: Final = 100_000
_TAG: Final = "tag:yaml.org,2002:"
_LINE_ENDS: Final = re.compile("[\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong, and where."""

    mark: Mark
    text: str

    def __str__(self) -> str:
        return f"{self.mark}: {self.text}"


class YamlError(Exception):
    """
    A text that is no YAML of ours.

    Attributes:
        problems: What is wrong with it.
    """

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(each) for each in problems))


@dataclass(frozen=True, slots=True)
class Document:
    """
    What was read.

    Attributes:
        file: Its name.
        value: The data.
        values: Where each value begins, by its path.
        keys: Where the key of each member stands, by the member's path.
    """

    file: str
    value: Any
    values: dict[Path, Mark] = field(default_factory=dict)
    keys: dict[Path, Mark] = field(default_factory=dict)

    def mark(self, path: Path, *, key: bool = False) -> Mark:
        """Give the place of a path, or of the nearest above it that there is."""
        for end in range(len(path), -1, -1):
            there = path[:end]
            if key and end == len(path) and there in self.keys:
                return self.keys[there]
            if there in self.values:
                return self.values[there]
        return Mark(self.file, 1, 1)


class _Loader(yaml.SafeLoader):
    """Resolves scalars as JSON and YAML 1.2 do."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # PyYAML's name


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # as above

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002  # PyYAML's
        """Indent lists below their key, as people write them."""
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # PyYAML's
        """Write everything out."""
        return True


_PATTERNS: Final = (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", ["n", "~", ""]),
    ("int", r"-?(?:0|[1-9][0-9]*)", "-0123456789"),
    ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", "-0123456789"),
    ("merge", r"<<", "<"),
)
for _kind in (_Loader, _Dumper):
    for _name, _pattern, _first in _PATTERNS:
        _kind.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"^(?:{_pattern})$"), list(_first))
# What other YAML readers would not take for text is quoted.
_Dumper.add_implicit_resolver(
    f"{_TAG}other",
    re.compile(
        r"^(?:[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF|True|TRUE|False|FALSE|[yYnN]|\+?[0-9][0-9_:.eE+-]*)$"
    ),
    list("yYnNoOtTfF+0123456789"),
)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Between simple quotes these would be read as the end of a line.
    style = '"' if _LINE_ENDS.search(text) else None
    return dumper.represent_scalar(f"{_TAG}str", text, style=style)


_Dumper.add_representer(str, _text)


def read_yaml(text: str, file: str) -> Document:
    """
    Read a text.

    Args:
        text: YAML or JSON.
        file: Its name, for places.

    Raises:
        YamlError: It is neither, or has a key twice.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        return _read(node, file)
    except RecursionError:
        raise YamlError([Problem(Mark(file, 1, 1), "this is nested too deeply")]) from None
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = Mark(file, at.line + 1, at.column + 1) if at else Mark(file, 1, 1)
        raise YamlError([Problem(mark, f"this is not YAML: {error.problem or error.context}")]) from None
    except yaml.YAMLError as error:
        first = str(error).splitlines()[0]
        raise YamlError([Problem(Mark(file, 1, 1), f"this is not YAML: {first}")]) from None


def _read(node: yaml.Node | None, file: str) -> Document:
    reader = _Reader(file)
    value = None if node is None else reader.value(node, ())
    if reader.problems:
        raise YamlError(sorted(reader.problems))
    return Document(file, value, reader.values, reader.keys)


class _Reader:
    """Makes data of nodes, and notes where each stands."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0
        self._open: list[int] = []
        self.problems: list[Problem] = []
        self.values: dict[Path, Mark] = {}
        self.keys: dict[Path, Mark] = {}

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.values[path] = self._mark(node)
        self._counted(node)
        if id(node) in self._open:
            return self._wrong(node, "this stands within itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._open.append(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
        finally:
            self._open.pop()
        return self._wrong(node, "this kind of value is not known")

    def _mapping(
        self, node: yaml.MappingNode, path: Path, said: frozenset[str] = frozenset()
    ) -> dict[str, Any]:
        """
        Read an object.

        Args:
            node: Where it stands.
            path: What its members are members of.
            said: Names that are not read, as they are said by what this is merged into.
        """
        found: dict[str, Any] = {}
        own: dict[str, Mark] = {}
        merges = []
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                merges.append(value_node)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._wrong(key_node, "a name is expected here")
                continue
            name, mark = str(key_node.value), self._mark(key_node)
            if name in own:
                self._wrong(key_node, f"{name} stands here already, in line {own[name].line}")
            own[name] = mark
            if name not in said:
                self.keys[(*path, name)] = mark
                found[name] = self.value(value_node, (*path, name))
        # Afterwards, wherever they stand: what an object says itself counts, and so does its place.
        for merge in merges:
            found |= self._merged(merge, path, said | found.keys())
        return found

    def _merged(self, node: yaml.Node, path: Path, said: frozenset[str]) -> dict[str, Any]:
        """Read what is merged into an object; of several, the earlier ones count."""
        found: dict[str, Any] = {}
        for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            self._counted(each)
            if isinstance(each, yaml.MappingNode) and id(each) not in self._open:
                self._open.append(id(each))
                try:
                    found |= self._mapping(each, path, said | found.keys())
                finally:
                    self._open.pop()
            else:
                self._wrong(each, "only members of an object can be merged here")
        return found

    def _counted(self, node: yaml.Node) -> None:
        self._count += 1
        if self._count > _MOST_NODES:
            raise YamlError([Problem(self._mark(node), f"this is more than {_MOST_NODES} values")])

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text == "true"
        if kind in {"int", "float"}:
            try:
                return int(text) if kind == "int" else float(text)
            except ValueError:
                return self._wrong(node, "this is no number")
        return self._wrong(node, f"values of the type {node.tag} are not known")

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self._file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _wrong(self, node: yaml.Node, text: str) -> None:
        self.problems.append(Problem(self._mark(node), text))


def write_yaml(value: Any) -> str:
    """Write data as YAML, in the order that it has."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=110
    )
