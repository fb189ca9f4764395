"""`headrace up` with tiny processes in the place of the services, and the real Envoy. Run as a program."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from cli.processes import ENVOY, ProcessSpec, table
from cli.up import up

TINY = Path(__file__).with_name("tiny_service.py")


def tiny_table(*arguments: Any, **options: Any) -> tuple[ProcessSpec, ...]:
    """Return the real table with other programs in it."""
    program = (sys.executable, "-S", str(TINY))
    refusing = (sys.executable, "-S", "-c", "import sys; print('HEADRACE_X is wrong'); sys.exit(2)")
    specs = []
    for spec in table(*arguments, **options):
        argv = refusing if spec.name in os.environ.get("REFUSING", "").split() else program
        specs.append(spec if spec.name == ENVOY else dataclasses.replace(spec, argv=argv))
    return tuple(specs)


if __name__ == "__main__":
    words = sys.argv[1:]
    workers = next((int(word.split("=")[1]) for word in words if word.startswith("--workers=")), None)
    sys.exit(
        up(
            os.environ,
            inline="--inline" in words,
            workers=workers,
            with_envoy="--no-envoy" not in words,
            local_model="--no-local-model" not in words,
            make_table=tiny_table,
        )
    )
