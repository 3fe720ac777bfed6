"""The package on a Debian: installed, upgraded under load, removed and purged."""

import subprocess

import pytest
from load import until
from traffic import Traffic, insert, payloads

LARGEST = 15_000_000  # bytes
CONFIGURATION = "/etc/presque/presque.toml"


@pytest.fixture
def newer(booted, tmp_path):
    """The path, in the machine, of the same package with a later version."""
    there = booted.tree / "root"
    folder = tmp_path / "package"
    subprocess.run(["dpkg-deb", "--raw-extract", there / "presque.deb", folder], check=True)
    control = folder / "DEBIAN" / "control"
    control.write_text(control.read_text().replace("Version: ", "Version: 9999."))
    subprocess.run(["dpkg-deb", "--build", "-Znone", folder, there / "newer.deb"], check=True, capture_output=True)
    return "/root/newer.deb"


def version(machine):
    return machine.said("dpkg-query", "--show", "--showformat=${Version}", "presque")


def test_the_package_is_small_and_needs_the_python_of_its_release(deb):
    assert deb.stat().st_size <= LARGEST
    fields = subprocess.check_output(["dpkg-deb", "--field", deb], text=True)
    assert "+deb13" in deb.name
    assert "python3 (>= 3.13), python3 (<< 3.14)" in fields


def test_installed_it_runs_on_loopback_alone_and_is_enabled(machine):
    assert "Setting up presque" in machine.installation
    for name in ("presque.service", "presque.socket"):
        assert machine.said("systemctl", "is-enabled", name) == "enabled"
    assert machine.said("systemctl", "is-active", "presque.service") == "active"
    listening = machine.said("cat", "/proc/net/tcp", "/proc/net/tcp6").splitlines()
    places = {fields[1] for fields in map(str.split, listening) if fields[3] == "0A"}  # TCP_LISTEN
    assert places == {"0100007F:1388"}  # 127.0.0.1:5000
    assert machine.said("systemctl", "list-units", "--failed", "--quiet", "--plain") == ""


def test_the_configuration_is_the_administrators(machine):
    conffiles = machine.said("dpkg-query", "--show", "--showformat=${Conffiles}", "presque")
    assert CONFIGURATION in conffiles
    assert machine.said("stat", "-c", "%U %G %a", CONFIGURATION) == "root presque 640"


def test_an_upgrade_under_load_refuses_no_client_and_keeps_jobs_and_configuration(machine, newer):
    insert("before the upgrade")
    path = machine.tree / CONFIGURATION[1:]
    path.write_text(f"{path.read_text()}# a line of the administrator\n")
    pid, since = machine.fact("MainPID"), machine.fact("ActiveEnterTimestampMonotonic", "presque.socket")
    traffic = Traffic("upgrade")
    with traffic.running():
        machine.run("dpkg", "-i", newer)
        until(lambda: machine.fact("MainPID") != pid and machine.fact("ActiveState") == "active", what="another daemon")
    traffic.check(machine.journal())
    assert version(machine).startswith("9999.")
    assert machine.fact("ActiveEnterTimestampMonotonic", "presque.socket") == since
    assert path.read_text().endswith("# a line of the administrator\n")
    assert payloads() == ["before the upgrade"]


def test_purged_it_leaves_the_jobs_and_installed_again_it_has_them(machine):
    insert("before the purge")
    (machine.tree / "etc" / "presque" / "tokens").write_text("# the administrator's\n")
    said = machine.said("dpkg", "--purge", "presque")
    assert "rm -r /var/lib/presque" in said
    assert machine.run("systemctl", "is-active", "presque.socket", check=False).stdout.strip() == "inactive"
    assert not (machine.tree / "opt" / "presque").exists()
    assert not (machine.tree / CONFIGURATION[1:]).exists()
    assert (machine.tree / "etc" / "presque" / "tokens").exists()
    assert (machine.tree / "var" / "lib" / "presque" / "engine").exists()
    machine.run("dpkg", "-i", "/root/presque.deb")
    assert payloads() == ["before the purge"]
