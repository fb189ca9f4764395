"""
What holds for every test: no network but loopback, and reproducible property-based tests.

Warnings are errors (`filterwarnings` in pyproject.toml).
"""

from __future__ import annotations

import hypothesis
import pytest

LOOPBACK = "127.0.0.1,::1"

# Times are not asserted, and a test run leaves no file behind in the source tree.
hypothesis.settings.register_profile("headrace", deadline=None, database=None, print_blob=True)
hypothesis.settings.load_profile("headrace")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Restrict sockets before pytest-socket reads its options, however pytest was called."""
    config.option.allow_hosts = LOOPBACK
    config.option.allow_unix_socket = True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the numbers that tests measured (`record_property`), which they mostly do not assert."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    measured = [
        f"{report.nodeid}: {name} = {value}"
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
    ]
    if measured:
        terminalreporter.section("measured")
        for line in measured:
            terminalreporter.line(line)
