"""Say in words when the interpreter is too old. Runs under any Python 3, so it uses nothing newer."""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this file exists for the interpreters that lint does not expect
    found = ".".join(str(part) for part in sys.version_info[:3])
    sys.exit("Headrace needs Python 3.11 or newer; this one is %s. Try: make PYTHON=python3.12" % found)  # noqa: UP031 - as above
