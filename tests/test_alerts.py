"""The alerts of docs/prometheus-alerts.yaml, in a real Prometheus that scrapes a real app."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.admin_client import TOKENS, served
from tests.conftest import ROOT, wait_until
from tests.example_apps import free_port
from tests.files import write
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts.admin import admin_app

ALERTS = ROOT / "docs/prometheus-alerts.yaml"
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="Prometheus is not installed (Debian: apt-get install prometheus)",
)
CONFIG = """
global: {scrape_interval: 200ms, evaluation_interval: 200ms}
rule_files: [alerts.yaml]
scrape_configs:
  - job_name: app
    authorization: {credentials: the-viewers-token}
    static_configs: [{targets: TARGETS}]
"""


@contextmanager
def prometheus(folder: Path, apps: list[str], rules: str) -> Iterator[str]:
    """A Prometheus that scrapes the apps; its URL."""
    targets = json.dumps([app.removeprefix("http://") for app in apps])
    write(folder, {"alerts.yaml": rules, "prometheus.yml": CONFIG.replace("TARGETS", targets)})
    url = f"127.0.0.1:{free_port()}"
    options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data")
    command = ["prometheus", *options, f"--web.listen-address={url}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            yield f"http://{url}"
        finally:
            process.terminate()
            process.wait(10)


def ask(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]
    except OSError:
        return {}


def promtool(*arguments: str, text: str | None = None, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        ["promtool", *arguments], input=text, capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_prometheus
def test_each_alert_fires_on_a_running_app_and_ends(tmp_path: Path) -> None:
    rules = ALERTS.read_text()
    for slow, quick in (("for: 15m", "for: 0s"), ("for: 5m", "for: 0s"), ("86400", "0.1")):
        assert slow in rules
        rules = rules.replace(slow, quick)
    write(tmp_path, {"prompts/a.yaml": "user: one"})
    with ExitStack() as stack:
        replicas = [
            LivePrompts(
                tmp_path / "prompts", environment="test", store=tmp_path / name, watch=False
            )
            for name in ("one", "two")
        ]
        one, two = [stack.enter_context(prompts) for prompts in replicas]
        apps = [stack.enter_context(served(admin_app(each, TOKENS))) for each in replicas]
        there = stack.enter_context(prometheus(tmp_path / "prometheus", apps, rules))

        def fires(*names: str) -> None:
            def firing() -> bool:
                alerts = ask(f"{there}/api/v1/alerts").get("alerts", [{"labels": {}}])
                return {alert["labels"].get("alertname") for alert in alerts} == set(names)

            wait_until(firing)

        wait_until(lambda: ask(f"{there}/api/v1/query?query=sum(up)==2").get("result"))
        fires()
        write(tmp_path, {"prompts/a.yaml": "user: two"})
        one.publish()
        fires("PromptReplicasDisagree")
        two.publish()
        fires()
        write(tmp_path, {"prompts/a.yaml": "user: {{ x"})
        one.publish()
        fires("PromptEditRefused")
        write(tmp_path, {"prompts/a.yaml": "user: two"})
        one.publish()
        fires()
        for prompts in replicas:
            prompts.activate(prompts.release.id)
        fires("PromptHoldTooLong")
        for prompts in replicas:
            prompts.follow()
        fires()


@needs_prometheus
def test_prometheus_takes_the_rules_and_the_metrics(tmp_path: Path) -> None:
    assert "3 rules found" in promtool("check", "rules", str(ALERTS))
    write(tmp_path, {"prompts/a.yaml": "user: one"})
    with LivePrompts(tmp_path / "prompts", environment="test", store=tmp_path / "s") as prompts:
        # After the first publication.
        metrics = admin_app(prompts, TOKENS).state.admin.metrics
        text = metrics.exposed().decode()
    promtool("check", "metrics", text=text)
    rules = ALERTS.read_text()
    for name in ("edit_refused", "release_info", "held_since_timestamp_seconds"):
        assert f"yamlgraph_prompts_{name}" in rules
        assert f"yamlgraph_prompts_{name}{{" in text


@needs_prometheus
def test_the_alerts_wait_for_as_long_as_they_say(tmp_path: Path) -> None:
    write(tmp_path, {"alerts.yaml": ALERTS.read_text(), "test.yaml": TIMES})
    promtool("test", "rules", "test.yaml", cwd=tmp_path)


TIMES = """
rule_files: [alerts.yaml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'yamlgraph_prompts_edit_refused{job="app", environment="e"}', values: '0x4 1x60'}
      - {series: 'yamlgraph_prompts_held_since_timestamp_seconds{job="app", environment="e"}',
         values: '0x9 600x1600'}
      - {series: 'yamlgraph_prompts_release_info{job="app", environment="e", release="a", i="1"}',
         values: '1x60'}
      - {series: 'yamlgraph_prompts_release_info{job="app", environment="e", release="b", i="2"}',
         values: '0x4 1x60'}
      - {series: 'yamlgraph_prompts_release_info{job="other", environment="e", release="c"}',
         values: '1x60'}
    alert_rule_test:
      - {eval_time: 19m, alertname: PromptEditRefused, exp_alerts: []}
      - {eval_time: 9m, alertname: PromptReplicasDisagree, exp_alerts: []}
      - {eval_time: 1440m, alertname: PromptHoldTooLong, exp_alerts: []}
    promql_expr_test:
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        eval_time: 25m
        exp_samples:
          - {labels: '{alertname="PromptEditRefused"}', value: 1}
          - {labels: '{alertname="PromptReplicasDisagree"}', value: 1}
      - expr: count by (alertname) (ALERTS{alertstate="firing"})
        eval_time: 1452m
        exp_samples:
          - {labels: '{alertname="PromptHoldTooLong"}', value: 1}
"""
