"""
The rehearsal engine with tiny pods: one cluster, and in it what a scenario relies on.

Where the machine allows no network namespaces it is skipped, which says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import pytest_asyncio

from deploy.rehearsal import Cluster, Images, ManifestError, RehearsalError, reason_against
from deploy.rehearsal.images import ROOT, program
from tests.fakes.tiny_manifests import config_map, deployment, namespace, policy, secret, service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from deploy.rehearsal import Pod

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Without site packages, so that it starts at once.
IMAGES = Images({"tiny:*": program("/app/.venv/bin/python", "-I", "-S", "-c")})
LOOK = "import urllib.request as u; print(u.urlopen({url!r}, timeout=0.5).read().decode())"


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    """Skip all of it where no rehearsal can run."""
    if (reason := reason_against()) is not None:
        pytest.skip(f"NOT REHEARSED: {reason}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    documents = [
        namespace("tiny"),
        config_map("greeting", {"greeting": "hello"}),
        secret("word", {"word": "first", "other": "same"}),
        *service("web", type="LoadBalancer"),
        *deployment("web", replicas=2),
        *service("held", clusterIP="None"),
        *deployment("held", replicas=2),
        *deployment("client"),
        *deployment("stranger"),
        policy("held", allow="client"),
    ]
    work_dir = tmp_path_factory.mktemp("cluster")
    async with Cluster(documents, images=IMAGES, work_dir=work_dir, propagation_s=0.1) as made:
        await made.rolled_out(timeout_s=50)
        yield made


async def look(where: Pod, url: str) -> str:
    """Return what is answered in a pod's network; empty when nothing is."""
    process = await where.run([sys.executable, "-I", "-S", "-c", LOOK.format(url=url)])
    return process.output().strip() if await process.wait() == 0 else ""


async def python(pod: Pod, code: str) -> tuple[int, str]:
    """Run Python in a pod's container."""
    return await pod.execute(["/app/.venv/bin/python", "-I", "-S", "-c", code])


async def test_names(cluster: Cluster) -> None:
    """
    A headless Service is the addresses of its ready pods, another one a single address; both work by name.
    """
    client = cluster.pods("client")[0]

    assert sorted(pod.address for pod in cluster.pods("held")) == await cluster.resolve("held")
    assert 1 == len(await cluster.resolve("web"))
    for name in ("web", "web.tiny", "web.tiny.svc.cluster.local"):
        assert "hello" == await look(client, f"http://{name}:8000/")
    assert "" == await look(client, "http://nobody:8000/")


async def test_load_balancer(cluster: Cluster) -> None:
    """A host outside reaches a Service of type LoadBalancer, and sees no other."""
    url = f"http://{await cluster.address('web')}:8000/"
    process = await cluster.outside.run([sys.executable, "-I", "-S", "-c", LOOK.format(url=url)])

    assert 0 == await process.wait(), process.output()
    assert "hello" == process.output().strip()


async def test_policy(cluster: Cluster) -> None:
    """A pod takes calls of those that its policy allows, and of nobody else, whichever way they come."""
    (client,), (stranger,) = cluster.pods("client"), cluster.pods("stranger")
    address = cluster.pods("held")[0].address

    assert "hello" == await look(client, "http://held:8000/")
    assert "" == await look(stranger, "http://held:8000/")
    assert "" == await look(stranger, f"http://{address}:8000/")
    assert "hello" == await look(stranger, "http://web:8000/")


async def test_policy_follows_pods(cluster: Cluster) -> None:
    """
    A pod that comes later is allowed what its labels say, and one that another replaces is called as before.
    """
    await cluster.pods("client")[0].delete()
    await cluster.rolled_out("client", timeout_s=20)

    assert "hello" == await look(cluster.pods("client")[0], "http://held:8000/")


async def test_not_ready(cluster: Cluster) -> None:
    """A pod whose readiness probe fails is in no name until it passes again."""
    pod, other = cluster.pods("held")

    await python(pod, "open('/scratch/unready', 'w')")
    await cluster.until(lambda: not pod.ready)
    await resolves_to(cluster, "held", [other.address])
    await python(pod, "import os; os.unlink('/scratch/unready')")
    await cluster.until(lambda: pod.ready)
    await resolves_to(cluster, "held", sorted([pod.address, other.address]))


async def resolves_to(cluster: Cluster, name: str, addresses: list[str]) -> None:
    """Wait until a name is these addresses."""
    end_s = time.monotonic() + 10
    while await cluster.resolve(name) != addresses:
        assert time.monotonic() < end_s
        await asyncio.sleep(0.02)


async def test_rolling_restart(cluster: Cluster) -> None:
    """A restart makes a new pod before an old one goes, and there are always as many ready as wanted."""
    old = {pod.name for pod in cluster.pods("web")}
    began = len(cluster.events)

    await cluster.restart("web")
    await cluster.rolled_out("web", timeout_s=30)
    await cluster.until(lambda: old.isdisjoint(pod.name for pod in cluster.pods("web")))

    ready = 2
    for event in cluster.events[began:]:
        if event.subject.startswith("pod/web"):
            ready += {"Ready": 1, "Killing": -1}.get(event.kind, 0)
            assert 2 <= ready <= 3
    assert 2 == ready


async def test_killed_container(cluster: Cluster) -> None:
    """A container that dies is started again in the same pod, with the volumes that it had."""
    pod = cluster.pods("web")[0]
    await python(pod, "open('/scratch/kept', 'w').write('kept')")

    await pod.kill()
    await cluster.until(lambda: pod.restarts == 1 and pod.ready)

    assert (0, "kept") == await python(pod, "print(open('/scratch/kept').read(), end='')")
    assert pod in cluster.pods("web")


async def test_cut(cluster: Cluster) -> None:
    """Nothing passes between a node that is cut off and the others; when it is healed, everything does."""
    target, client = cluster.pods("web")[0], cluster.pods("stranger")[0]
    node = next(node for node in (target.node, client.node))
    if target.node == client.node:
        target = next(pod for pod in cluster.pods("web") if pod.node != client.node)
        node = target.node

    async with cluster.cut(node):
        assert "" == await look(client, f"http://{target.address}:8000/")
    assert "hello" == await look(client, f"http://{target.address}:8000/")


async def test_secret(cluster: Cluster) -> None:
    """A Secret that changes changes its mounted files together, by the swap of one link."""
    pod = cluster.pods("web")[0]
    code = """
import os
print(os.readlink('/secret/..data'), open('/secret/word').read(), open('/secret/other').read())
"""
    _, before = await python(pod, code)

    await cluster.update_secret("word", {"word": "second"})
    _, after = await python(pod, code)

    assert ["first", "same"] == before.split()[1:]
    assert ["second", "same"] == after.split()[1:]
    assert before.split()[0] != after.split()[0]


async def test_container(cluster: Cluster) -> None:
    """
    A container cannot write to its root, is not root, has no capability, and is alone in its PID namespace.
    """
    code = """
import os
try:
    open('/app/x', 'w')
except OSError as error:
    print(error.errno)
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
print(os.getuid(), status['CapBnd'].strip(), status['NoNewPrivs'].strip(), os.path.exists('/work'))
print(open('/proc/1/cmdline').read().count('serve_forever'))
"""
    status, printed = await python(cluster.pods("web")[0], code)

    assert (0, ["30", "65532 0000000000000000 1 False", "1"]) == (status, printed.splitlines())


async def test_unknown_field(cluster: Cluster) -> None:
    """
    A field that the rehearsal does not know is an error that names document and path, and applies nothing.
    """
    (document,) = deployment("odd")
    document["spec"]["template"]["spec"]["containers"][0]["tty"] = True

    with pytest.raises(ManifestError, match=r"Deployment/odd: spec\.template\.spec\.containers\[0\]\.tty"):
        await cluster.apply([document])
    assert [] == cluster.pods("odd")


async def test_failing_pod(cluster: Cluster) -> None:
    """Waiting for a workload that does not come up ends with the log of its pod."""
    await cluster.apply(deployment("broken", code="raise SystemExit('no way')"))

    with pytest.raises(RehearsalError, match=r"(?s)Deployment/broken: not within .* its log ends:.*no way"):
        await cluster.rolled_out("broken", timeout_s=3)
    await cluster.delete("Deployment", "broken")


async def test_nothing_is_left(tmp_path: Path) -> None:
    """When whoever drives a rehearsal is killed, all of its processes are gone."""
    documents: list[dict[str, Any]] = [
        namespace("tiny"),
        config_map("greeting", {"greeting": "hello"}),
        secret("word", {}),
        *deployment("web"),
    ]
    code = f"""
import asyncio
from pathlib import Path
from deploy.rehearsal import Cluster, Images
from deploy.rehearsal.images import program
async def main():
    images = Images({{"tiny:*": program("/app/.venv/bin/python", "-I", "-S", "-c")}})
    async with Cluster({documents!r}, images=images, work_dir=Path({str(tmp_path)!r})) as cluster:
        await cluster.rolled_out(timeout_s=30)
        print("ready", flush=True)
        await asyncio.sleep(1000)
asyncio.run(main())
"""
    driver = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
    )  # fmt: skip
    assert driver.stdout is not None
    assert b"ready\n" == await driver.stdout.readline()
    below = psutil.Process(driver.pid).children(recursive=True)
    assert len(below) >= 4  # keeper, first process, engine, pod

    driver.send_signal(signal.SIGKILL)
    await driver.wait()

    _, alive = await asyncio.to_thread(psutil.wait_procs, below, timeout=10)
    with contextlib.suppress(psutil.NoSuchProcess):
        assert [] == [each.cmdline() for each in alive]
