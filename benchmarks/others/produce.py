"""The loop by which all put jobs in: produce.py <module of this folder> <count> [<way>].

It prints how many a second that were. The first is not timed: it makes the connection, and may load half of a library.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module

from noting import argument

# Imported by its name, as the worker imports it: some libraries send the name of the function's module.
module = import_module(sys.argv[1])
count, at_once = int(sys.argv[2]), getattr(module, "AT_ONCE", 1)
batches = [[argument(number) for number in range(first, first + at_once)] for first in range(0, count, at_once)]
module.put(batches[0])
began = time.perf_counter()
for batch in batches[1:]:
    module.put(batch)
took = time.perf_counter() - began
print(json.dumps({"per_second": (len(batches) - 1) * at_once / took}))
