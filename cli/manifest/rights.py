"""
What the token that asks may do, held against what is to be done, before any of it is.

It is looked at as the management API does, by its own rows and checks; nobody is asked for permission by
trying.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from cli.api import ApiError, path_of
from cli.manifest import fields
from cli.manifest.actual import account_path, find_all, own_token_id
from cli.manifest.body_check import token_spec_of
from cli.manifest.diff import Action
from cli.manifest.marks import Problem
from cli.manifest.models import PERMISSIONS
from cli.manifest.thing import Kind, Place
from cli.token_body import policies, request_ip
from headrace.auth.v1 import auth_service_pb2, token_pb2
from kit.errors import GatewayError
from kit.providers import CUSTOM_PREFIX
from services.edge.management import admission, key_rights
from services.edge.management.accounts import Accounts
from services.edge.management.custom_providers import CustomProviders
from services.edge.management.gateways import Gateways
from services.edge.management.powers import Powers, lacks
from services.edge.management.provider_configs import ProviderConfigs
from services.edge.management.routes import DynamicRoutes
from services.edge.management.tokens import Tokens
from services.edge.wire import permission_group

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cli.api import Api
    from cli.manifest.diff import Step
    from cli.manifest.marks import Mark
    from cli.manifest.thing import Found
    from headrace.auth.v1.token_pb2 import Permission
    from services.edge.management.operation import Operation
    from services.edge.management.peers import Peers

__all__ = ["Rights", "check_rights", "find_rights"]

# Ids of the rows that a step is carried out by.
_ROWS: Final[Mapping[tuple[Kind, Action], str]] = {
    (Kind.ACCOUNT, Action.CREATE): "account-creation",
    (Kind.ACCOUNT, Action.UPDATE): "accounts-update-account",
    (Kind.PROVIDER, Action.CREATE): "aig-config-create-custom-provider",
    (Kind.PROVIDER, Action.UPDATE): "aig-config-update-custom-provider",
    (Kind.PROVIDER, Action.DELETE): "aig-config-delete-custom-provider",
    (Kind.GATEWAY, Action.CREATE): "aig-config-create-gateway",
    (Kind.GATEWAY, Action.UPDATE): "aig-config-update-gateway",
    (Kind.GATEWAY, Action.DELETE): "aig-config-delete-gateway",
    (Kind.KEY, Action.CREATE): "aig-config-create-providers",
    (Kind.KEY, Action.UPDATE): "aig-config-update-providers",
    (Kind.KEY, Action.DELETE): "aig-config-delete-providers",
    (Kind.ROUTE, Action.CREATE): "aig-config-post-gateway-dynamic-route",
    (Kind.ROUTE, Action.UPDATE): "aig-config-post-gateway-dynamic-route-version",
    (Kind.ROUTE, Action.DELETE): "aig-config-delete-gateway-dynamic-route",
    (Kind.TOKEN, Action.CREATE): "account-api-tokens-create-token",
    (Kind.TOKEN, Action.UPDATE): "account-api-tokens-update-token",
    (Kind.TOKEN, Action.DELETE): "account-api-tokens-delete-token",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """
    What a token may do.

    Attributes:
        token_id: Its id.
        permissions: What it allows, by account.
        operator: Whether it allows everything everywhere.
        own: Itself, apart from what it allows; None where it cannot be had, which is of an operator's token
            only.
    """

    token_id: str
    permissions: Mapping[str, frozenset[Permission.ValueType]] = field(default_factory=dict)
    operator: bool = False
    own: token_pb2.TokenSpec | None = None

    @property
    def restrictions(self) -> token_pb2.Restrictions:
        """What it is narrowed to."""
        return token_pb2.Restrictions() if self.own is None else self.own.restrictions

    @property
    def powers(self) -> Powers:
        """What it may pass on."""
        ends = self.own is not None and self.own.HasField("expire_time") and not self.operator
        return Powers(
            permissions=self.permissions,
            restrictions=self.restrictions,
            expire_time=self.own.expire_time if self.own is not None and ends else None,
            operator=self.operator,
        )

    def principal(self, account: str) -> auth_service_pb2.Principal:
        """Give what the management API takes it for on an account."""
        allowed = token_pb2.Permission.values()[1:] if self.operator else self.permissions.get(account, ())
        return auth_service_pb2.Principal(
            account_id=account, permissions=allowed, restrictions=self.restrictions
        )


def find_rights(api: Api, accounts: Sequence[str]) -> Rights:
    """
    Ask what the token that asks may do.

    Args:
        api: The management API.
        accounts: Accounts that are there, which it is to do something on; at least one.

    Raises:
        ApiError: It cannot be had.
    """
    permissions: dict[str, frozenset[Permission.ValueType]] = {}
    operator = False
    for account in accounts:
        permissions[account] = _permissions(api, account)
        if token_pb2.PERMISSION_OPERATOR in permissions[account]:
            operator = True
            break  # it has that everywhere
    token_id = own_token_id(api, accounts[0])
    return Rights(
        token_id=token_id, permissions=permissions, operator=operator, own=_own(api, token_id, accounts)
    )


def _permissions(api: Api, account: str) -> frozenset[Permission.ValueType]:
    shown = api.get(account_path(account, "tokens", "permission_groups"))
    groups = [permission_group.find(name=each["name"]) for each in shown if each["is_selectable"]]
    return frozenset(group.permission for group in groups if group)


def _own(api: Api, token_id: str, accounts: Iterable[str]) -> token_pb2.TokenSpec | None:
    """Find the token itself: an account's, or a user's."""
    places = [*(account_path(account, "tokens") for account in accounts), path_of("user", "tokens")]
    for place in places:
        try:
            shown = api.get(f"{place}/{token_id}")
        except ApiError as error:
            if error.status not in {403, 404}:
                raise
        else:
            body = {
                "name": shown["name"],
                # What it allows is known by account.
                "policies": policies(["run"], ["any"]),
                "condition": {"request_ip": request_ip(shown)},
                "expires_on": shown["expires_on"],
                "restrictions": shown["restrictions"],
            }
            return token_spec_of(body, "")
    return None


def check_rights(
    api: Api, rights: Rights, steps: Sequence[Step], accounts: Mapping[str, Mark]
) -> Iterator[Problem]:
    """
    Say what a token may not do of some steps.

    Args:
        api: The management API.
        rights: What the token may do.
        steps: What is to be done.
        accounts: Where the files name each account, for what no file says itself.

    Raises:
        ApiError: Something cannot be had.
    """
    # Handlers are never called, so nobody needs to be behind them.
    peers = cast("Peers", None)
    groups = (Accounts, CustomProviders, Gateways, ProviderConfigs, DynamicRoutes, Tokens)
    rows = {row.id: row for group in groups for row in group(peers).operations()}
    told: set[tuple[str, str]] = set()
    for step in steps:
        account = step.name if step.place.kind is Kind.ACCOUNT else step.place.account
        try:
            _check(rights, step, account, rows[_ROWS[step.place.kind, step.action]])
            _check_address(api, rights, step)
        except GatewayError as error:
            text = (
                f"the {step.title} cannot be {step.action}d: {error.message[:1].lower()}{error.message[1:]}"
            )
            # What is missing for one thing of an account is missing for all: once is enough.
            if "permission" not in error.metadata or (account, error.message) not in told:
                mark = step.wanted.mark if step.wanted else accounts[account]
                yield Problem(mark, text.rstrip("."))
            told.add((account, error.message))


def _check(rights: Rights, step: Step, account: str, row: Operation) -> None:
    principal = rights.principal(account)
    gateway = step.place.gateway
    if step.place.kind is Kind.GATEWAY and step.action is not Action.CREATE:
        gateway = step.name
    admission.check(principal, row, {"gateway_id": gateway} if gateway else {})
    is_new_account = step.place.kind is Kind.ACCOUNT and step.action is Action.CREATE
    if is_new_account and (not rights.operator or rights.powers.narrowed):
        raise lacks(token_pb2.PERMISSION_OPERATOR)
    if step.place.kind is Kind.GATEWAY and step.action is Action.CREATE:
        # Its name is not in the path, and must be one of those that the token is narrowed to all the same.
        named = rights.restrictions.gateway_ids
        admission.check(principal, row, {"gateway_id": step.name} if named else {})
    if step.place.kind is Kind.KEY:
        body = {} if step.wanted is None else step.wanted.body
        key_rights.check(principal, step.name.partition("/")[0], reference=body.get("secret_id", ""))
    if step.place.kind is Kind.TOKEN:
        _check_token(rights.powers, step)


def _check_token(powers: Powers, step: Step) -> None:
    account = step.place.account
    # What newer services allow is not known here, and they look at it themselves.
    if step.found is not None and set(PERMISSIONS).issuperset(step.found.fields["permissions"]):
        body = fields.token_body(step.name, step.found.fields, account)
        powers.check_covers(token_spec_of(body, account), expiry=step.action is not Action.DELETE)
    if step.wanted is not None:
        powers.check_covers(token_spec_of(step.wanted.body, account))


def _check_address(api: Api, rights: Rights, step: Step) -> None:
    """Check that no stored key would go to another address by this."""
    if step.place.kind is not Kind.PROVIDER or step.wanted is None or rights.operator:
        return
    old = None if step.found is None else step.found.fields["base_url"]
    if old is not None and _host(old) == _host(step.wanted.fields["base_url"]):
        return
    gateways = find_all(api, [Place(step.place.account, "", Kind.GATEWAY)])
    keys: list[Found] = find_all(api, [Place(step.place.account, each.name, Kind.KEY) for each in gateways])
    has_keys = any(each.name.startswith(f"{CUSTOM_PREFIX}{step.name}/") for each in keys)
    key_rights.may_readdress(rights.principal(step.place.account), has_keys=has_keys)


def _host(url: str) -> tuple[str, Any]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
