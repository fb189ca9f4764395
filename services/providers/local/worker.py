"""
The child process that runs llama.cpp for one model. A script: it imports nothing of Headrace.

llama.cpp gets a process of its own because its Python binding keeps the interpreter's lock while a model
loads, may abort on a damaged model, installs signal handlers, and gives all memory back only when the process
ends.

Protocol: the one argument is a JSON object; one line `ready` on standard output when requests are served;
what llama.cpp complains about on standard error; the process ends when standard input does.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1
# llama.cpp's scale: 1 is errors, 2 adds warnings.
_ERRORS_ONLY: Final = 1
# A model must not take the cores from the processes that carry its answers to clients.
_NICENESS: Final = 5


def _end_with_parent() -> None:
    """
    See to it that no worker outlives the process that started it, however that one ended.

    The signal is Linux's and works at any moment; the end of standard input is noticed everywhere, but not
    while a model loads.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()


def _exit_at_end_of_input() -> None:
    while os.read(0, 1):
        pass
    # Not through the binding's destructor: it can wait forever, and there is nothing to save.
    os._exit(0)


def _serve(spec: dict[str, Any]) -> Any:
    """Load the model and serve it on the socket; returns what must be kept alive."""
    import xllamacpp as llama

    params = llama.CommonParams()
    params.model.path = spec["model"]
    params.model_alias = {spec["name"]}
    params.hostnames = [spec["socket"]]
    params.cpuparams.n_threads = spec["threads"]
    params.cpuparams_batch.n_threads = spec["threads"]
    params.n_parallel = spec["slots"]
    params.n_ctx = spec["context_tokens"] * spec["slots"]
    # Texts to embed are computed in one go, so both sizes of a batch are the same.
    params.n_batch = params.n_ubatch = spec["batch_tokens"]
    params.embedding = True  # serves chat as well
    if not spec["embeds"]:
        params.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.verbosity = _ERRORS_ONLY
    params.ui = False
    params.endpoint_slots = True
    # By default up to 8 GiB of old prompts are kept in memory.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    return llama.Server(params)


def main() -> int:
    """Run until standard input ends."""
    _end_with_parent()
    os.nice(_NICENESS)
    # Standard output is the protocol's; whatever a library prints goes to standard error.
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        server = _serve(json.loads(sys.argv[1]))
    except RuntimeError:
        return 1  # llama.cpp has said why
    print("ready", file=report, flush=True)
    threading.Event().wait()
    del server
    return 0


if __name__ == "__main__":
    sys.exit(main())
