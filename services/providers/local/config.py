"""
Settings of the model that runs on this machine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar

from kit.config import setting

__all__ = ["LocalConfig", "default_threads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalConfig:
    """Which models run on this machine, and how much of it they may take."""

    PREFIX: ClassVar[str] = "HEADRACE_LOCAL_"

    models: tuple[str, ...] = setting(
        (),
        "GGUF files, or directories of them, separated by commas. A file's name in lower case, without "
        "`.gguf`, is the model's name; `smollm2-135m-instruct` stands for the model that comes with "
        "Headrace. The first is loaded at start, the others on first use. Default: the one that comes with "
        "Headrace.",
    )
    threads: int = setting(
        0,
        "Threads that compute, for each loaded model. 0: half as many as there are usable cores, which "
        "leaves the others to the gateway: threads that wait for one that has no core make a model many "
        "times slower. Where a container's share is smaller than the machine, name it.",
        at_least=0,
        at_most=512,
    )
    slots: int = setting(
        4,
        "Requests to one model that are answered at the same time; further ones wait their turn. More of "
        "them make each slower, and each takes memory for its own context.",
        at_least=1,
        at_most=256,
    )
    context_tokens: int = setting(
        4096,
        "Longest prompt and answer of one request together, in tokens; never more than the model was "
        "trained for. The memory for it is taken when the model is loaded.",
        at_least=256,
    )
    batch_tokens: int = setting(
        512,
        "Prompt tokens that are computed in one go, and so the longest text that a chat model can embed. "
        "Memory grows with it.",
        at_least=32,
        at_most=65536,
    )
    max_loaded: int = setting(
        2,
        "Models in memory at the same time. The one that was not used for the longest time makes room, "
        "after the requests that it still answers.",
        at_least=1,
        at_most=64,
    )
    max_requests: int = setting(
        512,
        "Requests that are answered or wait, all models together. More are refused with status 503, so that "
        "callers can go elsewhere.",
        at_least=1,
    )
    max_request_bytes: int = setting(
        16 << 20, "Longest request body. A context of a million tokens fits.", at_least=1024
    )
    load_timeout_s: float = setting(
        600.0, "Longest time to load a model. Large files on slow disks take minutes.", at_least=0.1
    )


def default_threads() -> int:
    """Return half of the cores that this process may use, but one at least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // 2)
