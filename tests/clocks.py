"""A wall clock that tests step: of presque, of Redis, or of both, in the processes that run with `Wall.environ`."""

import mmap
import os
import shutil
import struct
import subprocess

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
static volatile double *offset;
__attribute__((constructor)) static void begin(void) {
  int file = open(getenv("WALL_CLOCK"), O_RDONLY);
  if (file < 0) abort();
  offset = mmap(0, 4096, PROT_READ, MAP_SHARED, file, 0);
}
int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(id, t);
  if (offset && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec += (long)*offset;
  return result;
}
int gettimeofday(struct timeval *restrict t, void *restrict zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *to) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (to) *to = now.tv_sec;
  return now.tv_sec;
}
"""


class Wall:
    """The clock of those processes that begin with `environ`."""

    def __init__(self, folder):
        if shutil.which("cc") is None:
            assert "CI" not in os.environ, "there is no cc"
            pytest.skip("there is no cc")
        (folder / "wall.c").write_text(SOURCE)
        library, file = folder / "wall.so", folder / "wall"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "wall.c", "-ldl"], check=True)
        file.write_bytes(bytes(4096))
        with file.open("r+b") as opened:
            self._offset = mmap.mmap(opened.fileno(), 4096)
        self.environ = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(file)}

    def step(self, seconds):
        """Set it forward, or back."""
        self._offset[:8] = struct.pack("d", struct.unpack("d", self._offset[:8])[0] + seconds)
