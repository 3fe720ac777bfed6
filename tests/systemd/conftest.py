"""One booted Debian with the package installed, for all tests here.

PRESQUE_TREE names the tree of a Debian 13 with systemd and python3, PRESQUE_DEB the package: `.ci/debian_tree` and
`.ci/deb` make them, and `.ci/run` runs all of this.
"""

import os
import subprocess
from pathlib import Path

import pytest
from load import until
from machine import Machine, missing
from traffic import Client

HERE = Path(__file__).parent
SIZE = 1 << 30  # bytes of memory that the machine's files may take


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("systemd")


@pytest.fixture(scope="session")
def deb():
    """The path of the package."""
    why = missing() or next(
        (f"{name} is not set" for name in ("PRESQUE_TREE", "PRESQUE_DEB") if name not in os.environ), ""
    )
    if why:
        assert "CI" not in os.environ, why
        pytest.skip(why)
    return Path(os.environ["PRESQUE_DEB"])


@pytest.fixture(scope="session")
def booted(deb, tmp_path_factory):
    """The machine, as it was installed: what dpkg has said is in `installation`."""
    folder = tmp_path_factory.mktemp("machine")
    # In memory, so that a busy disk does not hold up Redis, which syncs its file.
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", folder], check=True)
    try:
        machine = Machine(Path(os.environ["PRESQUE_TREE"]), folder)
        machine.boot()
        try:
            with machine.network():
                (machine.tree / "root" / "presque.deb").write_bytes(deb.read_bytes())
                machine.installation = machine.said("dpkg", "-i", "/root/presque.deb")
                yield machine
        finally:
            machine.stop()
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def machine(booted):
    """The machine, with a presque that is ready, and that still is so after the test."""
    until(is_ready, what="a ready presque")
    yield booted
    until(is_ready, what="a ready presque after the test")


def is_ready():
    """Whether presque says that it is."""
    client = Client(keeps=False)
    try:
        return client.ask("GET", "/health/ready").status == 200
    except OSError:
        return False
