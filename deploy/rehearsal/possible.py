"""Whether this machine can hold a rehearsal."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Final

__all__ = ["reason_against"]

_NEEDED: Final = """
from deploy.rehearsal import links, nftables, syscalls
syscalls.unshare(syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
syscalls.mount("none", "/tmp", "tmpfs")
with links.wires() as wires:
    wires.bridge("probe")
    network = links.new_network()
    wires.pair("probe0", "probe", network)
netfilter = links.open_netfilter(network)
nftables.install(netfilter, [nftables.Chain(name="nat", kind="nat", hook=3, priority=-100)])
syscalls.unshare(syscalls.CLONE_NEWPID)
"""


@functools.cache
def reason_against() -> str | None:
    """
    Return why no rehearsal can run here, or None when it can.

    It is tried in a process of its own: namespaces, mounts, links and the packet filter, which is all gone
    with it.
    """
    if sys.platform != "linux":
        return "the rehearsal needs Linux: it is made of network namespaces"
    from deploy.rehearsal.images import ROOT

    done = subprocess.run(
        [sys.executable, "-c", _NEEDED], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return (
        "the rehearsal needs root or CAP_SYS_ADMIN and CAP_NET_ADMIN, and a kernel with network namespaces, "
        f"bridges, veth and nftables: {lines[-1] if lines else done.returncode}"
    )
