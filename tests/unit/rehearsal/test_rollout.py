"""What a roll-out does next."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.rehearsal.objects import Strategy
from deploy.rehearsal.rollout import PodView, Step, deployment_step, share, stateful_step


def pod(name: str, *, current: bool = False, available: bool = True, deleting: bool = False) -> PodView:
    ordinal = int(name.rpartition("-")[2]) if "-" in name else 0
    return PodView(
        name=name, current=current, ready=available, available=available, deleting=deleting, ordinal=ordinal
    )


CAREFUL = Strategy(max_surge=1, max_unavailable=0)
OLD, OLD_2 = pod("a"), pod("b")
NEW = pod("n", current=True)
COMING = pod("c", current=True, available=False)
BROKEN = pod("x", available=False)


@pytest.mark.parametrize(
    ("pods", "step"),
    [
        pytest.param([], Step(create=2), id="none there"),
        pytest.param([OLD, OLD_2], Step(create=1), id="first a new one"),
        pytest.param([OLD, OLD_2, COMING], Step(), id="wait until it is available"),
        pytest.param([OLD, OLD_2, NEW], Step(delete=("a",)), id="then an old one goes"),
        pytest.param([replace(OLD, deleting=True), OLD_2, NEW], Step(create=1), id="the next"),
        pytest.param([OLD_2, NEW, COMING], Step(), id="wait again"),
        pytest.param([OLD, BROKEN], Step(create=1), id="a broken old one is in nobody's way"),
        pytest.param([OLD, BROKEN, NEW], Step(delete=("x",)), id="and goes first"),
        pytest.param([NEW, pod("m", current=True)], Step(), id="done"),
        pytest.param(
            [NEW, pod("m", current=True), COMING],
            Step(delete=("c",)),
            id="too many: the one that is not there yet",
        ),
    ],
)
def test_careful(pods: list[PodView], step: Step) -> None:
    """With a surge of one and none unavailable, there is always a new pod before an old one goes."""
    assert step == deployment_step(CAREFUL, 2, pods)


def test_recreate() -> None:
    """With Recreate, all old ones are gone before new ones come."""
    strategy = Strategy(recreate=True)

    assert Step(delete=("a", "b")) == deployment_step(strategy, 2, [OLD, OLD_2])
    assert Step() == deployment_step(strategy, 2, [replace(OLD, deleting=True)])
    assert Step(create=2) == deployment_step(strategy, 2, [])


@given(
    replicas=st.integers(1, 6),
    surge=st.integers(0, 3),
    unavailable=st.integers(0, 3),
    data=st.data(),
)
def test_bounds(replicas: int, surge: int, unavailable: int, data: st.DataObject) -> None:
    """
    A roll-out ends with new pods alone, never with more than wanted and surge, nor fewer available than
    promised.
    """
    if surge == unavailable == 0:
        return
    strategy = Strategy(max_surge=surge, max_unavailable=unavailable)
    pods = {f"old{n}": pod(f"old{n}") for n in range(replicas)}
    made = 0
    for _ in range(200):
        step = deployment_step(strategy, replicas, list(pods.values()))
        for name in step.delete:
            del pods[name]
        for _ in range(step.create):
            made += 1
            pods[f"new{made}"] = pod(f"new{made}", current=True, available=False)
        assert len(pods) <= replicas + surge
        assert sum(each.available for each in pods.values()) >= replicas - unavailable
        coming = [name for name, each in pods.items() if not each.available]
        if coming:
            name = data.draw(st.sampled_from(coming))
            pods[name] = replace(pods[name], ready=True, available=True)
        elif step == Step():
            break
    assert replicas == len(pods)
    assert all(each.current for each in pods.values())


@pytest.mark.parametrize(
    ("pods", "parallel", "step"),
    [
        pytest.param([], False, Step(create=1, ordinals=(0,)), id="one after the other"),
        pytest.param([], True, Step(create=2, ordinals=(0, 1)), id="all at once"),
        pytest.param(
            [pod("s-0", current=True, available=False)], False, Step(), id="each waits for those before"
        ),
        pytest.param(
            [pod("s-0"), pod("s-1")], False, Step(delete=("s-1",)), id="the highest is updated first"
        ),
        pytest.param(
            [pod("s-0"), pod("s-1")], True, Step(delete=("s-1",)), id="updates are never all at once"
        ),
        pytest.param([pod("s-0"), pod("s-1", deleting=True)], True, Step(), id="which must be gone"),
        pytest.param([pod("s-0"), pod("s-1", current=True, available=False)], False, Step(), id="and back"),
        pytest.param(
            [pod("s-0"), pod("s-1", current=True)], False, Step(delete=("s-0",)), id="before the next"
        ),
        pytest.param(
            [pod(f"s-{n}", current=True) for n in range(3)],
            False,
            Step(delete=("s-2",)),
            id="fewer are wanted",
        ),
    ],
)
def test_stateful(pods: list[PodView], parallel: bool, step: Step) -> None:  # noqa: FBT001 - a column
    """A StatefulSet's pods come and go by number."""
    assert step == stateful_step(2, pods, parallel=parallel)


@pytest.mark.parametrize(
    ("value", "of", "up", "pods"),
    [(2, 10, True, 2), ("25%", 10, True, 3), ("25%", 10, False, 2), ("0%", 3, True, 0)],
)
def test_shares(value: int | str, of: int, up: bool, pods: int) -> None:  # noqa: FBT001 - a column
    """A share is rounded up for a surge, and down for what may be missing."""
    assert pods == share(value, of, up=up)
