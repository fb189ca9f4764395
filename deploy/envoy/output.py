"""Where a child's output goes, so that `/dev/stdout` can be opened by it and nothing is lost."""

from __future__ import annotations

import os
import stat
import threading

__all__ = ["Output"]

_PIECE_BYTES = 64 << 10


class Output:
    """
    A descriptor for a child to write to; what it writes goes to our own standard output.

    A pipe that we were given is passed on. Anything else is given a pipe of its own in front: a socket cannot
    be opened by its name, and two that write to one file by different descriptors overwrite each other.
    """

    def __init__(self, target: int = 1) -> None:
        self._target = target
        self._thread: threading.Thread | None = None
        if _can_be_passed_on(target):
            self.descriptor = target
            return
        reading, self.descriptor = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(reading,), name="output", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait, a little, for what is still on its way. The child must have ended."""
        if self._thread is not None:
            os.close(self.descriptor)
            self._thread.join(timeout=1)

    def _copy(self, reading: int) -> None:
        try:
            while piece := os.read(reading, _PIECE_BYTES):
                while piece:
                    piece = piece[os.write(self._target, piece) :]
        except OSError:
            pass  # nobody reads us any more; the child learns it from its pipe
        finally:
            os.close(reading)


def _can_be_passed_on(target: int) -> bool:
    try:
        if not stat.S_ISFIFO(os.fstat(target).st_mode):
            return False
        os.close(os.open(f"/dev/fd/{target}", os.O_WRONLY))
    except OSError:
        return False
    return True
