"""Runs a program that must not outlive us: `python die_with_parent.py <our pid> <program> [argument …]`.

Started with an interpreter of its own, because only the process itself can ask the kernel to be ended with its parent,
and only it knows the process id that sd_listen_fds(3) wants in LISTEN_PID: that is set when there are LISTEN_FDS.
On Linux the kernel sends SIGTERM, on which a Redis stops its own children too. Elsewhere there is no such request, and
the lock that a Redis inherits still keeps a second one off its folder.

The program has a session of its own: Ctrl-C in a terminal reaches us alone, who stop it when its turn has come. (A
process group of its own would not do: the kernel sends SIGHUP to one that is stopped when its parent ends.)
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

if __name__ == "__main__":
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent ended before its child began")
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if "LISTEN_FDS" in os.environ:
        os.environ["LISTEN_PID"] = str(os.getpid())
    os.execv(program[0], program)  # noqa: S606  # no shell is meant
