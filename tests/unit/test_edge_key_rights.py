"""Whose stored keys a token may change."""

from __future__ import annotations

import pytest

from headrace.auth.v1 import auth_service_pb2, token_pb2
from kit.errors import GatewayError, Reason
from services.edge.management.key_rights import check

OPERATOR = token_pb2.PERMISSION_OPERATOR
EDIT = token_pb2.PERMISSION_AI_GATEWAY_EDIT


def _principal(
    *permissions: token_pb2.Permission.ValueType,
    providers: tuple[str, ...] = (),
    models: tuple[str, ...] = (),
) -> auth_service_pb2.Principal:
    restrictions = token_pb2.Restrictions(providers=providers, models=models)
    return auth_service_pb2.Principal(permissions=permissions, restrictions=restrictions)


@pytest.mark.parametrize(
    ("principal", "provider", "reference"),
    [
        (_principal(EDIT), "openai", ""),
        (_principal(EDIT), "openai", "vault:openai#key"),
        (_principal(EDIT), "custom-mine", ""),
        (_principal(EDIT, OPERATOR), "custom-mine", "vault:openai#key"),
        (_principal(EDIT, providers=("openai",)), "openai", ""),
        (_principal(EDIT, providers=("perplexity",)), "perplexity-ai", ""),
        (_principal(EDIT, models=("openai/gpt-5", "groq/x")), "groq", ""),
    ],
    ids=range(7),
)
def test_allowed(principal: auth_service_pb2.Principal, provider: str, reference: str) -> None:
    """What is not narrowed away may be changed."""
    check(principal, provider, reference=reference)


@pytest.mark.parametrize(
    ("principal", "provider", "reference"),
    [
        (_principal(EDIT, providers=("openai",)), "anthropic", ""),
        (_principal(EDIT, models=("openai/gpt-5",)), "anthropic", ""),
        (_principal(EDIT, providers=("openai",), models=("anthropic/x",)), "openai", ""),
        (_principal(EDIT), "custom-mine", "vault:openai#key"),
        (_principal(EDIT, providers=("custom-mine",)), "custom-mine", "file:key"),
    ],
    ids=range(5),
)
def test_refused(principal: auth_service_pb2.Principal, provider: str, reference: str) -> None:
    """Other providers' keys stay out of reach, and what another store holds goes to no address of theirs."""
    with pytest.raises(GatewayError) as raised:
        check(principal, provider, reference=reference)

    assert Reason.PERMISSION_DENIED is raised.value.reason
