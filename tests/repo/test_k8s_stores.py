"""What pages tell operators of the stores that they bring is what production's pods ask of them."""

from __future__ import annotations

import re

import pytest

from kit.database_config import DatabaseConfig
from tests.repo.k8s import of_kind, pods
from tests.repo.tree import ROOT

PRODUCTION = "overlays/production"
SERVICES = ("auth", "ledger", "router")
# What watches over the database: one asks whether it answers, one hears of changes.
WATCHING = 2
# For the migration, for what the server keeps to itself, and for people.
SPARE = 20
MOUNTED = "/etc/headrace/store-ca"

pytestmark = pytest.mark.xdist_group("k8s")  # rendered once


def connections() -> dict[int, tuple[int, int]]:
    """Return how many there are at rest and in a roll-out, by the fewest and by the most replicas."""
    each = DatabaseConfig().pool_size + WATCHING
    found: dict[int, tuple[int, int]] = {}
    for bound in ("minReplicas", "maxReplicas"):
        (replicas,) = {
            one["spec"][bound]
            for one in of_kind(PRODUCTION, "HorizontalPodAutoscaler")
            if one["spec"]["scaleTargetRef"]["name"] in SERVICES
        }
        surge = [
            one["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
            for one in of_kind(PRODUCTION, "Deployment")
            if one["metadata"]["name"] in SERVICES
        ]
        assert len(surge) == len(SERVICES)
        at_rest = len(SERVICES) * replicas * each
        found[replicas] = (at_rest, at_rest + sum(surge) * each)
    return found


def test_the_page_counts_connections_to_postgresql() -> None:
    """The table has production's fewest and most replicas, and what is to be set is enough for these."""
    page = (ROOT / "docs" / "scaling.md").read_text()
    told = re.findall(r"^\| (\d+), the (?:fewest|most) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    limits = [
        re.search(pattern, (ROOT / "docs" / name).read_text())
        for name, pattern in (
            ("scaling.md", r"Set it to (\d+)"),
            ("install.md", r"`max_connections` of (\d+)"),
        )
    ]

    assert connections() == {int(replicas): (int(rest), int(most)) for replicas, rest, most in told}
    assert all(limits)
    most = max(rolling for _, rolling in connections().values())
    assert {most + SPARE} == {int(limit[1]) for limit in limits if limit}


def test_authorities_of_stores_are_where_pages_say() -> None:
    """Whoever has a store's address has the ConfigMap with authorities, which may be missing."""
    found = {}
    for pod in pods(PRODUCTION):
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", ())}
        mounts = {mount["name"]: mount for mount in pod.spec["containers"][0].get("volumeMounts", ())}
        if {"database", "valkey"} & volumes.keys():
            found[pod.component] = (volumes["store-ca"]["configMap"], mounts["store-ca"]["mountPath"])
        else:
            assert "store-ca" not in volumes, pod.name

    expected = ({"name": "headrace-store-ca", "optional": True}, MOUNTED)
    assert dict.fromkeys(("auth", "cache", "ledger", "migrate", "router"), expected) == found
    for page in ("docs/install.md", "docs/operations.md", "deploy/k8s/secrets.example.yaml"):
        assert MOUNTED in (ROOT / page).read_text(), page
