"""What nodes know of pods and Services, also while one of them is cut off."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from deploy.rehearsal.fields import Fields
from deploy.rehearsal.filters import Virtual
from deploy.rehearsal.network import Node
from deploy.rehearsal.objects import Service, ServicePort
from deploy.rehearsal.pods import PodRecord
from deploy.rehearsal.read_pod import read_template
from deploy.rehearsal.views import GIVEN_UP_S, OUTSIDE, Views

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from deploy.rehearsal.network import Attachment, Network

NODES = {
    name: Node(name=name, bridge=name, address="10.0.0.254", dns="10.0.0.253")
    for name in ("node-1", "node-2")
}
NAME = "web.shop.svc.cluster.local"


@dataclass
class StillNetwork:
    """A network in which nothing happens."""

    nodes: dict[str, Node] = field(default_factory=lambda: NODES)


@dataclass
class Cable:
    """What a pod has of it."""

    address: str


def made(*, headless: bool = True) -> Views:
    views = Views(cast("Network", StillNetwork()), [])
    views.services["shop", "web"] = Service(
        kind="Service",
        name="web",
        namespace="shop",
        type="ClusterIP" if headless else "LoadBalancer",
        headless=headless,
        selector=(("app", "web"),),
        ports=(ServicePort(name="http", port=80, target="http", protocol="TCP"),),
        publish_not_ready=False,
    )
    return views


def pod(number: int, directory: Path, **changes: Any) -> PodRecord:
    raw = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "enableServiceLinks": False,
            "containers": [{"name": "web", "image": "x", "ports": [{"name": "http", "containerPort": 8080}]}],
        },
    }
    record = PodRecord(
        name=f"web-{number}",
        namespace="shop",
        kind="Deployment",
        workload="web",
        template=read_template(Fields(raw, "Pod/web")),
        digest="d",
        labels={"app": "web"},
        directory=directory,
        claims=directory,
        claim_names={},
        node=NODES[f"node-{number}"],
        attachment=cast("Attachment", Cable(f"10.0.0.{number}")),
        phase="Running",
        ready=True,
    )
    for name, value in changes.items():
        setattr(record, name, value)
    return record


def test_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A node that is cut off keeps what it knew, and others what they knew of its pods, until it is given up.
    """
    views = made()
    pods = [pod(1, tmp_path), pod(2, tmp_path)]
    views.publish(views.snapshot(pods))
    both = ("10.0.0.1", "10.0.0.2")

    views.cut("node-2", cut=True)
    pods[0].deleting = True
    pods[1].ready = False
    views.publish(views.snapshot(pods))
    assert (("10.0.0.2",), both) == (
        views.zone("node-1").addresses[NAME],
        views.zone("node-2").addresses[NAME],
    )
    assert ("10.0.0.2",) == views.zone(OUTSIDE).addresses[NAME]

    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + GIVEN_UP_S + 1)
    views.publish(views.snapshot(pods))
    assert () == views.zone("node-1").addresses[NAME]

    views.cut("node-2", cut=False)
    pods[1].ready = True
    views.publish(views.snapshot(pods))
    assert ("10.0.0.2",) == views.zone("node-1").addresses[NAME] == views.zone("node-2").addresses[NAME]


def test_addresses_stay(tmp_path: Path) -> None:
    """A Service's addresses stay as they are; what stands behind them are the ports of its ready pods."""
    views = made(headless=False)
    views.publish(views.snapshot([]))
    address = views.address("shop", "web")
    views.publish(views.snapshot([pod(1, tmp_path), pod(2, tmp_path, ready=False)]))

    assert address == views.address("shop", "web")
    assert address.startswith("192.0.2.")
    assert Virtual(address=address, port=80, protocol="TCP", targets=(("10.0.0.1", 8080),)) in views.door
