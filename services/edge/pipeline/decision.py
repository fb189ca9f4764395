"""How a dynamic route came to what was tried, put together from what its plans tell."""

from __future__ import annotations

from headrace.common.v1 import decision_pb2

__all__ = ["joined", "passed"]


def joined(known: decision_pb2.Decision | None, more: decision_pb2.Decision) -> decision_pb2.Decision:
    """
    Return a way with what a further plan says of it.

    Args:
        known: What was told before; is changed. None: nothing was.
        more: What the plan says. It begins with what became of the element that was tried last, where that is
            known, in the place of what was told of it.
    """
    if known is None:
        known = decision_pb2.Decision()
    if known.steps and more.steps and known.steps[-1].element_id == more.steps[0].element_id:
        del known.steps[-1]
    known.MergeFrom(more)
    return known


def passed(decision: decision_pb2.Decision, element_id: str, *, answered: bool) -> decision_pb2.Decision:
    """
    Return a way as far as it was gone: a plan says beforehand what comes after a failure.

    Args:
        decision: All that plans told.
        element_id: Element that was tried last. Empty: none was.
        answered: Whether it brought an answer.
    """
    gone = decision_pb2.Decision()
    gone.CopyFrom(decision)
    places = [place for place, step in enumerate(gone.steps) if step.element_id == element_id]
    if not places:
        return gone
    # Several steps of a universal request may ask for one route: each goes through it anew.
    place = places[-1]
    if not answered and all(step.type != "model" for step in gone.steps[place + 1 :]):
        # All that there was has failed, and what comes after is how it ended.
        return gone
    del gone.steps[place + 1 :]
    gone.steps[place].output = "success" if answered else ""
    return gone
