"""Settings of the vault."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import urlsplit

from kit.config import DynamicSetting, setting

if TYPE_CHECKING:
    from kit.secret import Secret

__all__ = [
    "CREDENTIAL_CALLERS",
    "ENV_SECRET_PREFIX",
    "PROVIDER_CONFIG_CALLERS",
    "SECRET_SETTINGS",
    "VAULT_CALLERS",
    "HashicorpConfig",
    "VaultConfig",
]

PROVIDER_CONFIG_CALLERS: Final = frozenset({"cli", "edge"})
"""Who may keep keys and see what is known of them, which is never the key."""

CREDENTIAL_CALLERS: Final = frozenset({"providers"})
"""Who is given keys."""

VAULT_CALLERS: Final = frozenset({"cli"})
"""Who may change the master key."""

ENV_SECRET_PREFIX: Final = "HEADRACE_SECRET_"  # noqa: S105 - a variable's name

SECRET_SETTINGS: Final = (
    DynamicSetting(
        prefix=ENV_SECRET_PREFIX,
        suffix="",
        doc="A provider key that the account HEADRACE_ACCOUNT may store as `env:<NAME>`. "
        "Read by auth when it starts.",
        secret=True,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultConfig:
    """How stored keys are sealed, and where else they may be."""

    PREFIX: ClassVar[str] = "HEADRACE_AUTH_"

    master_key: Secret | None = setting(
        None,
        "Master key that stored provider keys are sealed under: 32 bytes in base64, as "
        "`openssl rand -base64 32` makes; several, newest first, separated by spaces or lines. "
        "Without it auth makes one in the data directory, in the file `master.key`.",
        env="HEADRACE_MASTER_KEY",
        secret=True,
    )
    secrets_dir: Path | None = setting(
        None,
        "Directory of keys that accounts may refer to as `file:<name>`: each account's are in a directory "
        "of its id, one file a key, as Kubernetes mounts a Secret. Read again for each answer.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HashicorpConfig:
    """The HashiCorp Vault that accounts may refer to as `vault:<path>#<field>`."""

    PREFIX: ClassVar[str] = "HEADRACE_AUTH_VAULT_"

    address: str | None = setting(
        None, "Address of HashiCorp Vault or OpenBao, such as `https://vault.example.com:8200`."
    )
    token: Secret | None = setting(
        None, "Token for Vault. A file is read again when it changes, as Vault Agent changes it.", secret=True
    )
    role: str | None = setting(
        None,
        "Role to log in to Vault as, by the service account of this Kubernetes pod. Instead of a token.",
    )
    auth_mount: str = setting("kubernetes", "Where Vault's Kubernetes auth method is mounted.")
    jwt_file: Path = setting(
        Path("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        "File with the service account's token, for `HEADRACE_AUTH_VAULT_ROLE`.",
    )
    namespace: str | None = setting(None, "Vault namespace, where there are namespaces.")
    mount: str = setting("secret", "Where the KV engine, version 2, is mounted.")
    prefix: str = setting(
        "headrace",
        "Path under which each account has a directory of its id. Give auth's policy `read` on "
        "`<mount>/data/<prefix>/*`.",
    )
    ca_file: Path | None = setting(None, "Certificates to trust for Vault, in PEM, besides the system's.")
    timeout_s: float = setting(
        1.5,
        "Longest time that Vault may take for a key, a login included, in seconds. A request waits for it "
        "that needs a key which nobody asked for lately. Less than `HEADRACE_PROVIDERS_CREDENTIAL_TIMEOUT_S`,"
        " which is how long it waits for auth as a whole.",
        at_least=0.1,
        at_most=60,
    )

    def __post_init__(self) -> None:
        """See that what is set goes together."""
        if self.address is None:
            return
        url = urlsplit(self.address)
        if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment:
            raise ValueError(
                "HEADRACE_AUTH_VAULT_ADDRESS must be an address such as https://vault.example.com:8200"
            )
        if (self.token is None) == (self.role is None):
            raise ValueError(
                "HEADRACE_AUTH_VAULT_ADDRESS needs HEADRACE_AUTH_VAULT_TOKEN, HEADRACE_AUTH_VAULT_TOKEN_FILE "
                "or HEADRACE_AUTH_VAULT_ROLE, exactly one of them"
            )
