"""
The services behind the management API as far as tokens, accounts and the audit log need them, in memory.

They answer as stubs do, and check nothing: what the edge checks is what tests look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from headrace.audit.v1 import audit_service_pb2
from headrace.auth.v1 import account_pb2, auth_service_pb2, token_pb2
from headrace.common.v1 import actor_pb2
from headrace.router.v1 import custom_provider_pb2, gateway_pb2, gateway_service_pb2
from kit.errors import GatewayError, Reason
from services.edge.management.operation import Call

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.edge.management.operation import Operation
    from services.edge.management.peers import Peers

__all__ = ["FakeManagementPeers", "run"]


class FakeTokens:
    """Tokens by owner and id, oldest first."""

    def __init__(self, tokens: Iterable[token_pb2.Token]) -> None:
        # Copies, since changes are made in place.
        self.tokens = {token.id: token_pb2.Token.FromString(token.SerializeToString()) for token in tokens}
        self.changes: list[str] = []
        # What somebody else makes of a token just before the next change of it.
        self.meanwhile: token_pb2.Token | None = None

    async def GetToken(self, request: Any, **options: Any) -> token_pb2.GetTokenResponse:
        """Find a token."""
        return token_pb2.GetTokenResponse(token=self._find(request))

    async def ListTokens(self, request: Any, **options: Any) -> token_pb2.ListTokensResponse:
        """List tokens, newest first."""
        there = [
            each
            for each in reversed(self.tokens.values())
            if each.owner == request.owner and not each.HasField("revoke_time")
        ]
        page = there[request.offset : request.offset + (request.page_size or 100)]
        return token_pb2.ListTokensResponse(tokens=page, total_count=len(there))

    def _check_unchanged(self, request: Any) -> None:
        assert request.HasField("if_update_time")
        if self.meanwhile is not None:
            self.tokens[self.meanwhile.id], self.meanwhile = self.meanwhile, None
        if request.if_update_time != self._find(request).update_time:
            raise GatewayError(Reason.CONFLICT, "The token was changed meanwhile.", resource="token")

    async def CreateToken(self, request: Any, **options: Any) -> token_pb2.CreateTokenResponse:
        """Make a token."""
        token = _made(f"new{len(self.tokens)}", request.owner, request.spec)
        self.tokens[token.id] = token
        return token_pb2.CreateTokenResponse(token=token, secret="hr_secret")

    async def UpdateToken(self, request: Any, **options: Any) -> token_pb2.UpdateTokenResponse:
        """Replace a token."""
        self._check_unchanged(request)
        self.changes.append(f"update {request.token_id}")
        self.tokens[request.token_id] = _made(request.token_id, request.owner, request.spec)
        return token_pb2.UpdateTokenResponse(token=self.tokens[request.token_id])

    async def RollToken(self, request: Any, **options: Any) -> token_pb2.RollTokenResponse:
        """Give a token a new secret."""
        self._check_unchanged(request)
        self.changes.append(f"roll {request.token_id}")
        return token_pb2.RollTokenResponse(token=self._find(request), secret="hr_new")

    async def RevokeToken(self, request: Any, **options: Any) -> token_pb2.RevokeTokenResponse:
        """Revoke a token."""
        self.changes.append(f"revoke {request.token_id}")
        self._find(request).revoke_time.seconds = 1
        return token_pb2.RevokeTokenResponse(token=self._find(request))

    def _find(self, request: Any) -> token_pb2.Token:
        found = self.tokens.get(request.token_id)
        if found is None or found.owner != request.owner:
            raise GatewayError(Reason.NOT_FOUND, "There is no such token.", resource="token")
        return found


class FakeAccounts:
    """Accounts by id."""

    def __init__(self, steps: list[str], ids: Sequence[str]) -> None:
        self._steps = steps
        self.accounts = {each: account_pb2.Account(id=each) for each in sorted(ids)}
        self.deleted: dict[str, account_pb2.Account] = {}

    async def ListAccounts(self, request: Any, **options: Any) -> account_pb2.ListAccountsResponse:
        """List accounts."""
        known = {**self.accounts, **self.deleted} if request.include_deleted else self.accounts
        there = [
            known[name] for name in sorted(known) if not request.account_ids or name in request.account_ids
        ]
        page = there[request.offset : request.offset + (request.page_size or 100)]
        return account_pb2.ListAccountsResponse(accounts=page, total_count=len(there))

    async def GetAccount(self, request: Any, **options: Any) -> account_pb2.GetAccountResponse:
        """Find an account."""
        if request.account_id not in self.accounts:
            raise GatewayError(Reason.NOT_FOUND, "There is no such account.", resource="account")
        return account_pb2.GetAccountResponse(account=self.accounts[request.account_id])

    async def CreateAccount(self, request: Any, **options: Any) -> account_pb2.CreateAccountResponse:
        """Make an account."""
        made = account_pb2.Account(id=request.account_id, spec=request.spec)
        self.accounts[made.id] = made
        return account_pb2.CreateAccountResponse(account=made)

    async def UpdateAccount(self, request: Any, **options: Any) -> account_pb2.UpdateAccountResponse:
        """Change an account."""
        self.accounts[request.account_id].spec.CopyFrom(request.spec)
        return account_pb2.UpdateAccountResponse(account=self.accounts[request.account_id])

    async def DeleteAccount(self, request: Any, **options: Any) -> account_pb2.DeleteAccountResponse:
        """Delete an account."""
        self._steps.append("account")
        account = self.accounts.pop(request.account_id)
        gone = self.deleted[request.account_id] = account_pb2.Account(id=account.id, spec=account.spec)
        gone.delete_time.seconds = 1
        return account_pb2.DeleteAccountResponse(account=account)


class FakeRouterNouns:
    """
    Gateways and custom providers of one account.

    Attributes:
        late: A gateway that is made by somebody else while the account is deleted.
    """

    def __init__(self, steps: list[str]) -> None:
        self._steps = steps
        self.gateways = ["a", "b"]
        self.providers = ["p"]
        self.late = ""

    async def ListGateways(self, request: Any, **options: Any) -> gateway_service_pb2.ListGatewaysResponse:
        """List gateways."""
        if self.late and "account" in self._steps:
            self.gateways.append(self.late)
            self.late = ""
        return gateway_service_pb2.ListGatewaysResponse(
            gateways=[gateway_pb2.Gateway(id=each) for each in self.gateways]
        )

    async def DeleteGateway(self, request: Any, **options: Any) -> gateway_service_pb2.DeleteGatewayResponse:
        """Delete a gateway."""
        self.gateways.remove(request.gateway_id)
        self._steps.append(f"gateway {request.gateway_id}")
        if request.gateway_id == "b":
            raise GatewayError(Reason.GATEWAY_NOT_FOUND, "Somebody else was faster.")
        return gateway_service_pb2.DeleteGatewayResponse()

    async def ListCustomProviders(
        self, request: Any, **options: Any
    ) -> custom_provider_pb2.ListCustomProvidersResponse:
        """List custom providers."""
        return custom_provider_pb2.ListCustomProvidersResponse(
            providers=[custom_provider_pb2.CustomProvider(id=each) for each in self.providers]
        )

    async def DeleteCustomProvider(
        self, request: Any, **options: Any
    ) -> custom_provider_pb2.DeleteCustomProviderResponse:
        """Delete a custom provider."""
        self.providers.remove(request.id)
        self._steps.append(f"provider {request.id}")
        return custom_provider_pb2.DeleteCustomProviderResponse()


class FakeAudit:
    """Entries of one service, in any order."""

    def __init__(self, entries: Iterable[audit_service_pb2.AuditEntry]) -> None:
        self._entries = sorted(entries, key=lambda entry: entry.id, reverse=True)
        self.asked = 0

    async def ListAuditEntries(
        self, request: Any, **options: Any
    ) -> audit_service_pb2.ListAuditEntriesResponse:
        """List entries, newest first."""
        self.asked += 1
        there = [each for each in self._entries if request.action in ("", each.action)]
        after = [each for each in there if not request.before_id or each.id < request.before_id]
        return audit_service_pb2.ListAuditEntriesResponse(
            entries=after[: request.page_size], total_count=len(there)
        )


class FakeManagementPeers:
    """All of them; `steps` says in which order things were deleted."""

    def __init__(
        self,
        *,
        tokens: Iterable[token_pb2.Token] = (),
        accounts: Sequence[str] = ("acme", "home", "other"),
        audits: Sequence[Iterable[audit_service_pb2.AuditEntry]] = ((), ()),
    ) -> None:
        self.timeout_s = 1.0
        self.account = "home"
        self.steps: list[str] = []
        self.tokens = FakeTokens(tokens)
        self.accounts = FakeAccounts(self.steps, accounts)
        self.gateways = self.custom_providers = FakeRouterNouns(self.steps)
        self.audits = tuple(map(FakeAudit, audits))

    async def forget(self, account_id: str, *, gateway_id: str = "", provider: str = "") -> None:
        """Forget kept answers."""
        self.steps.append(f"answers {account_id} {gateway_id}{provider}".rstrip())

    @property
    def typed(self) -> Peers:
        """Give itself as what operations take."""
        return cast("Peers", self)


async def run(
    operations: Iterable[Operation],
    method: str,
    path: str,
    *,
    by: token_pb2.Token,
    body: Any = None,
    query: Mapping[str, Any] | None = None,
    **variables: str,
) -> Any:
    """Call the handler of an operation as the dispatcher does once it has admitted the caller."""
    (operation,) = (each for each in operations if (each.method, each.path) == (method, path))
    account_id = variables.get("account_id", "")
    grants = {grant.account_id: grant.permissions for grant in by.grants}
    principal = auth_service_pb2.Principal(
        account_id=account_id or by.owner.account_id,
        token_id=by.id,
        user_id=by.owner.user_id,
        permissions=grants.get(account_id or by.owner.account_id, next(iter(grants.values()), ())),
        restrictions=by.restrictions,
    )
    return await operation.handler(
        Call(
            account_id=account_id,
            path=variables,
            query=operation.query.model_validate(query or {}) if operation.query else None,
            body=operation.body.model_validate(body) if operation.body else None,
            principal=principal,
            actor=actor_pb2.Actor(token_id=by.id),
            origin="http://ai.example",
        )
    )


def _made(token_id: str, owner: token_pb2.TokenOwner, spec: token_pb2.TokenSpec) -> token_pb2.Token:
    token = token_pb2.Token(
        id=token_id,
        owner=owner,
        name=spec.name,
        grants=spec.grants,
        restrictions=spec.restrictions,
        disabled=spec.disabled,
    )
    if spec.HasField("expire_time"):
        token.expire_time.CopyFrom(spec.expire_time)
    return token
