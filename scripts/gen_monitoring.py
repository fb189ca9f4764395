"""
Write what Kubernetes and Grafana read from `deploy/monitoring/`. Run by `make docs`.

Prometheus itself reads the rules as they stand there; its operator wants an object of the cluster, and
Grafana wants JSON. `--check` compares instead of writing and fails when one of these is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the repository is not installed

from deploy.monitoring.panels import dashboard_json, read  # noqa: E402 - after the path is set

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE: Final = ROOT / "deploy" / "monitoring"
COMPONENTS: Final = ROOT / "deploy" / "k8s" / "components"
RULES: Final = COMPONENTS / "monitoring" / "rules.yaml"
DASHBOARDS: Final = COMPONENTS / "grafana" / "dashboards"

INTRODUCTION: Final = """\
# Written by scripts/gen_monitoring.py from deploy/monitoring/rules/; `make docs` writes it again.
"""


def rules() -> str:
    """Return the rules as an object of the Prometheus operator."""
    files = sorted((SOURCE / "rules").glob("*.yaml"))
    found = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "headrace",
            "labels": {
                "app.kubernetes.io/name": "headrace",
                "app.kubernetes.io/part-of": "headrace",
            },
        },
        "spec": {"groups": [group for path in files for group in yaml.safe_load(path.read_text())["groups"]]},
    }
    return INTRODUCTION + yaml.safe_dump(found, sort_keys=False, width=110, allow_unicode=True)


def dashboards() -> Iterator[tuple[Path, str]]:
    """Give the file of each dashboard, and what belongs into it."""
    for path in sorted((SOURCE / "dashboards").glob("*.yaml")):
        dashboard = read(yaml.safe_load(path.read_text()))
        text = json.dumps(dashboard_json(dashboard), indent=1, ensure_ascii=False)
        yield DASHBOARDS / f"{dashboard.uid}.json", f"{text}\n"


def main() -> int:
    """Write everything, or compare it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    wanted = {RULES: rules(), **dict(dashboards())}
    stale = [path for path in DASHBOARDS.glob("*.json") if path not in wanted]
    wrong = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if check:
        for path in (*wrong, *stale):
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`", file=sys.stderr)
        return 1 if wrong or stale else 0
    for path in wrong:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    for path in stale:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
