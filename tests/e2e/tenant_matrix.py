"""
Which token gets which status from which operation: what is promised, written down by hand.

Columns are tokens:

    no   none at all                        x    all of these, narrowed to gateway x
    bad  has the shape of a token           b    account B's, with all of these
    run  account A's, with Run alone        op   the operator's, of a third account
    get  with Read alone                    ab   a user's, with all of these on A and on B
    put  with Edit alone                    rb   the same user's, with Read on B
    all  with all but Operator

and account A's with all of these, of which `off` is disabled, `old` has expired, `rev` is revoked, `new` is
good from tomorrow on, and `far` from other addresses only.

Rows are operations on account A, and on gateway x where there is one, unless a row says y.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DATA_PLANE", "MANAGEMENT", "TOKENS"]

_MANAGEMENT: Final = """
                                       no  bad run get put all x   b   op  ab  rb  off old rev new far
list-gateway                           401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
create-gateway                         401 401 403 403 200 200 403 401 200 200 401 401 401 401 401 403
fetch-gateway                          401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
fetch-gateway y                        401 401 403 200 403 200 403 401 200 200 401 401 401 401 401 403
update-gateway                         401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
update-gateway y                       401 401 403 403 200 200 403 401 200 200 401 401 401 401 401 403
delete-gateway                         401 401 403 403 200 200 403 401 200 200 401 401 401 401 401 403
get-gateway-url                        401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
list-providers                         401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
list-providers y                       401 401 403 200 403 200 403 401 200 200 401 401 401 401 401 403
create-providers                       401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
fetch-providers                        401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
update-providers                       401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
delete-providers                       401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
list-custom-providers                  401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
create-custom-provider                 401 401 403 403 200 200 403 401 200 200 401 401 401 401 401 403
get-custom-provider                    401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
update-custom-provider                 401 401 403 403 200 200 403 401 200 200 401 401 401 401 401 403
delete-custom-provider                 401 401 403 403 200 200 403 401 200 200 401 401 401 401 401 403
list-provider-health                   401 401 403 200 403 200 403 401 200 200 401 401 401 401 401 403
purge-gateway-cache                    401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
purge-gateway-cache y                  401 401 403 403 200 200 403 401 200 200 401 401 401 401 401 403
purge-cache                            401 401 403 403 200 200 403 401 200 200 401 401 401 401 401 403
list-gateway-dynamic-routes            401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
list-gateway-dynamic-routes y          401 401 403 200 403 200 403 401 200 200 401 401 401 401 401 403
post-gateway-dynamic-route             401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
get-gateway-dynamic-route              401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
update-gateway-dynamic-route           401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
delete-gateway-dynamic-route           401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
list-gateway-dynamic-route-versions    401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
post-gateway-dynamic-route-version     401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
get-gateway-dynamic-route-version      401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
list-gateway-dynamic-route-deployments 401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
post-gateway-dynamic-route-deployment  401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
simulate-gateway-dynamic-route         401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
simulate-dynamic-route-draft           401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
list-gateway-logs                      401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
list-gateway-logs y                    401 401 403 200 403 200 403 401 200 200 401 401 401 401 401 403
delete-gateway-logs                    401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
delete-gateway-logs y                  401 401 403 403 200 200 403 401 200 200 401 401 401 401 401 403
get-gateway-log-detail                 401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
patch-gateway-log                      401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
get-gateway-log-request                401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
get-gateway-log-response               401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
account-tokens-list-tokens             401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
account-tokens-create-token            401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
account-tokens-create-token more       401 401 403 403 403 403 403 401 200 403 401 401 401 401 401 403
account-tokens-verify-token            401 401 200 200 200 200 200 401 200 200 401 401 401 401 401 403
account-tokens-list-permission-groups  401 401 200 200 200 200 200 401 200 200 401 401 401 401 401 403
account-tokens-token-details           401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
account-tokens-update-token            401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
account-tokens-delete-token            401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
account-tokens-roll-token              401 401 403 403 200 200 200 401 200 200 401 401 401 401 401 403
user-tokens-list-tokens                401 401 403 403 403 403 403 403 200 200 200 401 401 401 401 403
user-tokens-create-token               401 401 403 403 403 403 403 403 200 200 403 401 401 401 401 403
user-tokens-verify-token               401 401 200 200 200 200 200 200 200 200 200 401 401 401 401 403
list-permission-groups                 401 401 200 200 200 200 200 200 200 200 200 401 401 401 401 403
user-tokens-token-details              401 401 403 403 403 403 403 403 200 200 404 401 401 401 401 403
user-tokens-update-token               401 401 403 403 403 403 403 403 200 200 404 401 401 401 401 403
user-tokens-delete-token               401 401 403 403 403 403 403 403 200 200 404 401 401 401 401 403
user-tokens-roll-token                 401 401 403 403 403 403 403 403 200 200 404 401 401 401 401 403
list-accounts                          401 401 200 200 200 200 200 200 200 200 200 401 401 401 401 403
account-creation                       401 401 403 403 403 403 403 403 200 403 403 401 401 401 401 403
account-details                        401 401 403 200 403 200 200 401 200 200 401 401 401 401 401 403
update-account                         401 401 403 403 403 403 403 401 200 403 401 401 401 401 401 403
account-deletion                       401 401 403 403 403 403 403 401 200 403 401 401 401 401 401 403
get-account-audit-logs                 401 401 403 200 403 200 403 401 200 200 401 401 401 401 401 403
"""

_DATA_PLANE: Final = """
                                       no  bad run get put all x   b   op  ab  rb  off old rev new far
chat                                   401 401 200 403 403 200 200 401 403 200 401 401 401 401 401 403
chat y                                 401 401 200 403 403 200 403 401 403 200 401 401 401 401 401 403
native                                 401 401 200 403 403 200 200 401 403 200 401 401 401 401 401 403
native y                               401 401 200 403 403 200 403 401 403 200 401 401 401 401 401 403
models                                 401 401 200 403 403 200 200 401 403 200 401 401 401 401 401 403
models y                               401 401 200 403 403 200 403 401 403 200 401 401 401 401 401 403
"""


def _cells(table: str) -> dict[str, dict[str, int]]:
    header, *rows = table.strip("\n").splitlines()
    tokens = header.split()
    found = {}
    for row in rows:
        words = row.split()
        name, statuses = words[: -len(tokens)], words[-len(tokens) :]
        found[" ".join(name)] = dict(zip(tokens, map(int, statuses), strict=True))
    return found


MANAGEMENT: Final = _cells(_MANAGEMENT)
"""What each token gets, by operation."""

DATA_PLANE: Final = _cells(_DATA_PLANE)
"""What each token gets from calls of models."""

TOKENS: Final = tuple(MANAGEMENT["list-gateway"])
"""The tokens."""
