"""Where a request comes from, who is believed about it, and where a token may be used from."""

from __future__ import annotations

import pytest

from services.edge.client_address import allowed, of_call, of_connection


@pytest.mark.parametrize(
    ("peer", "said", "trust_network", "expected"),
    [
        pytest.param("", "192.0.2.1", False, "192.0.2.1", id="Envoy on our socket"),
        pytest.param(None, "192.0.2.1", False, "192.0.2.1", id="no peer at all"),
        pytest.param("", "", False, "", id="somebody else on our socket"),
        pytest.param(("198.51.100.7", 4711), "192.0.2.1", False, "198.51.100.7", id="a client that lies"),
        pytest.param(("198.51.100.7", 4711), "", False, "198.51.100.7", id="a client"),
        pytest.param(("10.0.0.1", 4711), "192.0.2.1", True, "192.0.2.1", id="Envoy on our network"),
        pytest.param(("10.0.0.1", 4711), "", True, "10.0.0.1", id="somebody else on our network"),
        pytest.param(("fe80::1%eth0", 1, 0, 2), "", False, "fe80::1", id="an address with a zone"),
        pytest.param("", "[2001:db8::1]", False, "2001:db8::1", id="an address in brackets"),
    ],
)
def test_connections(peer: object, said: str, trust_network: bool, expected: str) -> None:  # noqa: FBT001
    """The header is believed from where only Envoy can be, and from nowhere else."""
    assert expected == of_connection(peer, said, trust_network=trust_network)


@pytest.mark.parametrize(
    ("peer", "said", "trust_network", "expected"),
    [
        ("unix:", "192.0.2.1", False, "192.0.2.1"),
        ("inline", "", False, ""),
        ("ipv4:198.51.100.7:4711", "192.0.2.1", False, "198.51.100.7"),
        ("ipv4:10.0.0.1:4711", "192.0.2.1", True, "192.0.2.1"),
        ("ipv6:%5B2001:db8::7%5D:4711", "192.0.2.1", False, "2001:db8::7"),
        ("ipv6:[::1]:4711", "", False, "::1"),
    ],
)
def test_calls(peer: str, said: str, trust_network: bool, expected: str) -> None:  # noqa: FBT001
    """It is the same for gRPC."""
    assert expected == of_call(peer, said, trust_network=trust_network)


@pytest.mark.parametrize(
    ("address", "within", "outside", "expected"),
    [
        ("192.0.2.1", [], [], True),
        ("", [], [], True),
        ("192.0.2.1", ["192.0.2.1"], [], True),
        ("192.0.2.2", ["192.0.2.1"], [], False),
        ("10.9.8.7", ["192.0.2.0/24", "10.1.2.3/8"], [], True),
        ("10.9.8.7", ["10.0.0.0/8"], ["10.9.0.0/16"], False),
        ("192.0.2.1", [], ["10.0.0.0/8"], True),
        ("10.0.0.1", [], ["10.0.0.0/8"], False),
        ("2001:db8::1", ["2001:db8::/32"], [], True),
        ("2001:db8::1", ["0.0.0.0/0"], [], False),
        ("::ffff:10.0.0.1", ["10.0.0.0/8"], [], True),
        ("::ffff:10.0.0.1", [], ["10.0.0.0/8"], False),
        ("", ["0.0.0.0/0", "::/0"], [], False),
        ("", [], ["10.0.0.0/8"], False),
        ("unix", ["0.0.0.0/0"], [], False),
    ],
)
def test_networks(address: str, within: list[str], outside: list[str], expected: bool) -> None:  # noqa: FBT001
    """A forbidden network wins, and who comes from nowhere known may not use a narrowed token."""
    assert expected == allowed(address, within, outside)
