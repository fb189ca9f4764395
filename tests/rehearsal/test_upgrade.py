"""Upgrade and roll-back between two releases under load, with a migration of tables."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson
import pytest

from deploy.rehearsal.images import source
from tests.rehearsal.judging import counts, demand_nothing_failed, demand_right_books
from tests.rehearsal.manifests import Manifests, shortened
from tests.rehearsal.releases import pair
from tests.rehearsal.system import EVERYTHING, images, running

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.rehearsal import Images
    from tests.rehearsal.conftest import Figure
    from tests.rehearsal.releases import Release

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.whole]


def images_of(*releases: Release) -> Images:
    """Return what stands for the images of releases."""
    return images() | {f"*headrace:{each.version}": source(each.tree) for each in releases}


def migrations(work_dir: Path, version: str) -> list[str]:
    """Return what the Jobs of a version said that they changed."""
    jobs = sorted((work_dir / "logs").glob(f"migrate-{version.replace('.', '-')}-*.log"))
    lines = [
        line for job in jobs for line in job.read_text().splitlines() if '"event":"database migrated"' in line
    ]
    told = [orjson.loads(line) for line in lines]
    return [f"{each['database']}: from {each['before']} to {each['now']}" for each in told]


async def test_upgrade_and_roll_back_under_load(
    possible: None, tmp_path: Path, request: pytest.FixtureRequest, figure: Figure
) -> None:
    """
    All is applied at once; the migration runs beside old pods, new ones wait for it, and nobody notices.
    """
    before, after = pair(tmp_path / "trees", request.config.getoption("previous", default=None))
    figure("releases", (before.name, after.name))
    old = Manifests(rendered=shortened(before.rendered, replicas=2))
    new = old.changed(shortened(after.rendered, replicas=2))
    async with running(tmp_path / "work", old, images_of(before, after)) as system:
        load = await system.load(*EVERYTHING)
        for name, manifests in (("upgrade", new), ("roll-back", old), ("upgrade again", new)):
            began_s = time.time()
            await system.cluster.apply(manifests.applied)
            await system.cluster.rolled_out(timeout_s=600)
            over = [one for one in load.outcomes() if one.end_s >= began_s]
            figure(f"{name}, s, and requests over meanwhile", (round(time.time() - began_s, 1), counts(over)))
            await load.goes_on(count=20)
        outcomes = await load.stop()
        figure("requests during upgrade, roll-back and upgrade", counts(outcomes))

        migrated = migrations(system.cluster.work_dir, after.version)
        figure("tables changed by the migration", migrated)

        demand_nothing_failed(outcomes)
        await demand_right_books(system, load)
        if after.migrates:
            # Once: the second upgrade finds the tables as the first one left them.
            assert ["ledger"] == [each.partition(":")[0] for each in migrated]
