"""``python -m ncbench_launchers.ray.child PARENT ARGUMENTS``: ``ncbench run ARGUMENTS``, killed when PARENT ends.

Without its actor nobody would hear of the run, which would go on beside the next attempt. On Linux it is gone at once;
elsewhere it interrupts itself, as runs of any launcher do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the run."""
    parent, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it has ended before it could be heard
        sys.exit(1)
    os.execv(sys.executable, [sys.executable, "-P", "-m", "ncbench", "run", *arguments])  # noqa: S606 (no shell)


if __name__ == "__main__":
    main()
