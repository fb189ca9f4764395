"""The steps of a plan one after the other, and what router says comes after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.router.v1 import router_service_pb2
from services.edge.pipeline.retry import is_hopeless

if TYPE_CHECKING:
    from services.edge.pipeline.access import Access
    from services.edge.pipeline.attempts import Call
    from services.edge.pipeline.relay import Failed

__all__ = ["Walk"]


class Walk:
    """
    Goes from step to step.

    Attributes:
        plan: The plan of the step that was given last.
        own_provider: Provider that the client's own keys are for; empty where nobody can tell.
        checked: Whether what a token is narrowed to was held against the plan's steps when it was admitted.

    Args:
        access: Goes on with plans.
        call: The request.
    """

    def __init__(self, access: Access, call: Call) -> None:
        self._access = access
        self._call = call
        self.plan = call.admission.plan
        self.checked = not self.plan.HasField("decision")
        self.own_provider = self.plan.steps[0].provider if self.checked else ""
        self._index = 0
        self._tried = 0
        self._hopeless: frozenset[tuple[str, str]] = frozenset()
        self._last: tuple[str, str] | None = None

    async def next(self, failed: Failed | None) -> router_service_pb2.Step | None:
        """
        Give the next step to try; None when there is none.

        Args:
            failed: How the step before ended. None: there was none.

        Raises:
            GatewayError: The route ends in an error of its own, or router is away.
        """
        if failed is not None and self._last is not None and is_hopeless(failed):
            self._hopeless |= {self._last}
        while True:
            if self._index == len(self.plan.steps):
                if not self.plan.continuation or failed is None:
                    return None
                await self._go_on(failed)
                if not self.plan.steps:
                    return None
            step = self.plan.steps[self._index]
            self._index += 1
            self._last = (step.provider, step.model)
            # A model that refused what it was asked for would do so again.
            if self._last not in self._hopeless:
                number, place = self._call.number, self._tried
                self._call.progress.begin_step(step, place if number is None else number, place)
                self._tried += 1
                return step

    async def _go_on(self, failed: Failed) -> None:
        told = router_service_pb2.StepFailure(
            step=max(0, self._tried - 1), reason=failed.reason, status=failed.status
        )
        call = self._call
        self.plan = await self._access.plan_on(call.admission, call.exchange, self.plan, told)
        self._index = 0
        self.checked = False
        call.progress.decided(self.plan)
