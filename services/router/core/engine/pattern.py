"""
Searches texts for patterns in a time that grows with the text and with the pattern, and with nothing else.

Python's own matcher goes back and tries again, so that `(a+)+$` may keep a process busy for hours; a route's
pattern is written by one account and tried on texts that anybody sends. Here all ways through a pattern are
followed at once (Thompson's construction), and what was found out about a set of ways is remembered (a lazy
DFA). Patterns are read by Python's parser, so they are written and mean what they do in `re.search`, but for
what `check_pattern` refuses.
"""

from __future__ import annotations

import importlib
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Effort", "ExhaustedError", "Pattern", "PatternError"]

# What `re` has no other name for.
_PARSER: Final[Any] = importlib.import_module("re._parser")
_MOST_INSTRUCTIONS: Final = 500
# In numbers of instructions: a pattern remembers less than half a megabyte.
_MOST_REMEMBERED: Final = 4000
_LONGEST_TEXT: Final = 16_384


class PatternError(ValueError):
    """A text that is no pattern, or none that is taken here. Says why."""


class ExhaustedError(Exception):
    """What was to be found out takes too long."""


class Effort:
    """
    How much may still be done to decide one request.

    Args:
        left: Steps of about a microsecond.
    """

    __slots__ = ("_left",)

    def __init__(self, left: int = 60_000) -> None:
        self._left = left

    def spend(self, amount: int) -> None:
        """
        Take note of work.

        Raises:
            ExhaustedError: It was too much.
        """
        self._left -= amount
        if self._left < 0:
            raise ExhaustedError


# What is around a place in a text, as far as a pattern can ask for it. Plain numbers, since flags are slow.
_START: Final = 1
_END: Final = 2
_AFTER_LINE: Final = 4
_BEFORE_LINE: Final = 8
_BEFORE_LAST_LINE: Final = 16
_AFTER_WORD: Final = 32
_BEFORE_WORD: Final = 64


@dataclass(frozen=True, slots=True)
class _Char:
    """One character that a test lets through."""

    test: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Fork:
    """Both ways are gone."""

    ways: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the text that a test lets through."""

    test: Callable[[int], bool]


_Instruction = _Char | _Fork | _Place | None  # None: found


class Pattern:
    """
    A pattern that can be searched for.

    Args:
        text: As for `re.compile`.

    Raises:
        PatternError: It is no pattern, looks ahead or back, refers to a group, or is too large.
    """

    __slots__ = ("_program", "_remembered", "_sees", "_size", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        compiler = _Compiler()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                parsed = _PARSER.parse(text)
            compiler.sequence(parsed, parsed.state.flags)
        except (re.error, OverflowError, RecursionError):
            raise PatternError("This is no regular expression.") from None
        compiler.program.append(None)
        self._program: tuple[_Instruction, ...] = tuple(compiler.program)
        self._sees = compiler.sees_places
        self._remembered: dict[tuple[frozenset[int], int, str], frozenset[int] | None] = {}
        self._size = 0

    def found_in(self, text: str, effort: Effort) -> bool:
        """
        Tell whether a text has the pattern somewhere in its first 16384 characters.

        Raises:
            ExhaustedError: It takes too long to tell.
        """
        text = text[:_LONGEST_TEXT]
        # What is remembered takes an eighth of a step.
        effort.spend(len(text) // 8 + 1)
        ways = frozenset((0,))
        for at in range(len(text) + 1):
            character = text[at : at + 1]
            key = (ways, _around(text, at) if self._sees else 0, character)
            try:
                following = self._remembered[key]
            except KeyError:
                following = self._follow(*key, effort)
                self._remember(key, following)
            if following is None:
                return True
            ways = following
        return False

    def _remember(self, key: tuple[frozenset[int], int, str], following: frozenset[int] | None) -> None:
        self._size += 4 + len(following or ())
        if self._size > _MOST_REMEMBERED:
            self._remembered.clear()
            self._size = 4 + len(following or ())
        self._remembered[key] = following

    def _follow(
        self, ways: frozenset[int], around: int, character: str, effort: Effort
    ) -> frozenset[int] | None:
        """Go on by one character; None when the pattern is found before it."""
        program = self._program
        seen: set[int] = set()
        ahead = list(ways)
        following: set[int] = {0}  # it may begin at any character
        while ahead:
            at = ahead.pop()
            if at in seen:
                continue
            seen.add(at)
            instruction = program[at]
            if instruction is None:
                effort.spend(len(seen))
                return None
            if isinstance(instruction, _Fork):
                ahead.extend(instruction.ways)
            elif isinstance(instruction, _Place):
                if instruction.test(around):
                    ahead.append(at + 1)
            elif character and instruction.test(character):
                following.add(at + 1)
        effort.spend(len(seen))
        return frozenset(following)


class _Compiler:
    """Makes a program of a parsed pattern: what follows an instruction is the next one, but for forks."""

    def __init__(self) -> None:
        self.program: list[_Instruction] = []
        self.sees_places = False

    def sequence(self, parsed: Iterable[tuple[Any, Any]], flags: int) -> None:
        """Add the instructions for one part after another."""
        for kind, operand in parsed:
            self._part(str(kind), operand, flags)

    def _part(self, kind: str, operand: Any, flags: int) -> None:
        if kind in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = operand
            self._repeat(least, most, inner, flags)
        elif kind == "SUBPATTERN":
            _, add, remove, inner = operand
            self.sequence(inner, (flags | add) & ~remove)
        elif kind == "BRANCH":
            self._branch(operand[1], flags)
        elif kind == "AT":
            self.sees_places = True
            self._add(_Place(_place(str(operand), flags)))
        elif kind in _CHARACTERS:
            self._add(_Char(_with_case(_CHARACTERS[kind](operand, flags), flags)))
        else:
            raise PatternError("Patterns here look neither ahead nor back, and do not refer back to a group.")

    def _add(self, instruction: _Instruction) -> int:
        if len(self.program) >= _MOST_INSTRUCTIONS:
            raise PatternError("The pattern is too large: what is repeated counts as often as it is.")
        self.program.append(instruction)
        return len(self.program) - 1

    def _repeat(self, least: int, most: int, inner: Any, flags: int) -> None:
        for _ in range(least):
            self._copy(inner, flags)
        if most == _PARSER.MAXREPEAT:
            fork = self._add(None)
            self._copy(inner, flags)
            self._add(_Fork((fork,)))
            self.program[fork] = _Fork((fork + 1, len(self.program)))
            return
        forks = []
        for _ in range(most - least):
            forks.append(self._add(None))
            self._copy(inner, flags)
        for fork in forks:
            self.program[fork] = _Fork((fork + 1, len(self.program)))

    def _copy(self, inner: Any, flags: int) -> None:
        before = len(self.program)
        self.sequence(inner, flags)
        if len(self.program) == before:
            # Nothing, as often as one likes, must not take for ever either.
            self._add(_Fork((before + 1,)))

    def _branch(self, choices: list[Any], flags: int) -> None:
        fork = self._add(None)
        starts, ends = [], []
        for choice in choices:
            starts.append(len(self.program))
            self.sequence(choice, flags)
            ends.append(self._add(None))
        self.program[fork] = _Fork(tuple(starts))
        for end in ends:
            self.program[end] = _Fork((len(self.program),))


def _around(text: str, at: int) -> int:
    found = 0
    if at == 0:
        found = _START
    else:
        before = text[at - 1]
        if before == "\n":
            found = _AFTER_LINE
        elif _is_word(before):
            found = _AFTER_WORD
    if at == len(text):
        return found | _END
    after = text[at]
    if after == "\n":
        return found | _BEFORE_LINE | (_BEFORE_LAST_LINE if at == len(text) - 1 else 0)
    return found | _BEFORE_WORD if _is_word(after) else found


def _place(kind: str, flags: int) -> Callable[[int], bool]:
    lines = bool(flags & re.MULTILINE)
    start, end = _START, _END
    if kind == "AT_BEGINNING" and lines:
        start |= _AFTER_LINE
    if kind == "AT_END":
        end |= _BEFORE_LINE if lines else _BEFORE_LAST_LINE
    if kind in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
        return lambda around: bool(around & start)
    if kind in ("AT_END", "AT_END_STRING"):
        return lambda around: bool(around & end)
    # A text without characters has neither a boundary nor a place that is none.
    wanted = kind == "AT_BOUNDARY"
    nothing = _START | _END
    return lambda around: (
        around & nothing != nothing and (bool(around & _AFTER_WORD) != bool(around & _BEFORE_WORD)) is wanted
    )


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _with_case(test: Callable[[str], bool], flags: int) -> Callable[[str], bool]:
    if not flags & re.IGNORECASE:
        return test
    return lambda character: test(character) or test(character.lower()) or test(character.upper())


def _literal(code: int, _: int) -> Callable[[str], bool]:
    return chr(code).__eq__


def _other(code: int, flags: int) -> Callable[[str], bool]:
    is_it = _with_case(_literal(code, flags), flags)
    return lambda character: not is_it(character)


def _any(_: None, flags: int) -> Callable[[str], bool]:
    return (lambda _: True) if flags & re.DOTALL else "\n".__ne__


def _set(items: list[tuple[Any, Any]], flags: int) -> Callable[[str], bool]:
    tests: list[Callable[[str], bool]] = []
    others = False
    for kind, operand in items:
        if str(kind) == "NEGATE":
            others = True
        elif str(kind) == "LITERAL":
            tests.append(_literal(operand, flags))
        elif str(kind) == "RANGE":
            tests.append(_range(*operand))
        else:
            tests.append(_category(str(operand), flags))
    parts = tuple(tests)
    is_in = _with_case(lambda character: any(test(character) for test in parts), flags)
    return (lambda character: not is_in(character)) if others else is_in


def _range(least: int, most: int) -> Callable[[str], bool]:
    # Upper case of one letter may be several.
    return lambda character: len(character) == 1 and least <= ord(character) <= most


def _category(kind: str, flags: int) -> Callable[[str], bool]:
    ascii_only = bool(flags & re.ASCII)
    name = kind.removeprefix("CATEGORY_")
    test = _CATEGORIES[name.removeprefix("NOT_")]
    others = name.startswith("NOT_")
    return lambda character: (test(character) and not (ascii_only and character > "\x7f")) is not others


_CATEGORIES: Final[dict[str, Callable[[str], bool]]] = {
    "DIGIT": str.isdecimal,
    "SPACE": str.isspace,
    "WORD": _is_word,
}
_CHARACTERS: Final[dict[str, Callable[[Any, int], Callable[[str], bool]]]] = {
    "LITERAL": _literal,
    "NOT_LITERAL": _other,
    "ANY": _any,
    "IN": _set,
}
