"""Hears how attempts at providers ended, and tells how providers do: a part of `RouterService`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.router.v1 import router_service_pb2 as pb
from kit.account import check_account_id
from services.router.convert import health

if TYPE_CHECKING:
    from services.router.health_store import HealthStore

__all__ = ["HealthRpcs"]


class HealthRpcs:
    """
    Answers what `RouterService` is asked about the health of providers.

    Args:
        store: Keeps it.
    """

    def __init__(self, store: HealthStore) -> None:
        self._store = store

    def report(self, request: pb.ReportHealthRequest) -> pb.ReportHealthResponse:
        """Take note of how attempts ended."""
        self._store.report(health.reported(request))
        return pb.ReportHealthResponse()

    def get(self, request: pb.GetHealthRequest) -> pb.GetHealthResponse:
        """List what is known of how providers do."""
        account_id = check_account_id(request.account_id)
        return health.shown(self._store.rows(account_id, shared=request.shared, provider=request.provider))
