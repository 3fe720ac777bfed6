"""A wall clock that tests and rows step: that of the processes that run with its `environ`."""

from __future__ import annotations

import mmap
import struct
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = r"""
/* Shifts the wall clock of a program by the milliseconds that stand in a file, and counts its syncs there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int (*clock_function)(clockid_t, struct timespec *);
typedef int (*sync_function)(int);
static struct { int64_t shift_ms; int64_t syncs; } nowhere, *page = &nowhere;

__attribute__((constructor)) static void open_page(void) {
  const char *path = getenv("SHIFTED_CLOCK");
  int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  void *found = file < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file >= 0) close(file);
  if (found != MAP_FAILED) page = found;
}

static int is_wall(clockid_t id) { return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t id, struct timespec *at) {
  static clock_function next;
  if (!next) next = (clock_function)dlsym(RTLD_NEXT, "clock_gettime");
  int status = next(id, at);
  if (status == 0 && is_wall(id)) {
    int64_t ns = at->tv_nsec + (__atomic_load_n(&page->shift_ms, __ATOMIC_RELAXED) % 1000) * 1000000;
    at->tv_sec += __atomic_load_n(&page->shift_ms, __ATOMIC_RELAXED) / 1000;
    if (ns < 0) { ns += 1000000000; at->tv_sec--; }
    if (ns >= 1000000000) { ns -= 1000000000; at->tv_sec++; }
    at->tv_nsec = ns;
  }
  return status;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  int status = clock_gettime(CLOCK_REALTIME, &now);
  if (at) { at->tv_sec = now.tv_sec; at->tv_usec = now.tv_nsec / 1000; }
  (void)zone;
  return status;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

static int counted(const char *name, int file) {
  sync_function next = (sync_function)dlsym(RTLD_NEXT, name);
  __atomic_fetch_add(&page->syncs, 1, __ATOMIC_RELAXED);
  return next(file);
}

int fsync(int file) { return counted("fsync", file); }
int fdatasync(int file) { return counted("fdatasync", file); }
"""


class Wall:
    """The clock of those processes that begin with `environ`. Making it needs `cc`."""

    def __init__(self, folder: Path) -> None:
        source, library, page = folder / "shift.c", folder / "shift.so", folder / "clock"
        source.write_text(SOURCE)
        command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        page.write_bytes(bytes(4096))
        with page.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 4096)
        self.environ = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(page)}
        self.shift = 0.0  # seconds

    def step(self, seconds: float) -> None:
        """Set it forward, or back."""
        self.shift += seconds
        self._page[:8] = struct.pack("q", round(self.shift * 1000))

    @property
    def syncs(self) -> int:
        """How often these processes have had a file synced."""
        return int(struct.unpack("q", self._page[8:16])[0])
