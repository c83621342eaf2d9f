"""The configuration for Ray Serve agrees with the code, and Ray takes it as it stands."""

from __future__ import annotations

import importlib
import json
import shlex
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.server.autoscaling import EngineLoad
from app.settings import Settings

ROOT = Path(__file__).parents[2]
RAY = ROOT / "deploy" / "ray"
NEEDS_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed (the extra ray)")


def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((RAY / "serve.yaml").read_text())
    return loaded


def environment() -> dict[str, str]:
    words = shlex.split((RAY / "ray.env").read_text(), comments=True)
    return dict(word.split("=", 1) for word in words)


def test_listens_on_loopback() -> None:
    """Unless changed, Serve's HTTP is for this machine alone, tokens are asked for, what asks for none is off, and
    nothing is reported to Ray."""
    assert config()["http_options"]["host"] == "127.0.0.1"
    assert environment()["RAY_AUTH_MODE"] == "token"
    assert environment()["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment()["RAY_enable_metrics_collection"] == "0"
    with socket.socket() as listener:  # what Ray does with them
        for name in ("DASHBOARD_METRIC_PORT", "AUTOSCALER_METRIC_PORT"):
            with pytest.raises(OverflowError):
                listener.bind(("127.0.0.1", int(environment()[name])))


def test_settings_and_policy() -> None:
    """Its variables are settings, and its policy is ours with arguments that it takes."""
    (application,) = config()["applications"]
    fields = {f"XRAY_REPORT_{name.upper()}" for name in Settings.model_fields}
    assert application["runtime_env"]["env_vars"].keys() <= fields
    policy = application["deployments"][0]["autoscaling_config"]["policy"]
    module, _, name = policy["policy_function"].partition(":")
    assert getattr(importlib.import_module(module), name) is EngineLoad
    EngineLoad(**policy["policy_kwargs"])


# In processes of their own: what Ray imports sets up logging and warnings.
SCHEMA = """
import json, sys
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema
taken = json.loads(ServeDeploySchema(**json.load(sys.stdin)).model_dump_json(exclude_unset=True))
for deployment in taken["applications"][0]["deployments"]:  # whose scaling the schema takes as any mapping
    scaling = AutoscalingConfig(**deployment["autoscaling_config"])
    deployment["autoscaling_config"] = json.loads(scaling.model_dump_json(exclude_unset=True))
print(json.dumps(taken))
"""
NAMES = """
import importlib, os
from app.ray_application import application
from ray.serve._private.utils import call_function_from_import_path
(middleware,) = call_function_from_import_path(os.environ["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"])
print(type(application).__name__, application._bound_deployment.name, middleware.cls.__name__)
"""


def run(code: str, given: str = "", **variables: str) -> str:
    done = subprocess.run(  # noqa: S603  # our own
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT, input=given, capture_output=True, text=True, check=True, env=variables,
    )  # fmt: skip
    return done.stdout.strip().splitlines()[-1]


@NEEDS_RAY
def test_schema() -> None:
    """Ray's own schema takes the configuration, and knows every key of it: it would pass over a misspelt one."""
    taken = json.loads(run(SCHEMA, json.dumps(config())))
    assert list(lost(config(), taken)) == []


@NEEDS_RAY
def test_names(tiny_checkpoint: Path) -> None:
    """What the configuration and the environment name is there, under these names."""
    (application,) = config()["applications"]
    assert application["import_path"] == "app.ray_application:application"
    named = run(NAMES, **environment(), XRAY_REPORT_CHECKPOINT=str(tiny_checkpoint)).split()
    assert named == ["Application", application["deployments"][0]["name"], "ReplayMiddleware"]


def lost(given: Any, taken: Any, where: str = "") -> Any:
    """Keys that are in what was given and not in what was taken of it."""
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(taken, dict) or key not in taken:
                yield f"{where}/{key}"
            else:
                yield from lost(value, taken[key], f"{where}/{key}")
    elif isinstance(given, list):
        for number, value in enumerate(given):
            yield from lost(value, taken[number], f"{where}/{number}")
