"""
The canaries: a key of the operator's for each provider, and one that a client brings.

They look like nothing else, so that they are found wherever they should not be, and like no provider's keys,
so that nothing that masks those by their shape hides a leak.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from services.providers.registry import PROVIDERS

__all__ = [
    "ANTHROPIC_KEY",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "CLIENT_AWS_KEY",
    "CLIENT_KEY",
    "KEYS",
    "OPENAI_KEY",
    "VERTEX_TOKEN",
    "operator_keys",
    "secrets",
    "service_account_key",
]

OPENAI_KEY: Final = "sk-canary-operator-openai-5b1f0e"
ANTHROPIC_KEY: Final = "sk-ant-canary-operator-anthropic-77c2d9"
CLIENT_KEY: Final = "sk-canary-client-31aa84"
# Names the same key where a client signs with it, as AWS has it.
CLIENT_AWS_KEY: Final = "CLIENTACCESSKEY00001"

# Names the key below and is sent with each request, as the name of a user is.
AWS_ACCESS_KEY: Final = "CANARYACCESSKEY00001"
AWS_SECRET_KEY: Final = "canary/operator+aws/9f04d1c7"
_AWS_SESSION: Final = "canary-operator-aws-session-4e1b77"
# What the stand-in for Google gives for the service account's assertion.
VERTEX_TOKEN: Final = "canary-minted-vertex-token-60d9ae"

# Has no key: it is on this machine.
_LOCAL: Final = "local"


def _plain_key(slug: str) -> str:
    return f"canary.operator.{slug}.{hashlib.sha256(slug.encode()).hexdigest()[:8]}"


# What goes to a provider as it is.
_SENT: Final = {
    **{
        slug: _plain_key(slug)
        for slug in PROVIDERS
        if slug not in {_LOCAL, "aws-bedrock", "google-vertex-ai"}
    },
    "openai": OPENAI_KEY,
    "anthropic": ANTHROPIC_KEY,
}

# The keys that stand-ins take.
KEYS: Final = (*_SENT.values(), VERTEX_TOKEN, CLIENT_KEY)


def operator_keys() -> dict[str, str]:
    """Give what is set as the key of each provider."""
    aws = {
        "accessKeyId": AWS_ACCESS_KEY,
        "secretAccessKey": AWS_SECRET_KEY,
        "sessionToken": _AWS_SESSION,
        "region": "us-east-1",
    }
    google = {
        "type": "service_account",
        "client_email": "canary@some-project.iam.gserviceaccount.com",
        "private_key_id": "canary-key-1",
        "private_key": service_account_key(),
        "project_id": "some-project",
        "region": "us-central1",
    }
    return {**_SENT, "aws-bedrock": json.dumps(aws), "google-vertex-ai": json.dumps(google)}


def secrets() -> list[str]:
    """Give everything that must be shown nowhere."""
    lines = service_account_key().splitlines()[1:-1]
    # The last line of a key may be a few characters, which stand anywhere.
    return [*KEYS, AWS_SECRET_KEY, _AWS_SESSION, *(line for line in lines if len(line) == len(lines[0]))]


@cache
def service_account_key() -> str:
    """Make the private key of the account at Google, once in a run."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
