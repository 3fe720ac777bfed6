"""The short forms of the acceptance rows: `python -m tests.acceptance ROW --short`, each a process of its own with
real Redis servers and real daemons. Counts are held as in the long form; of the time limits see `Bench.within`.
"""

import random
import re
import subprocess
import sys

import pytest
from programs import ROOT

pytestmark = pytest.mark.rows

ROWS = (*range(1, 21), *range(22, 25), *range(26, 32), 33)
# 21 is the model: tests/jobs/test_model.py.
# 25 fills disks, which takes minutes where others use the same cores: tests/process/test_data_folder.py has the floor
# and the stop.
ELSEWHERE = {21, 25}
LONGEST = 150.0  # seconds; on a quiet machine the longest takes seven
ENDING = 20.0  # seconds for a row that was told to end, to end what it has started


def acceptance(*arguments):
    """Run that command; its exit status and what it printed. When it takes too long it is told to end."""
    command = [sys.executable, "-m", "tests.acceptance", *arguments]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        try:
            printed, _ = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                printed, _ = process.communicate(timeout=ENDING)
            finally:
                process.kill()
            printed += f"\nit took more than {LONGEST} s"
    return process.returncode, printed


@pytest.mark.parametrize("row", ROWS)
def test_the_row_holds_in_its_short_form(row):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    status, printed = acceptance(str(row), "--short", "--seed", str(seed))
    print(printed)
    assert (status, re.findall(r"(?m)^(PASS|FAIL) row (\d+)", printed)) == (0, [("PASS", str(row))])


def test_every_row_that_has_a_command_runs_among_the_tests():
    status, printed = acceptance("--list")
    assert status == 0, printed
    assert {int(line.split()[0]) for line in printed.splitlines()} == {*ROWS} | ELSEWHERE
