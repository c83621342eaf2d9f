"""What one replica is to have is said once, in `app/server/autoscaling.py`: whatever scales by it says the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.server.autoscaling import ACTIVE_ROWS, PROCESSOR, QUEUE_DEPTH, TARGETS
from app.settings import load_settings
from benchmarks.capacity.fleet import Autoscaling

ROOT = Path(__file__).parents[2]
COMPONENTS = ROOT / "deploy" / "kubernetes" / "components"


def of_component(name: str) -> Any:
    return yaml.safe_load((COMPONENTS / name / "autoscaler.yaml").read_text())["spec"]


def of_keda() -> dict[str, float]:
    found = {}
    for trigger in of_component("keda")["triggers"]:
        given = trigger["metadata"]
        if trigger["type"] == "cpu":
            found[PROCESSOR] = float(given["value"]) / 100
        else:
            (name,) = re.findall(r"xray_report_(\w+)", given["query"])
            found[name] = float(given["threshold"])
    return found


def of_hpa() -> dict[str, float]:
    found = {}
    for metric in of_component("hpa")["metrics"]:
        if metric["type"] == "Resource":
            found[PROCESSOR] = metric["resource"]["target"]["averageUtilization"] / 100
        else:
            name = metric["pods"]["metric"]["name"].removeprefix("xray_report_")
            found[name] = float(metric["pods"]["target"]["averageValue"])
    return found


def of_ray() -> Any:
    (application,) = yaml.safe_load((ROOT / "deploy" / "ray" / "serve.yaml").read_text())["applications"]
    (deployment,) = application["deployments"]
    return deployment["autoscaling_config"]["policy"]["policy_kwargs"]


def of_simulation() -> dict[str, float]:
    rule = Autoscaling()
    return {QUEUE_DEPTH: rule.queue, ACTIVE_ROWS: rule.rows, PROCESSOR: rule.processor}


def of_page(page: str) -> dict[str, float]:
    text = " ".join((ROOT / "docs" / page).read_text().split())
    (studies,) = re.findall(r"(\d+) (?:waiting studies|studies waiting)\b", text)
    (beams,) = re.findall(r"(\d+) (?:of the \d+ )?beams (?:in flight|busy|on its device)", text)
    (percent,) = re.findall(r"(\d+) % of (?:its|the) processors", text)
    return {QUEUE_DEPTH: float(studies), ACTIVE_ROWS: float(beams), PROCESSOR: float(percent) / 100}


SAID: dict[str, Callable[[], Mapping[str, float]]] = {
    "KEDA": of_keda,
    "HorizontalPodAutoscaler": of_hpa,
    "Ray Serve": of_ray,
    "the simulation": of_simulation,
    "docs/kubernetes.md": lambda: of_page("kubernetes.md"),
    "docs/ray.md": lambda: of_page("ray.md"),
    "docs/capacity.md": lambda: of_page("capacity.md"),
}


@pytest.mark.parametrize("where", SAID)
def test_targets(where: str) -> None:
    """Manifests, Ray's configuration, the capacity model and the pages have the targets of the code."""
    assert SAID[where]() == pytest.approx(TARGETS)


def test_room_for_beams(tiny_checkpoint: Path) -> None:
    """More replicas are asked for before a device is full."""
    assert TARGETS[ACTIVE_ROWS] < load_settings(checkpoint=tiny_checkpoint).max_rows
