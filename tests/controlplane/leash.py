"""`python leash.py PARENT command...`: becomes the command, and is killed when its parent dies.

Every program of the control plane is started through it, so that nothing stays behind a test run
that was killed itself. Linux keeps the wish across exec; elsewhere the program is not tied. It is
run by path and without any packages, since it only has to start fast.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def leashed(*command: str) -> list[str]:
    """How to run a command so that it is killed when the calling thread dies."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # else it died before it could be asked about
        os.execvp(command[0], command)


if __name__ == "__main__":
    main()
