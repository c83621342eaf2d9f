"""A Ray cluster on this machine with the service on it, and clients of it that do nothing special."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105  # of the test
PATIENCE_SECONDS = 240.0  # where other work has most of the processors, a node takes half a minute to start


def environment() -> dict[str, str]:
    """Of deploy/ray, on loopback, and quick to tell the load."""
    files = (ROOT / "deploy" / "ray" / name for name in ("ray.env", "loopback.env"))
    given = dict(word.split("=", 1) for file in files for word in shlex.split(file.read_text(), comments=True))
    quick = {"RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1", "RAY_agent_register_timeout_ms": "100000"}
    return {**os.environ, **given, **quick, "RAY_AUTH_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}


class Cluster:
    """Commands to the process of the nodes, and what Serve says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: dict[str, Any] = self._answer()

    def do(self, command: str) -> Any:
        assert self.process.stdin
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the nodes' process has ended"
        return json.loads(line)

    def deploy(self, config: dict[str, Any]) -> None:
        self.do(f"deploy {json.dumps(config)}")

    def replicas(self) -> list[dict[str, Any]]:
        return [one for deployment in self._application()["deployments"].values() for one in deployment["replicas"]]

    def until_status(self, status: str) -> None:
        """Waits until the application has it."""
        until = time.monotonic() + PATIENCE_SECONDS
        while (found := self._application()["status"]) != status:
            assert time.monotonic() < until, f"{found}, not {status}"
            time.sleep(0.2)

    def message(self) -> str:
        """What Serve says of the deployment."""
        (deployment,) = self._application()["deployments"].values()
        return str(deployment["message"])

    def _application(self) -> dict[str, Any]:
        application: dict[str, Any] = self.do("details")["applications"].get("xray-report", {"status": ""})
        return application

    def until(self, count: int, fits: Callable[[dict[str, Any]], bool] = lambda replica: True) -> float:
        """Waits until exactly `count` replicas run, all of which fit; the seconds that took."""
        started = time.monotonic()
        while time.monotonic() - started < PATIENCE_SECONDS:
            application = self._application()
            if application["status"] == "RUNNING":
                found = self.replicas()
                if len(found) == count and all(one["state"] == "RUNNING" and fits(one) for one in found):
                    return time.monotonic() - started
            time.sleep(0.2)
        raise AssertionError(f"not {count} replicas: {application}")


@contextmanager
def cluster(nodes: int, **variables: str) -> Iterator[Cluster]:
    """So many nodes, as long as the context lasts."""
    process = subprocess.Popen(  # noqa: S603  # our own
        [sys.executable, "-W", "ignore", "-m", "tests.app.server.ray_nodes", str(nodes)],
        cwd=ROOT, env=environment() | variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Cluster(process)
    finally:
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def configuration(checkpoint: Path, port: int, replicas: int | None, **options: Any) -> dict[str, Any]:
    """deploy/ray/serve.yaml on nodes of one processor; with `replicas` None it scales."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
    config["proxy_location"] = "HeadOnly"  # the nodes share one address
    config["http_options"]["port"] = port
    (application,) = config["applications"]
    given = {"checkpoint": checkpoint, "device": "cpu", "threads": 1, "decode_workers": 1}
    application["runtime_env"]["env_vars"] |= {f"XRAY_REPORT_{name.upper()}": str(one) for name, one in given.items()}
    (deployment,) = application["deployments"]
    deployment |= {"ray_actor_options": {"num_cpus": 1}, "max_replicas_per_node": 1}
    if replicas is not None:
        del deployment["autoscaling_config"]
        deployment["num_replicas"] = replicas
    deployment |= options
    return config


@dataclass(frozen=True, slots=True)
class Answer:
    """When it was there, after so many seconds; status 0 is none."""

    moment: float
    seconds: float
    status: int
    content: dict[str, Any]


class Clients:
    """Post one image again and again, each over a new connection, and never twice for one answer."""

    def __init__(self, port: int, image: bytes, count: int = 4, pause: float = 0.02) -> None:
        self.answers: list[Answer] = []
        self._url, self._image = f"http://127.0.0.1:{port}/v1/report", image
        self._pause, self._stop = pause, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        headers = {"Content-Type": "image/png", "Connection": "close"}
        with httpx.Client(timeout=60, trust_env=False, verify=False, headers=headers) as client:  # noqa: S501  # no TLS
            while not self._stop.wait(self._pause):
                started = time.monotonic()
                try:
                    got = client.post(self._url, content=self._image)
                    content = got.json() if "json" in got.headers["content-type"] else {"text": got.text}
                    said = got.status_code, content
                except httpx.HTTPError as error:
                    said = 0, {"text": repr(error)}
                now = time.monotonic()
                self.answers.append(Answer(now, now - started, *said))

    def wait(self, more: int) -> None:
        """Until there are so many more answers."""
        until, count = time.monotonic() + PATIENCE_SECONDS, len(self.answers) + more
        while len(self.answers) < count:
            assert time.monotonic() < until, "no answers"
            time.sleep(0.05)

    @property
    def lost(self) -> list[Answer]:
        """What was no report."""
        return [one for one in self.answers if one.status != 200]

    @property
    def longest_pause(self) -> float:
        """The longest time without an answer to anybody, in seconds."""
        return max(after.moment - before.moment for before, after in pairwise(self.answers))
