"""Who calls: by certificate, by metadata, or nobody that is known."""

from __future__ import annotations

import pytest

from kit.config import ConfigError, load
from kit.rpc.caller import CallerRule, admits, identity, parse_grants
from kit.runtime_config import RuntimeConfig

HERE = CallerRule()
TRUSTED = CallerRule(trust_network=True)
TLS = CallerRule(trust_network=True, trust_domain="headrace")


class Context:
    """A call that comes from somewhere."""

    def __init__(self, peer: str, *uris: str) -> None:
        self._peer = peer
        self._uris = [uri.encode() for uri in uris]

    def peer(self) -> str:
        """Say where it comes from."""
        return self._peer

    def auth_context(self) -> dict[str, list[bytes]]:
        """Say what the connection's certificate says, as gRPC does."""
        return {"peer_uri": self._uris} if self._uris else {}


@pytest.mark.parametrize(
    ("rule", "context", "said", "expected"),
    [
        (HERE, Context("unix:"), "edge", "edge"),
        (HERE, Context("unix:"), None, ""),
        (HERE, Context("inline"), "edge", "edge"),
        (HERE, Context("ipv4:10.0.0.1:5"), "edge", "external"),
        (HERE, Context("ipv6:%5B::1%5D:5"), "edge", "external"),
        (TRUSTED, Context("ipv4:10.0.0.1:5"), "edge", "edge"),
        (TLS, Context("unix:"), "edge", "edge"),
        (TLS, Context("ipv4:10.0.0.1:5", "spiffe://headrace/cache"), "edge", "cache"),
        (TLS, Context("ipv4:10.0.0.1:5"), "edge", "external"),
        (TLS, Context("ipv4:10.0.0.1:5", "spiffe://headrace/envoy"), "edge", "external"),
        (TLS, Context("ipv4:10.0.0.1:5", "spiffe://headrace/envoy"), "caller/x", "caller/x"),
        (TLS, Context("ipv4:10.0.0.1:5", "spiffe://headrace/edge"), "caller/x", "edge"),
    ],
)
def test_caller(rule: CallerRule, context: Context, said: str | None, expected: str) -> None:
    """Own sockets are believed, certificates come before metadata, a bare network says nothing."""
    metadata = {} if said is None else {"headrace-caller": said}

    assert expected == rule.caller(metadata, context)


@pytest.mark.parametrize(
    ("rule", "context", "expected"),
    [
        (HERE, Context("unix:"), True),
        (HERE, Context("ipv4:10.0.0.1:5"), False),
        (TRUSTED, Context("ipv4:10.0.0.1:5"), True),
        (TLS, Context("ipv4:10.0.0.1:5", "spiffe://headrace/envoy"), True),
        (TLS, Context("ipv4:10.0.0.1:5", "spiffe://headrace/caller/x"), False),
    ],
)
def test_who_may_say_where_a_client_is(rule: CallerRule, context: Context, *, expected: bool) -> None:
    """Only Envoy, or who comes by a socket of ours."""
    assert expected == rule.forwarded(context)


@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        (["spiffe://headrace/edge"], "edge"),
        ([b"spiffe://headrace/caller/reporting-2"], "caller/reporting-2"),
        (["spiffe://headrace/edge", "spiffe://headrace/auth"], "external"),
        ([], "external"),
        (["spiffe://other/edge"], "external"),
        (["spiffe://headrace.other/edge"], "external"),
        (["spiffe://headrace/Edge"], "external"),
        (["spiffe://headrace/edge/"], "external"),
        (["spiffe://headrace/ns/edge"], "external"),
        (["spiffe://headrace/caller/"], "external"),
        (["spiffe://headrace/caller/a/b"], "external"),
        (["spiffe://headrace/edge\n"], "external"),
        ([b"spiffe://headrace/\xff"], "external"),
    ],
)
def test_identity(uris: list[str | bytes], expected: str) -> None:
    """One name in our trust domain, in the form that names have, or none."""
    assert expected == identity(uris, "headrace")


def test_grants_open_what_they_name() -> None:
    """A service is named with its package or without."""
    rule = CallerRule(grants=parse_grants(["a=LedgerService/List", "b=headrace.ledger.v1.LedgerService/Get"]))
    service, own = "headrace.ledger.v1.LedgerService", frozenset({"edge"})

    assert own | {"caller/a"} == rule.allowed(own, service, "List")
    assert own | {"caller/b"} == rule.allowed(own, service, "Get")
    assert own == rule.allowed(own, "headrace.auth.v1.AuthService", "List")


@pytest.mark.parametrize(
    ("allowed", "caller", "expected"),
    [
        ({"edge"}, "edge", True),
        ({"edge"}, "caller/a", False),
        ({"edge", "external"}, "caller/a", True),
        ({"edge", "external"}, "cli", False),
    ],
)
def test_known_client_may_do_what_an_unknown_one_may(
    allowed: set[str], caller: str, *, expected: bool
) -> None:
    """The front door does not close to a client because it has a certificate."""
    assert expected == admits(frozenset(allowed), caller)


@pytest.mark.parametrize("text", ["reporting", "a=Service", "a=/List", "A=S/R", "a=S/*", "caller/a=S/R"])
def test_wrong_grant_stops_the_start(text: str) -> None:
    """A grant in another form is a problem, not ignored."""
    with pytest.raises(ConfigError, match="HEADRACE_CALLERS must be name=Service/Rpc"):
        load(RuntimeConfig, {"HEADRACE_CALLERS": text})


def test_wrong_trust_domain_stops_the_start() -> None:
    """It is a name, not a URI."""
    with pytest.raises(ConfigError, match="HEADRACE_TLS_TRUST_DOMAIN must be"):
        load(RuntimeConfig, {"HEADRACE_TLS_TRUST_DOMAIN": "spiffe://headrace"})
