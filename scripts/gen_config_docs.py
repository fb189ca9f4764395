"""
Write `docs/configuration.md`, the reference of all settings, from the config classes.

Run by `make docs`. `--check` compares instead of writing and fails when the reference is out of date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the repository is not installed

from cli.config import CliConfig  # noqa: E402 - after the path is set
from deploy.envoy.config import EnvoyConfig  # noqa: E402 - as above
from kit.config import describe  # noqa: E402 - as above
from services.settings import CONFIGS, DYNAMIC_SETTINGS  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kit.config import DynamicSetting, Setting

TARGET = ROOT / "docs" / "configuration.md"

INTRODUCTION = """\
# Configuration

<!-- Written by scripts/gen_config_docs.py from the config classes; `make docs` writes it again. -->

All settings are environment variables.
A `HEADRACE_*` variable that is not on this page stops every process with exit code 2 and a line that names
it, and so does a value that is not of its type.
An empty variable counts as not set.

Types: *switch* is `true` or `false`; *list* is separated by commas; *bytes* is a number, or one with `KiB`,
`MiB` or `GiB`; names that end in `_S` are seconds.
A *secret* is never shown in a log, and `<NAME>_FILE` may name a file that holds it.
"""

TRACING = """
## Tracing

Tracing follows the standard OpenTelemetry variables and is off until one of these asks for it:
`OTEL_TRACES_EXPORTER` (`otlp`, `console`, `none`), `OTEL_EXPORTER_OTLP_ENDPOINT` or
`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
`OTEL_SDK_DISABLED=true` turns it off whatever the others say.
The OTLP protocol is `grpc`.
The SDK reads the others itself: `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_CERTIFICATE`,
`OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_BSP_*`, and so on.
Each service is `headrace-<service>` unless `OTEL_SERVICE_NAME` says otherwise.
"""

_TYPES = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "switch",
    "path": "path",
    "list": "list",
    "secret": "secret",
}


def render() -> str:
    """Return the whole page."""
    everything = {"the `headrace` command": (CliConfig,), **CONFIGS}
    groups = [_section(owner, classes) for owner, classes in everything.items()]
    return INTRODUCTION + "".join(groups) + _families() + TRACING


def _section(owner: str, classes: Iterable[type]) -> str:
    title = owner[0].upper() + owner[1:]
    # The command knows the front door's settings too; they have a section of their own.
    rows = [_row(entry) for cls in classes for entry in describe(cls) if entry not in _inherited(cls)]
    return (
        f"\n## {title}\n\n| variable | type | default | what it does |\n| --- | --- | --- | --- |\n"
        + "".join(rows)
    )


def _inherited(cls: type) -> tuple[Setting, ...]:
    return describe(EnvoyConfig) if cls is CliConfig else ()


def _row(entry: Setting) -> str:
    default = "required" if entry.required else _code(entry.default_text)
    return f"| `{entry.env}` | {_type(entry)} | {default} | {_cell(entry.doc)} |\n"


def _type(entry: Setting) -> str:
    if entry.kind.base == "choice":
        return ", ".join(f"`{choice}`" for choice in entry.kind.choices)
    name = "bytes" if entry.kind.is_size else _TYPES[entry.kind.base]
    return name + entry.limits.wants()


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _families() -> str:
    head = (
        "\n## One for each provider\n\n`<SLUG>` is the provider's slug in capitals, with `-` as `_`.\n\n"
        "| variable | type | what it does |\n| --- | --- | --- |\n"
    )
    return head + "".join(map(_family_row, DYNAMIC_SETTINGS))


def _family_row(family: DynamicSetting) -> str:
    kind = "secret" if family.secret else "text"
    return f"| `{family.prefix}<SLUG>{family.suffix}` | {kind} | {_cell(family.doc)} |\n"


def main() -> int:
    """Write the page, or check that it is what would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="compare only; fail when the page is out of date"
    )
    page = render()
    if parser.parse_args().check:
        if TARGET.exists() and TARGET.read_text() == page:
            return 0
        print(f"{TARGET.relative_to(ROOT)} is out of date: run `make docs`", file=sys.stderr)
        return 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
