"""The files for Prometheus and Grafana, and the page that explains them, against what a master really exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()

SAMPLES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",)}
"""What the names of a metric's samples end with, beyond the metric's own."""


@pytest.fixture(scope="module")
def exported(live) -> dict[str, str]:
    """The kind of each of our metrics, by name."""
    text = live.http.get("/metrics").text
    return dict(re.findall(r"^# TYPE (tunefleet_\w+) (\w+)$", text, re.MULTILINE))


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    return found


def names_in(expressions: list[str]) -> set[str]:
    return {name for expression in expressions for name in re.findall(r"\btunefleet_\w+", expression)}


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel.get("targets", [])]


def test_alerts_and_dashboard_ask_only_for_what_a_master_exports(exported) -> None:
    samples = {name + end for name, kind in exported.items() for end in SAMPLES[kind]}
    asked = names_in([rule["expr"] for rule in rules()]) | names_in(queries())

    assert len(asked) > 20
    assert asked <= samples


def test_the_dashboard_shows_every_metric(exported) -> None:
    shown = names_in(queries())
    unseen = {name for name in exported if not any(sample.startswith(name) for sample in shown)}

    assert unseen == {"tunefleet_build_info"}


def test_every_metric_is_explained_and_nothing_else_is(exported) -> None:
    explained = re.findall(r"^\| `(tunefleet_\w+)` \|", OPERATIONS, re.MULTILINE)

    assert len(explained) == len(set(explained))
    assert set(explained) == set(exported)


def test_every_alert_says_how_bad_it_is_and_has_a_paragraph_on_what_to_do() -> None:
    headings = re.findall(r"^### (\w+)$", OPERATIONS, re.MULTILINE)

    assert [rule["alert"] for rule in rules()] == headings
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_every_panel_has_a_place_of_its_own_and_something_to_show() -> None:
    ids = [panel["id"] for panel in panels()]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels())
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(ids) == len(set(ids))
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23  # a dashboard has 24 columns
    assert all(panel["type"] == "row" or panel["targets"] for panel in panels())


def test_prometheus_is_told_to_scrape_with_a_token_and_to_load_the_rules(live) -> None:
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    [job] = config["scrape_configs"]

    assert config["rule_files"] == ["alerts.yml"]
    assert live.http.get(job["metrics_path"]).status_code == 200
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "tunefleet-token"}
    assert {rule["expr"] for rule in rules() if 'job="' in rule["expr"]} != set()
    assert all(f'job="{job["job_name"]}"' in rule["expr"] for rule in rules() if "job=" in rule["expr"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")
def test_each_alert_fires_on_its_trouble_and_none_on_a_healthy_fleet() -> None:
    ran = subprocess.run(["promtool", "test", "rules", "alerts.test.yml"], cwd=DEPLOY, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
