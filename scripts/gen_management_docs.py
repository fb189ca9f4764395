"""
Write the table of operations in `docs/management-api.md` from the rows that answer them.

Everything outside the marks of the page is written by hand.
"""

from __future__ import annotations

import argparse
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "gen")]

from headrace.auth.v1 import token_pb2  # noqa: E402  # after the path is set
from services.edge.management.api import operations_of  # noqa: E402  # as above

if TYPE_CHECKING:
    from services.edge.management.operation import Operation
    from services.edge.management.peers import Peers

PAGE = ROOT / "docs" / "management-api.md"
BEGIN = "<!-- operations: made by scripts/gen_management_docs.py -->\n"
END = "<!-- end of operations -->\n"
HEAD = "\n| method | path | does | needs |\n| --- | --- | --- | --- |\n"


def page(text: str) -> str:
    """Return the page, with the tables as they should be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{PAGE.relative_to(ROOT)} has lost what stands around its tables")
    operations = operations_of(cast("Peers", None))
    tables = [
        f"\n\n### {tag}\n{HEAD}{''.join(map(_row, rows))}"
        for tag, rows in groupby(operations, lambda row: row.tag)
    ]
    return before + begin + "".join(tables) + "\n" + end + after


def _row(row: Operation) -> str:
    needs = "any valid token"
    if row.permission is not None:
        needs = (
            token_pb2.Permission.Name(row.permission).removeprefix("PERMISSION_").lower().replace("_", " ")
        )
    path = row.path.replace("{account_id}", "{account}").replace("{gateway_id}", "{gateway}")
    return f"| {row.method} | `{path}` | {row.summary} | {needs} |\n"


def main() -> int:
    """Write the page, or check that it is what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; fail when it is out of date")
    text = page(PAGE.read_text())
    if text == PAGE.read_text():
        parser.parse_args()
        return 0
    if parser.parse_args().check:
        print(f"{PAGE.relative_to(ROOT)} is out of date: run `make docs`", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
