"""
Write `docs/cli.md` from the commands, and `docs/headrace.schema.json` from the models of the file of `apply`.

Run by `make docs`. `--check` compares instead of writing and fails when one of them is out of date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the repository is not installed

from typer.main import get_command  # noqa: E402 - after the path is set

from cli.__main__ import app  # noqa: E402 - as above
from cli.manifest.schema import schema_text  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "cli.md"
SCHEMA = ROOT / "docs" / "headrace.schema.json"

INTRODUCTION = """\
# The command line

<!-- Written by scripts/gen_cli_docs.py from the commands; `make docs` writes it again. -->

`headrace up` starts everything; the other commands speak to an installation that runs.

- Where it is: `--url`, else `HEADRACE_URL`, else `HEADRACE_PORT` on this machine.
- The token: `HEADRACE_TOKEN` or `HEADRACE_TOKEN_FILE`, else the file `token` in `HEADRACE_DATA_DIR`.
- The account: `--account`, else `HEADRACE_ACCOUNT`.

Tables are for people; `--json` prints what the management API answered, lists as an array.
Results go to standard output, everything else to standard error: `headrace token create` can be piped.
On a terminal, what cannot be brought back is asked for first, unless `--yes` is said.
Elsewhere only what `headrace apply --prune` finds by itself needs `--yes`.

| status | means |
| --- | --- |
| 0 | it is done |
| 1 | it was refused, or nobody answers |
| 2 | the command, a setting or a file makes no sense; nothing was sent that changes anything |
| 3 | `headrace apply --dry-run --exit-code` found a difference |

`headrace --install-completion` teaches the shell to complete commands, options and names of gateways.

Provider keys are never arguments, which other users of a machine can see.
They come from standard input, from a file, or from the environment.
[docs/declarative.md](declarative.md) is about `apply`, `export` and `schema`.
"""


def render() -> str:
    """Return the whole page."""
    return INTRODUCTION + "".join(_commands(get_command(app), "headrace"))


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        full = f"{path} {name}"
        if hasattr(command, "commands"):
            yield f"\n\n## {full}\n\n{_sentences(command.help)}\n"
            yield from _commands(command, full)
        else:
            level = "##" if path == "headrace" else "###"
            gap = "\n\n" if level == "##" else "\n"
            yield f"{gap}{level} {full}\n\n{_sentences(command.help)}\n" + _table(command, full)


def _table(command: Any, full: str) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    usage = " ".join([full, *(_argument(each) for each in arguments), *(["[options]"] if options else [])])
    rows = [f"| `{_argument(each)}` | {_cell(each.help)} |\n" for each in arguments]
    rows += [
        f"| {_names(each)} | {_cell(each.help)}{' Required.' if each.required else ''} |\n"
        for each in options
    ]
    table = f"\n| | |\n| --- | --- |\n{''.join(rows)}" if rows else ""
    return f"\n```sh\n{usage}\n```\n{table}"


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name).strip("{}[]").upper()
    return name if parameter.required else f"[{name}]"


def _names(parameter: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _sentences(text: str | None) -> str:
    """Put each sentence on a line of its own."""
    paragraphs = [" ".join(each.split()) for each in (text or "").split("\n\n")]
    return "\n\n".join(each.replace(". ", ".\n") for each in paragraphs)


def main() -> int:
    """Write the files, or check that they are what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; fail when one is out of date")
    files = {PAGE: render(), SCHEMA: schema_text()}
    if parser.parse_args().check:
        old = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
        for path in old:
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`", file=sys.stderr)
        return 1 if old else 0
    for path, text in files.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
