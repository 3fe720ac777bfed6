"""Runs a program that must not outlive us: `python die_with_parent.py <our pid> <program> [argument …]`.

It runs in an interpreter of its own, because only the process itself can ask the kernel to be ended with its parent,
and only it knows the process id for LISTEN_PID of sd_listen_fds(3), which is set if LISTEN_FDS is. On Linux the kernel
sends SIGTERM, on which a Redis stops its own children too. Other systems have no such request; there, the lock that a
Redis inherits still prevents a second one on its folder.

The program gets a session of its own: Ctrl-C in a terminal reaches only us, and we stop the program in its turn. (Its
own process group would not suffice: the kernel sends SIGHUP to a stopped group when its parent ends.)
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
