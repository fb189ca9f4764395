"""
Write the manifests that follow from the table of providers, or that say the same of every component.

A Deployment for each adapter, where each provider is found, and an autoscaler, a disruption budget and a
certificate for each component, from the templates in `deploy/k8s/templates`. Run by `make docs`. `--check`
compares instead of writing and fails when something is out of date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from string import Template

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the repository is not installed

from kit.providers import LOCAL  # noqa: E402 - after the path is set
from kit.version import VERSION  # noqa: E402
from services.providers.registry import PROVIDERS  # noqa: E402

K8S = ROOT / "deploy" / "k8s"
PROVIDERS_DIR = K8S / "base" / "providers"
# The adapter that providers without an address of their own go to, accounts' and the operator's own included.
SHARED = "openai"
# Stands for the providers that the operator added, in the list of what a process serves.
CUSTOM = "custom"
SERVICES = ("auth", "cache", "edge", "envoy", "ledger", "router")
LOCAL_COMPONENT = f"providers-{LOCAL}"

_BEGIN = "# Written by scripts/gen_k8s.py; `make docs` writes it again.\n"
_OF_PROVIDERS = """\
# What edge, router and providers are told of providers. An overlay adds to it with a configMapGenerator of
# the same name and `behavior: merge`: regions, addresses of your own, providers of your own.
"""
_KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\nresources:\n"
_KEY = """\
            - name: {variable}
              valueFrom:
                secretKeyRef:
                  name: headrace-provider-keys
                  key: {variable}
                  optional: true
"""
_CUSTOM_KEYS = """\
            # Keys of providers that the operator added: the variables of a Secret.
            - secretRef:
                name: headrace-custom-provider-keys
                optional: true
"""
_IN_FLIGHT = """\
    # What is slow uses no CPU while it is waited for. Needs an adapter for metrics: see README.md.
    - type: Pods
      pods:
        metric:
          name: headrace_requests_in_flight
        target:
          type: AverageValue
          averageValue: "100"
"""


def adapters() -> dict[str, list[str]]:
    """Return the slugs that each adapter serves; the local model has a process of its own."""
    found: dict[str, list[str]] = {}
    for slug, row in sorted(PROVIDERS.items()):
        if slug != LOCAL:
            found.setdefault(row.api, []).append(slug)
    return dict(sorted(found.items()))


def components() -> list[str]:
    """Return the names of all Deployments of the base."""
    return sorted([*SERVICES, *(f"providers-{adapter}" for adapter in adapters())])


def manifest(adapter: str, slugs: list[str]) -> str:
    """Return the ServiceAccount, Service and Deployment of an adapter."""
    shared = adapter == SHARED
    return _BEGIN + _filled(
        "providers",
        component=f"providers-{adapter}",
        version=VERSION,
        served="".join(f"            - {slug}\n" for slug in ([*slugs, CUSTOM] if shared else slugs)),
        keys="".join(_KEY.format(variable=f"{_variable(slug)}_API_KEY") for slug in slugs),
        custom_keys=_CUSTOM_KEYS if shared else "",
        # Most requests go to hosts of OpenAI's API.
        cpu="250m" if shared else "100m",
    )


def addresses() -> str:
    """Return the settings that tell edges where each provider is."""
    lines = [f"HEADRACE_PROVIDERS_ADDRESS=dns:///providers-{SHARED}:9000"]
    for adapter, slugs in adapters().items():
        if adapter != SHARED:
            lines += [f"{_variable(slug)}_ADDRESS=dns:///providers-{adapter}:9000" for slug in slugs]
    return _BEGIN + _OF_PROVIDERS + "".join(f"{line}\n" for line in lines)


def autoscaler(component: str) -> str:
    """Return the autoscaler of a component."""
    carries_requests = component in {"edge", "envoy"} or component.startswith("providers-")
    return _filled(
        "autoscaler",
        component=component,
        most="20" if carries_requests else "10",
        cpu="600m",
        in_flight=_IN_FLIGHT if component == "edge" else "",
    )


def written() -> dict[Path, str]:
    """Return every file that this script writes, with what should be in it."""
    certified = [*components(), LOCAL_COMPONENT]
    files = "".join(f"  - {adapter}.yaml\n" for adapter in adapters())
    mtls = K8S / "components" / "mtls"
    return {
        **{PROVIDERS_DIR / f"{name}.yaml": manifest(name, slugs) for name, slugs in adapters().items()},
        PROVIDERS_DIR / "kustomization.yaml": _BEGIN + _KUSTOMIZATION + files,
        K8S / "base" / "config" / "providers.env": addresses(),
        K8S / "components" / "autoscaling" / "autoscalers.yaml": _BEGIN
        + "".join(map(autoscaler, components())),
        K8S / "components" / "disruption-budgets" / "budgets.yaml": _BEGIN
        + "".join(_filled("budget", component=component) for component in components()),
        mtls / "certificates.yaml": _BEGIN
        + "".join(_filled("certificate", component=name, identity=_identity(name)) for name in certified),
        mtls / "kustomization.yaml": _BEGIN
        + (K8S / "templates" / "mtls.txt").read_text()
        + "".join(_filled("identity", component=name) for name in certified),
        K8S / "components" / "mtls-trust" / "kustomization.yaml": _BEGIN
        + (K8S / "templates" / "mtls-trust.txt").read_text()
        + "".join(_filled("trust", component=name) for name in certified),
    }


def _identity(component: str) -> str:
    return "providers" if component.startswith("providers-") else component


def _filled(template: str, **values: str) -> str:
    return Template((K8S / "templates" / f"{template}.txt").read_text()).substitute(values)


def _variable(slug: str) -> str:
    return f"HEADRACE_PROVIDER_{slug.upper().replace('-', '_')}"


def main() -> int:
    """Write the files, or check that they are what would be written, and that there is no other adapter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; fail when one is out of date")
    check, stale, files = parser.parse_args().check, False, written()
    for path in sorted({*files, *PROVIDERS_DIR.glob("*.yaml")}):
        if path.exists() and path.read_text() == files.get(path):
            continue
        if check:
            print(f"{path.relative_to(ROOT)} is out of date: run `make docs`", file=sys.stderr)
            stale = True
        elif path in files:
            path.write_text(files[path])
        else:
            path.unlink()
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
