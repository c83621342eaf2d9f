"""What is deployed beside the service agrees with it: metric names, grace periods, and a real Prometheus."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.settings import Settings, load_settings
from app.telemetry import Metrics
from app.text.tokenizer import Tokenizer
from model_training.config import Config
from model_training.model.report_model import ReportModel
from tests.app.checkpoints import with_ood_head
from tests.app.pictures import phantom, png
from tests.app.running_server import serving

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
COMPONENTS = DEPLOY / "kubernetes" / "components"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "xray-report.json"
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",), "gauge": ("",)}
PATIENCE = 20.0


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard_queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def exposed() -> set[str]:
    """The names of all series the code can expose."""
    families = Metrics().registry.collect()
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}


def autoscaling() -> list[str]:
    """What KEDA asks of Prometheus, and the metrics of the plain autoscaler, the processor's apart."""
    keda, hpa = (yaml.safe_load((COMPONENTS / name / "autoscaler.yaml").read_text()) for name in ("keda", "hpa"))
    metrics = [metric["pods"]["metric"]["name"] for metric in hpa["spec"]["metrics"] if metric["type"] == "Pods"]
    queries = [one["metadata"]["query"] for one in keda["spec"]["triggers"] if one["type"] == "prometheus"]
    return [*queries, *metrics]


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in rules()), *dashboard_queries(), *autoscaling()])
def test_metric_names(expression: str) -> None:
    """Every metric that a rule, a panel or an autoscaler names is one the service exposes, or one a rule records."""
    named = set(re.findall(r"\b(?:xray_report|process)_[a-z0-9_:]+|\bxray_report:[a-z0-9_:]+", expression))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert named <= exposed() | recorded
    assert named or "up{" in expression


def test_drain_fits_the_grace(tiny_checkpoint: Path) -> None:
    """Whoever stops the composed service waits longer than its drain, and longer than the watchdog for a hung step."""
    compose = yaml.safe_load((DEPLOY / "service.yml").read_text())["services"]["xray-report"]
    settings = load_settings(checkpoint=tiny_checkpoint)
    seconds = int(compose["stop_grace_period"].removesuffix("s"))
    assert seconds > settings.drain_delay_seconds + max(settings.drain_seconds, settings.hang_seconds)


def composed(file: str, profile: str) -> dict[str, dict[str, Any]]:
    """The services of a profile; older versions print those of others, too."""
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    command = ["docker-compose", "-f", file, "--profile", profile, "config"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  # fixed words
    services: dict[str, dict[str, Any]] = yaml.safe_load(done.stdout)["services"]
    return {name: one for name, one in services.items() if profile in one.get("profiles", [profile])}


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.cpu.yml"])
def test_compose_profile(file: str) -> None:
    """Both compose files are valid with the profile `monitoring`, which mounts files that are there."""
    services = composed(file, "monitoring")
    assert set(services) == {"xray-report", "prometheus", "grafana"}
    volumes = [volume for service in services.values() for volume in service.get("volumes", [])]
    mounted = [v.split(":")[0] if isinstance(v, str) else v["source"] for v in volumes]
    assert len(mounted) == 3
    assert all(Path(path).is_dir() for path in mounted)


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.cpu.yml"])
def test_pacs_profile(file: str) -> None:
    """Both are valid with the profile `pacs`, every port bound to this machine, and every variable a setting."""
    services = composed(file, "pacs")
    assert set(services) == {"xray-report", "orthanc", "pacs"}
    ports = [port for service in services.values() for port in service["ports"]]
    assert all(str(port).startswith("127.0.0.1:") or port["host_ip"] == "127.0.0.1" for port in ports)
    given = {name for one in ("xray-report", "pacs") for name in services[one]["environment"]}
    assert given <= {f"XRAY_REPORT_{name.upper()}" for name in Settings.model_fields}
    load_settings(checkpoint=Path("none.pt"), **{
        name.removeprefix("XRAY_REPORT_").lower(): value for name, value in services["pacs"]["environment"].items()
    })  # fmt: skip


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    """Debian's Prometheus with our configuration, its target and its pace changed for the test."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "300ms", "scrape_timeout": "300ms", "evaluation_interval": "300ms"}
    config["rule_files"] = [str(folder / "rules.yml")]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    groups = [group | {"interval": "300ms"} for group in yaml.safe_load(RULES.read_text())["groups"]]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL)  # noqa: S603  # Debian's
    try:
        with httpx.Client(base_url=f"http://{address}/api/v1", trust_env=False, timeout=PATIENCE) as client:
            yield client
    finally:
        process.terminate()
        process.wait(PATIENCE)


def values(client: httpx.Client, query: str) -> list[float]:
    """What an instant query returns, but for what is no number."""
    query = query.replace("$__rate_interval", "30s")
    try:
        answer = client.get("/query", params={"query": query}).json()
    except httpx.TransportError:  # it still starts
        return []
    assert answer["status"] == "success", answer
    found = [float(series["value"][1]) for series in answer["data"]["result"]]
    return [value for value in found if not math.isnan(value)]


def test_with_prometheus(
    tiny_model: ReportModel, tiny_tokenizer: Tokenizer, tiny_config: Config, tmp_path: Path
) -> None:
    """Prometheus scrapes the real server, takes the rules, and every query of the dashboard returns data."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed")
    checkpoint = with_ood_head(tiny_model, tiny_tokenizer, tiny_config, tmp_path / "tiny.pt", chest=4.0)
    with (
        serving(checkpoint) as server,
        prometheus(tmp_path, f"127.0.0.1:{server.port}") as client,
        server.client() as user,
    ):
        # Beside what is asked for by name, what a rule records.
        missing = [*dashboard_queries(), *autoscaling(), "xray_report:requests:rate5m"]
        until = time.monotonic() + PATIENCE
        while missing and time.monotonic() < until:
            assert user.post("/v1/report", files={"image": png(phantom())}).status_code == 200
            assert user.post("/v1/report", files={"image": b"no image"}).status_code == 415
            time.sleep(0.2)
            missing = [query for query in missing if not values(client, query)]
        assert not missing
        loaded = [rule for group in client.get("/rules").json()["data"]["groups"] for rule in group["rules"]]
        assert len(loaded) == len(rules())
        assert {rule["health"] for rule in loaded} == {"ok"}
        assert not [rule["name"] for rule in loaded if rule.get("state") == "firing"]


# Studies an hour, called abnormal and in all: for so many days, then for one more; and whether that is drift.
COURSES = {
    "as before": (9, (30, 100), (30, 100), False),
    "more abnormal": (9, (30, 100), (60, 100), True),
    "fewer abnormal": (9, (30, 100), (5, 100), True),
    "within chance": (9, (30, 100), (32, 100), False),
    "three times the traffic": (9, (30, 100), (90, 300), False),
    "no more traffic": (9, (30, 100), (0, 0), False),
    "hardly any more": (9, (30, 100), (3, 3), False),
    "never any traffic": (9, (0, 0), (0, 0), False),
    "hardly any before": (9, (1, 3), (60, 100), False),
    "not yet a week": (5, (30, 100), (60, 100), False),
}


@pytest.mark.parametrize("course", COURSES)
def test_drift(course: str, tmp_path: Path) -> None:
    """The alert fires when the share called abnormal leaves what the week before had by more than chance, and neither
    without traffic nor without such a week."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    days, before, after, drifts = COURSES[course]
    labels = 'instance="a",job="xray-report",operating_point="balanced"'
    hourly = {"true": (before[0], after[0]), "false": (before[1] - before[0], after[1] - after[0])}
    series = [
        {
            "series": f'xray_report_studies_total{{abnormal="{word}",{labels}}}',
            "values": f"0+{first}x{24 * days} {24 * days * first + then}+{then}x23",
        }
        for word, (first, then) in hourly.items()
    ]
    firing = 'ALERTS{alertname="XrayReportDrift",alertstate="firing"}'
    expected = firing.replace("}", ',job="xray-report",operating_point="balanced",severity="warning"}')
    query = {"expr": firing, "eval_time": f"{days + 1}d", "exp_samples": [{"labels": expected, "value": 1}] * drifts}
    test = {"interval": "1h", "input_series": series, "promql_expr_test": [query]}
    # Evaluated as often as every minute, a week would be more than promtool loads.
    content = {"rule_files": [str(RULES)], "evaluation_interval": "1h", "tests": [test]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(content))
    command = ["promtool", "test", "rules", str(tmp_path / "test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # Debian's
    assert done.returncode == 0, done.stdout + done.stderr
