"""The manifests of deploy/kubernetes fit together, and fit the service that they run."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings, load_settings
from benchmarks.envoy import CONFIGURATION
from tests.deploy.manifests import KUBERNETES, OVERLAYS, Manifest, problems, rendered, renderer

pytestmark = pytest.mark.skipif(renderer() is None, reason="neither kustomize nor kubectl is installed")


def of(manifests: list[Manifest], kind: str, name: str) -> Any:
    (found,) = (one for one in manifests if one["kind"] == kind and one["metadata"]["name"] == name)
    return found


def container(deployment: Manifest) -> Any:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def gateway() -> Any:
    return yaml.safe_load(CONFIGURATION.read_text())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_server_pod(overlay: str, tiny_checkpoint: Path) -> None:
    """A server's pod has no rights, settings that there are, probes of which readiness fails before liveness, and the
    time to drain."""
    server = of(rendered(overlay), "Deployment", "xray-report")
    pod, one = server["spec"]["template"]["spec"], container(server)
    assert pod["enableServiceLinks"] is False  # which would set XRAY_REPORT_PORT
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert one["securityContext"]["readOnlyRootFilesystem"] is True
    assert one["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert one["startupProbe"]["httpGet"]["path"] == one["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert one["livenessProbe"]["httpGet"]["path"] == "/livez"
    given = {variable["name"].removeprefix("XRAY_REPORT_").lower(): variable["value"] for variable in one["env"]}
    assert given.keys() <= Settings.model_fields.keys()
    settings = load_settings(checkpoint=tiny_checkpoint, **given)
    drain = settings.drain_delay_seconds + max(settings.drain_seconds, settings.hang_seconds)
    assert pod["terminationGracePeriodSeconds"] > drain
    assert int(one["resources"]["requests"]["cpu"]) == settings.threads + 1
    assert one["resources"]["limits"].get("nvidia.com/gpu") == (1 if overlay == "nvidia" else None)


def test_gateway_fits_the_service(tiny_checkpoint: Path) -> None:
    """The gateway takes and keeps what a server takes, waits as long as a server may take, and gives up connections
    before a server does."""
    settings = load_settings(checkpoint=tiny_checkpoint)
    (reports, _), (servers, _) = (gateway()["static_resources"][part] for part in ("listeners", "clusters"))
    manager = reports["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    (buffer,) = (one for one in manager["http_filters"] if one["name"] == "envoy.filters.http.buffer")
    assert buffer["typed_config"]["max_request_bytes"] == settings.max_body_bytes
    assert host["request_body_buffer_limit"] == settings.max_body_bytes
    assert seconds(manager["request_headers_timeout"]) == settings.receive_deadline_seconds
    assert seconds(manager["request_timeout"]) == 2 * settings.receive_deadline_seconds
    assert seconds(host["routes"][-1]["route"]["timeout"]) > 2 * settings.request_deadline_seconds
    (thresholds,) = servers["circuit_breakers"]["thresholds"]
    assert thresholds["retry_budget"]["min_retry_concurrency"] == settings.max_requests
    (protocol,) = servers["typed_extension_protocol_options"].values()
    assert seconds(protocol["common_http_protocol_options"]["idle_timeout"]) < 5  # uvicorn's


def test_gateway_and_servers_find_each_other() -> None:
    """The name and ports that the gateway knows are those of the manifests, which mount the very file that the tests
    run; and only it and Prometheus reach a server."""
    manifests = rendered("cpu")
    configuration = gateway()
    ports = {
        one["name"]: one["address"]["socket_address"]["port_value"]
        for one in configuration["static_resources"]["listeners"]
    }
    (endpoint,) = configuration["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    headless = of(manifests, "Service", endpoint["endpoint"]["address"]["socket_address"]["address"])["spec"]
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True
    assert headless["ports"][0]["port"] == endpoint["endpoint"]["address"]["socket_address"]["port_value"]
    envoy = of(manifests, "Deployment", "xray-report-gateway")
    pod = envoy["spec"]["template"]["spec"]
    assert {one["name"]: one["containerPort"] for one in container(envoy)["ports"]} == {
        "http": ports["reports"],
        "monitoring": ports["monitoring"],
    }
    (volume,) = pod["volumes"]
    mounted = of(manifests, "ConfigMap", volume["configMap"]["name"])["data"]["envoy.yaml"]
    assert mounted == CONFIGURATION.read_text()
    assert str(configuration["admin"]["address"]["socket_address"]["port_value"]) in str(container(envoy)["lifecycle"])
    policy = of(manifests, "NetworkPolicy", "xray-report")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= headless["selector"].items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy


def test_gateway_outlives_its_last_request() -> None:
    """The gateway is told to end after the time that a report may take, and is given that time."""
    envoy = of(rendered("cpu"), "Deployment", "xray-report-gateway")
    script = container(envoy)["lifecycle"]["preStop"]["exec"]["command"][-1]
    pause = int(re.search(r"^sleep (\d+)$", script, re.MULTILINE)[1])  # type: ignore[index]  # it is there
    arguments = container(envoy)["args"]
    assert int(arguments[arguments.index("--drain-time-s") + 1]) <= pause
    assert pause < envoy["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("autoscaler", ["hpa", "keda"])
def test_autoscaler_owns_the_number(autoscaler: str) -> None:
    """With an autoscaler no manifest says how many servers there are."""
    assert "replicas" not in of(rendered("nvidia", [autoscaler]), "Deployment", "xray-report")["spec"]
    assert of(rendered("nvidia"), "Deployment", "xray-report")["spec"]["replicas"] == 2


def mistaken(change: str) -> Manifest:
    """A manifest with a mistake of each kind that the check must see."""
    manifests = {one["kind"]: one for one in copy.deepcopy(rendered("cpu", ("keda", "monitoring")))}
    deployment = of(rendered("cpu"), "Deployment", "xray-report")
    match change:
        case "unknown field":
            deployment["spec"]["template"]["spec"]["containers"][0]["imagePullpolicy"] = "Always"
            return deployment  # type: ignore[no-any-return]
        case "wrong type":
            deployment["spec"]["replicas"] = "two"
            return deployment  # type: ignore[no-any-return]
        case "unknown kind":
            return manifests["Service"] | {"apiVersion": "v2"}
        case "unknown field of KEDA":
            manifests["ScaledObject"]["spec"]["triggers"][0]["meta"] = {}
            return manifests["ScaledObject"]
        case "wrong type of KEDA":
            manifests["ScaledObject"]["spec"]["minReplicaCount"] = "2"
            return manifests["ScaledObject"]
        case "other spelling of KEDA":
            manifests["ScaledObject"]["spec"]["polling_interval"] = 5
            return manifests["ScaledObject"]
        case "unknown field of Prometheus":
            manifests["ServiceMonitor"]["spec"]["endpoints"][0]["scheme_"] = "http"
    return manifests["ServiceMonitor"]


@pytest.mark.parametrize(
    "change",
    [
        "unknown field",
        "wrong type",
        "unknown kind",
        "unknown field of KEDA",
        "wrong type of KEDA",
        "other spelling of KEDA",
        "unknown field of Prometheus",
    ],
)
def test_check_is_strict(change: str) -> None:
    """What `make lint` checks the manifests with finds a field that there is not, and a value of the wrong type."""
    assert list(problems(mistaken(change)))


def test_every_folder_is_checked() -> None:
    """No overlay and no component is left out of the check."""
    from tests.deploy.manifests import COMPONENTS

    folders = {path.parent.relative_to(KUBERNETES).as_posix() for path in KUBERNETES.rglob("kustomization.yaml")}
    checked = {f"components/{one}" for components in COMPONENTS for one in components}
    assert folders == {"base", *OVERLAYS, *checked}


def seconds(duration: str) -> float:
    """Of protobuf's notation, as in 0.25s."""
    return float(duration.removesuffix("s"))
