"""What `contrib` has for Prometheus and Grafana: a real Prometheus accepts it, and finds what it asks for."""

import json
import re
import socket
import subprocess
import time
from urllib.parse import quote

import pytest
import pytest_twisted
from programs import ROOT
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of, tool
from twisted.internet.defer import maybeDeferred
from v1 import insert, reserve, settle

from presque.web.prometheus.families import FAMILIES

CONTRIB = ROOT / "contrib"
ALERTS, CASES = (CONTRIB / "alerts.yml").read_text(), (CONTRIB / "alerts_test.yml").read_text()
DASHBOARD = json.loads((CONTRIB / "grafana.json").read_text())
SCRAPING = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}
rule_files: ["{alerts}"]
scrape_configs:
  - job_name: presque
    static_configs: [{{targets: [{targets}]}}]
"""


def promtool(*words):
    done = subprocess.run([tool("promtool"), *words], cwd=CONTRIB, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_alerts_are_rules_that_prometheus_accepts():
    assert "SUCCESS" in promtool("check", "rules", "alerts.yml")


def test_each_alert_fires_when_it_should_and_alone():
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")
    alerts = re.findall(r"(?m)^ +- alert: (\w+)$", ALERTS)
    assert sorted(re.findall(r'alertname="(\w+)"', CASES)) == sorted(alerts)


def expressions():
    """Every expression that must give an answer: of the panels, and of the alerts, where a comparison gives 0 or 1."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "10s").replace("$queue", ".*")
    for expression in re.findall(r"(?m)^ +expr: (?:>-\n)?((?:.+\n)+?) +(?:for|labels): ", ALERTS):
        for part in " ".join(expression.split()).split(" unless "):
            yield re.sub(r" (==|>|<) ", r" \1 bool ", part)


def test_they_ask_for_metrics_that_there_are():
    known = {family.name for family in FAMILIES} | {"up"}
    text = json.dumps(DASHBOARD) + ALERTS
    asked = set(re.findall(r"\b((?:presque|process|python)_\w+?)(?:_sum|_count|_bucket)?\b(?=[\[{ )>]|$)", text))
    assert len(list(expressions())) > 50
    assert asked <= known


@pytest_twisted.async_yield_fixture()
async def two_daemons(redises):
    """Two daemons of a store, and a client of the first."""
    redis = redises("--maxmemory", "100mb", "--maxmemory-policy", "noeviction")
    daemons = [daemon_on(redis.url) for _ in range(2)]
    for daemon in daemons:
        daemon.startService()
        await daemon.started
        daemon.meter.values["presque_certificate_not_after_seconds"] = lambda: time.time() + 86400
    client = Client(port_of(daemons[0]))
    yield daemons, client
    await client.close()
    for daemon in daemons:
        await maybeDeferred(daemon.stopService)


@pytest.fixture
def prometheus(tmp_path):
    """Starts a Prometheus that scrapes these ports; its own port."""
    program, started = tool("prometheus"), []

    def start(*ports):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        targets = ", ".join(f'"127.0.0.1:{each}"' for each in ports)
        (tmp_path / "prometheus.yml").write_text(SCRAPING.format(alerts=CONTRIB / "alerts.yml", targets=targets))
        command = [program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
        command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
        with (tmp_path / "log").open("wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return port

    yield start
    for process in started:
        process.kill()
        process.wait()


async def something_of_everything(client):
    """Jobs that end in every way, and insertions that are refused."""
    await insert(client, 1, 2, 3, 4)
    acked, nacked, released = await reserve(client, max=3)
    await settle(client, "ack", acked)
    await settle(client, "nack", nacked, final=True)
    await settle(client, "release", released)
    await client.get("/q/foo")
    await client.request("PATCH", "/v1/queues/foo", b'{"max_length":1}')
    await client.post("/q/foo", b"{}")
    await client.get("/nowhere")


@awaiting
async def test_every_expression_has_an_answer_in_a_real_prometheus(two_daemons, prometheus):
    daemons, client = two_daemons
    await something_of_everything(client)
    daemons[0].meter.refused(b"POST", 503)  # as while the store is away
    away = Client(prometheus(*map(port_of, daemons)))

    async def asked(expression):
        """The answer, empty until there is one."""
        try:
            answer = await away.get(f"/api/v1/query?query={quote(expression, safe='')}")
        except Exception:  # it is still starting
            return []
        if answer.status != 200:
            assert b"bad_data" not in answer.body, (expression, answer.body)
            return []
        return answer.json["data"]["result"]

    async def both():
        return len(await asked('up{job="presque"} == 1')) == 2

    await eventually(both, "that both are scraped")
    for expression in expressions():
        await eventually(lambda expression=expression: asked(expression), expression)
    (stored,) = await asked('max by (queue) (presque_queue_inserted_total{queue="foo"})')
    assert stored["value"][1] == "4"
    assert await asked('ALERTS{alertstate="firing",alertname="PresqueDown"}') == []
    await away.close()
