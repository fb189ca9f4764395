"""
A rehearsal by hand: `python -m deploy.rehearsal production --request --keep`.

It renders an overlay, brings what an operator brings, shows the pods until all are ready, and leaves nothing
behind.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.rehearsal.brought import PROVIDER, STORES, bring, new_token
from deploy.rehearsal.cluster import Cluster
from deploy.rehearsal.errors import RehearsalError
from deploy.rehearsal.images import ROOT, Images
from deploy.rehearsal.possible import reason_against

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.rehearsal.handles import Host, Pod

__all__ = ["main", "render"]

Document = dict[str, Any]

_STYLES: Final = {"Pending": "yellow", "Running": "green", "Terminating": "magenta", "Failed": "red"}
_PYTHON: Final = "/app/.venv/bin/python"
_FRONT_DOOR: Final = "front-door-tls"


def render(overlay: str) -> list[Document]:
    """
    Return the documents of an overlay, by name or directory.

    Raises:
        RehearsalError: It does not render.
    """
    script = [sys.executable, str(ROOT / "scripts" / "k8s_render.py"), overlay]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RehearsalError(done.stderr.strip())
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def _table(cluster: Cluster, rollouts: Sequence[dict[str, Any]]) -> Group:
    table = Table("pod", "node", "address", "state", "restarts", "", box=None, pad_edge=False)
    for pod in cluster.pods():
        state = Text("Ready" if pod.ready else pod.phase, style=_style(pod))
        table.add_row(
            pod.name, pod.node, pod.address, state, str(pod.restarts), Text(pod.reason[:70], style="red")
        )
    done = sum(bool(each["done"]) for each in rollouts)
    return Group(
        table,
        Text(f"{done} of {len(rollouts)} workloads are as they should be; logs: {cluster.work_dir}/logs"),
    )


def _style(pod: Pod) -> str:
    return "bold green" if pod.ready else _STYLES.get(pod.phase, "")


async def _show(cluster: Cluster, console: Console, timeout_s: float) -> None:
    """Show pods until all workloads are as they should be."""
    waiting = asyncio.create_task(cluster.rolled_out(timeout_s=timeout_s))
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        while not waiting.done():
            live.update(_table(cluster, await cluster.rollouts()))
            await asyncio.wait([waiting], timeout=0.5)
    await waiting


async def _request(
    cluster: Cluster, documents: Sequence[Document], token: str | None, console: Console
) -> int:
    """Make one request: from outside when there is a way in from there, else from a pod."""
    services = {each["metadata"]["name"] for each in documents if each["kind"] == "Service"}
    pod = next(pod for pod in cluster.pods() if pod.ready)
    where: Host | Pod = pod
    url, name, authority = "http://envoy:8080", "envoy", ""
    if "front-door" in services:
        where, url = cluster.outside, f"https://{await cluster.address('front-door')}:443"
        file = cluster.work_dir / "front-door-ca.crt"
        file.write_bytes((await cluster.data("Secret", _FRONT_DOOR))["ca.crt"])
        authority, name = str(file), _public_name(documents)
    if token is None:
        _, token = await pod.execute([_PYTHON, "-c", "print(open('/var/lib/headrace/token').read())"])
    script = str(Path(__file__).with_name("ask.py"))
    process = await where.run([sys.executable, "-I", script, url, token.strip(), name, authority])
    status = await process.wait()
    console.print(f"request {url}:", process.output().strip(), markup=False)
    return status


def _public_name(documents: Sequence[Document]) -> str:
    """Return the name in the front door's certificate."""
    specs = [each["spec"] for each in documents if each["kind"] == "Certificate"]
    return next((str(spec["dnsNames"][0]) for spec in specs if spec["secretName"] == _FRONT_DOOR), "")


async def _until_stopped() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


async def rehearse(given: argparse.Namespace, console: Console) -> int:
    """Do it; return the status to end with."""
    documents = render(given.overlay)
    namespaces = [each["metadata"]["name"] for each in documents if each["kind"] == "Namespace"]
    documents += bring(documents, (namespaces or ["default"])[0], new_token())
    token = _first_token(documents)
    if given.request:
        _point_at_stand_in(documents)
    async with Cluster(
        documents, images=Images.usual(), hosts=(*STORES, PROVIDER), nodes=given.nodes
    ) as cluster:
        console.print(f"{len(documents)} documents; work directory {cluster.work_dir}", highlight=False)
        stand_in = Path(__file__).with_name("provider.py")
        await cluster.host(PROVIDER.name).run([sys.executable, "-I", str(stand_in), "8000"])
        await _show(cluster, console, given.timeout)
        for line in await cluster.notes() if given.notes else ():
            console.print(f"[dim]no meaning here:[/] {line}", highlight=False)
        status = await _request(cluster, documents, token, console) if given.request else 0
        if given.keep:
            pods = cluster.pods()
            console.print(_hint(cluster, pods[0]), markup=False, highlight=False)
            await _until_stopped()
            console.print("stopping")
    return status


def _first_token(documents: Sequence[Document]) -> str | None:
    """Return the first token, or None where a pod makes it."""
    for each in documents:
        if each["kind"] == "Secret" and each["metadata"]["name"] == "headrace-auth":
            if "stringData" in each:
                return str(each["stringData"]["first-token"])
            return base64.b64decode(each["data"]["first-token"]).decode()
    return None


def _point_at_stand_in(documents: Sequence[Document]) -> None:
    """Have the provider `openai` be the stand-in; the only thing that a manifest is changed in."""
    name = "HEADRACE_PROVIDER_OPENAI_BASE_URL"
    maps = [each for each in documents if each["kind"] == "ConfigMap"]
    if not any(name in each.get("data", {}) for each in maps):
        own = [each for each in maps if each["metadata"]["name"].startswith("headrace-providers")]
        for each in own or maps:
            each["data"][name] = f"http://{PROVIDER.address}:8000/v1"


def _hint(cluster: Cluster, pod: Pod) -> str:
    pid = cluster.machine_pid(pod)
    enter = f"nsenter -t {pid} -a {_PYTHON}" if pid else ""
    return f"a Python in {pod.name}: {enter}\nlogs: {cluster.work_dir}/logs\nCtrl-C ends it"


def main() -> int:
    """Read the command line, and rehearse."""
    parser = argparse.ArgumentParser(prog="python -m deploy.rehearsal", description=__doc__)
    parser.add_argument("overlay", help="a name under deploy/k8s/overlays, or a directory")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    parser.add_argument("--request", action="store_true", help="make one request through the front door")
    parser.add_argument("--notes", action="store_true", help="print what of the manifests means nothing here")
    parser.add_argument("--nodes", type=int, default=3, help="how many hosts (3)")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds until all must be ready (900)")
    given = parser.parse_args()
    console = Console()
    if (reason := reason_against()) is not None:
        console.print(f"[bold red]NOT REHEARSED:[/] {reason}")
        return 2
    try:
        return asyncio.run(rehearse(given, console))
    except RehearsalError as error:
        console.print(str(error), markup=False, style="red")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
