"""What DNS answers, from Services and pods to bytes."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import replace

import pytest

from deploy.rehearsal.dns import answer
from deploy.rehearsal.names import PodAddress, Zone, make_zone
from deploy.rehearsal.objects import Service, ServicePort

LABELS = (("app", "web"),)
HEADLESS = Service(
    kind="Service",
    name="web",
    namespace="shop",
    type="ClusterIP",
    headless=True,
    selector=LABELS,
    publish_not_ready=False,
    ports=(ServicePort(name="http", port=80, target="http", protocol="TCP"),),
)
FIRST = PodAddress(
    name="web-0", namespace="shop", labels=dict(LABELS), address="10.0.0.1", ready=True, subdomain="web"
)
SECOND = replace(FIRST, name="web-1", address="10.0.0.2")
NAME = "web.shop.svc.cluster.local"


def addresses(service: Service, *pods: PodAddress) -> tuple[str, ...]:
    return make_zone([service], pods, {}, {}).addresses[NAME]


def test_headless() -> None:
    """A headless Service is its ready pods; one that is about to go has left at once."""
    assert ("10.0.0.1", "10.0.0.2") == addresses(HEADLESS, FIRST, SECOND)
    assert ("10.0.0.1",) == addresses(HEADLESS, FIRST, replace(SECOND, ready=False))
    assert ("10.0.0.1",) == addresses(HEADLESS, FIRST, replace(SECOND, deleting=True))
    assert ("10.0.0.1",) == addresses(HEADLESS, FIRST, replace(SECOND, namespace="other"))
    assert ("10.0.0.1",) == addresses(HEADLESS, FIRST, replace(SECOND, labels={"app": "other"}))


def test_not_ready_addresses() -> None:
    """A Service that publishes them has pods that are not ready, too."""
    service = replace(HEADLESS, publish_not_ready=True)

    assert ("10.0.0.1", "10.0.0.2") == addresses(service, FIRST, replace(SECOND, ready=False, deleting=True))


def test_other_names() -> None:
    """A Service with an address is that address; pods of a StatefulSet, and hosts outside, have names."""
    service = replace(HEADLESS, headless=False)
    zone = make_zone([service], [FIRST], {("shop", "web"): "10.96.0.2"}, {"Store.example": "192.168.0.1"})

    assert ("10.96.0.2",) == zone.addresses[NAME]
    assert ("10.0.0.1",) == zone.addresses[f"web-0.{NAME}"]
    assert ("192.168.0.1",) == zone.addresses["store.example"]
    assert ((80, NAME),) == zone.ports[f"_http._tcp.{NAME}"]


def asked(name: str, kind: int, zone: Zone) -> tuple[int, list[bytes]]:
    """Return the code of an answer, and the data of its records."""
    encoded = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    query = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + encoded + struct.pack("!HH", kind, 1)
    found = answer(query, zone)
    number, flags, questions, records, _, _ = struct.unpack_from("!HHHHHH", found)
    assert (7, 1, True) == (number, questions, bool(flags & 0x8000))
    data, at = [], len(query)
    for _ in range(records):
        length = struct.unpack_from("!H", found, at + 10)[0]
        data.append(found[at + 12 : at + 12 + length])
        at += 12 + length
    return flags & 0xF, data


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        (NAME, 1, (0, {"10.0.0.1", "10.0.0.2"})),
        (NAME.upper(), 1, (0, {"10.0.0.1", "10.0.0.2"})),
        (NAME, 28, (0, set())),
        ("nobody.shop.svc.cluster.local", 1, (3, set())),
        ("example.com", 1, (3, set())),
    ],
)
def test_answers(name: str, kind: int, expected: tuple[int, set[str]]) -> None:
    """
    A name has its addresses, whatever its case; none of another kind; and one that is not there does not
    exist.
    """
    code, data = asked(name, kind, make_zone([HEADLESS], [FIRST, SECOND], {}, {}))

    assert expected == (code, {str(ipaddress.ip_address(each)) for each in data})


def test_service_without_pods() -> None:
    """A Service without ready pods has no name, so that clients see that nobody is there."""
    assert (3, []) == asked(NAME, 1, make_zone([HEADLESS], [], {}, {}))


def test_ports() -> None:
    """An SRV question is answered with port and name."""
    _, (data,) = asked(f"_http._tcp.{NAME}", 33, make_zone([HEADLESS], [FIRST], {}, {}))

    assert (0, 100, 80) == struct.unpack_from("!HHH", data)


def test_long_answer() -> None:
    """An answer that does not fit a datagram says so, for the client to ask over TCP."""
    pods = [replace(FIRST, name=f"web-{n}", address=f"10.0.1.{n}") for n in range(100)]
    zone = make_zone([HEADLESS], pods, {}, {})
    query = (
        struct.pack("!HHHHHH", 7, 0, 1, 0, 0, 0)
        + b"\3web\4shop\3svc\7cluster\5local\0"
        + struct.pack("!HH", 1, 1)
    )

    assert answer(query, zone)[2] & 0x02
    assert 100 == struct.unpack_from("!H", answer(query, zone, max_bytes=65535), 6)[0]


@pytest.mark.parametrize("query", [b"", b"\0" * 8, b"\0\1\0\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1"])
def test_nonsense(query: bytes) -> None:
    """What is no query is refused."""
    if len(query) < 17:
        with pytest.raises(ValueError, match="too short"):
            answer(query, Zone(addresses={}))
    else:
        assert 1 == answer(query, Zone(addresses={}))[3] & 0xF
