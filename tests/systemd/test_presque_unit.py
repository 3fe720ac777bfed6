"""The unit as it runs on a Debian: contrib/presque.service and contrib/presque.socket, installed by the package."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from load import until
from programs import ROOT
from traffic import Client, Traffic, insert, payloads

RESTARTS = 20
STATE = "/var/lib/presque"
DISK = 96 << 20  # bytes, of which presque wants 64 MiB free
FILLER = 40  # MiB


def checks():
    """The status of /health/ready, and its checks; 0 and none while nobody answers."""
    try:
        status, value = Client(keeps=False).ask("GET", "/health/ready")
        return status, value["checks"]
    except OSError:
        return 0, {}


def children(machine, pid):
    """The pids, in the machine, of the children of a process there."""
    return machine.said("cat", f"/proc/{pid}/task/{pid}/children").split()


def is_started_again(machine, pid):
    """Whether another main process than `pid` is ready."""
    return machine.fact("MainPID") not in ("0", pid) and checks()[0] == 200


def test_the_unit_that_runs_is_the_one_of_the_checkout_and_its_exposure_is_low(machine):
    for name in ("presque.service", "presque.socket"):
        assert machine.said("systemctl", "is-enabled", name) == "enabled"
        assert machine.said("systemctl", "is-active", name) == "active"
        path = machine.fact("FragmentPath", name)
        assert (machine.tree / path[1:]).read_text() == (ROOT / "contrib" / name).read_text()
        assert machine.fact("DropInPaths", name) == ""
    path = machine.fact("FragmentPath")
    machine.run("systemd-analyze", "security", "--offline=true", "--threshold=11", "--no-pager", path)  # 1.1
    machine.run("systemd-analyze", "verify", path)


def test_it_runs_as_its_own_user_and_says_where_it_serves(machine):
    assert machine.fact("Type") == "notify"
    assert "127.0.0.1:5000" in machine.fact("StatusText")
    assert machine.said("stat", "-c", "%U %a", "/var/lib/presque") == "presque 700"
    assert machine.said("stat", "-c", "%U %G %a", "/etc/presque") == "root presque 750"
    assert machine.said("stat", "-c", "%U", f"/proc/{machine.fact('MainPID')}") == "presque"


def test_twenty_restarts_under_load_refuse_reset_and_lose_nothing(machine):
    traffic = Traffic("restarts")
    with traffic.running():
        for _ in range(RESTARTS):
            machine.run("systemctl", "restart", "presque.service")
    traffic.check(machine.journal())
    assert machine.fact("NRestarts") == "0"


def test_a_daemon_that_hangs_is_ended_by_the_watchdog_and_its_jobs_are_there(machine):
    insert("before it hangs", "hangs")
    pid = machine.fact("MainPID")
    machine.signal("STOP", pid)
    until(lambda: is_started_again(machine, pid), 90, "another daemon")
    assert "Watchdog timeout" in machine.journal()
    assert payloads("hangs") == ["before it hangs"]


def test_a_reload_takes_up_another_level_of_the_log_in_the_same_process(machine):
    pid = machine.fact("MainPID")
    path = machine.tree / "etc" / "presque" / "presque.toml"
    before = path.read_text()
    path.write_text(f'{before}\nlog-level = "debug"\n')
    try:
        machine.run("systemctl", "reload", "presque.service")
        until(lambda: "log level debug" in machine.journal(), what="the line about the level")
    finally:
        path.write_text(before)
        machine.run("systemctl", "reload", "presque.service")
    until(lambda: "log level info" in machine.journal(), what="the line about the level")
    assert machine.fact("MainPID") == pid


def test_a_wrong_setting_is_named_in_the_journal_and_clients_wait_until_it_is_right(machine):
    insert("before the mistake", "mistaken")
    path = machine.tree / "etc" / "presque" / "presque.toml"
    before = path.read_text()
    path.write_text(f'{before}\nlog-levle = "debug"\n')
    try:
        assert machine.run("systemctl", "restart", "presque.service", check=False).returncode != 0
        until(lambda: int(machine.fact("NRestarts")) > 1, what="another try")
        assert "log-levle is not a setting; did you mean log-level?" in machine.journal()
        with ThreadPoolExecutor(1) as pool:  # its thread too is in the machine's network
            waiting = pool.submit(payloads, "mistaken")
            path.write_text(before)
            assert waiting.result() == ["before the mistake"]
    finally:
        path.write_text(before)


def test_redis_is_killed_and_all_is_well_again(machine):
    insert("before Redis was killed", "killed")
    pid = machine.fact("MainPID")
    (server,) = children(machine, pid)
    machine.signal("KILL", server)
    until(lambda: children(machine, pid) not in ([], [server]), what="another Redis")
    until(lambda: checks()[0] == 200, what="a ready presque")
    assert machine.fact("MainPID") == pid
    assert payloads("killed") == ["before Redis was killed"]


@pytest.fixture
def small_disk(machine):
    """Its folder, as we see it: a small disk is mounted there, and presque has started on it. Afterwards the jobs of
    before are there again.
    """
    units = "presque.socket", "presque.service"
    machine.run("systemctl", "stop", *units)
    machine.run("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "tmpfs", STATE)
    try:
        started = machine.run("systemctl", "start", *units, check=False)
        assert started.returncode == 0, f"{started.stdout}\n{machine.journal('--lines=50')}"
        yield
    finally:
        machine.run("systemctl", "stop", *units)
        machine.run("umount", STATE)
        machine.run("systemctl", "start", *units)


def test_a_full_state_directory_refuses_insertions_alone_and_says_so_everywhere(machine, small_disk):
    insert("before the disk was full", "full")
    machine.run("dd", "if=/dev/zero", f"of={STATE}/filler", "bs=1M", f"count={FILLER}")
    until(lambda: "ok" not in checks()[1].get("disk", "ok"), what="the check of the disk")
    assert checks()[0] == 503
    until(lambda: "disk" in machine.fact("StatusText"), what="the status of the unit")
    status, value = Client().ask("POST", "/v1/queues/full/jobs", {"payload": 1})
    assert (status, value["type"]) == (503, "/problems/store-full")
    assert payloads("full") == ["before the disk was full"]
    machine.run("rm", f"{STATE}/filler")
    until(lambda: checks()[0] == 200, what="a ready presque")
    insert("when there is room again", "full")
    machine.run("systemctl", "restart", "presque.service")
    assert payloads("full") == ["when there is room again"]


def test_the_journal_has_its_name_and_no_traceback(machine):
    lines = [json.loads(line) for line in machine.journal("--output=json").splitlines()]
    own = [line for line in lines if line["SYSLOG_IDENTIFIER"] != "systemd"]
    assert {line["SYSLOG_IDENTIFIER"] for line in own} == {"presque"}
    assert {line["PRIORITY"] for line in own} > {"6"}
    assert "Traceback" not in machine.journal()
    assert "dropin.cache" not in machine.journal()
