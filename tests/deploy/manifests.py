"""The manifests of deploy/kubernetes as kustomize renders them, and whether they are what Kubernetes takes.

`python -m tests.deploy.manifests` checks every overlay with every set of components, as `make lint` does. It is strict:
a field that no schema has is an error, in resources of KEDA and of prometheus-operator, too. It asks no cluster and
nothing of the network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import kubernetes_validate
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor
from pydantic import BaseModel, ValidationError

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
OVERLAYS = ("cpu", "nvidia")
# One autoscaler at most.
COMPONENTS = ((), ("monitoring",), ("hpa",), ("keda",), ("monitoring", "hpa"), ("monitoring", "keda"))
VERSIONS = ("1.32", "1.37")  # of Kubernetes: the oldest and the newest that is checked for
CUSTOM: dict[tuple[str, str], type[BaseModel]] = {
    ("keda.sh/v1alpha1", "ScaledObject"): ScaledObject,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): ServiceMonitor,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PrometheusRule,
}

Manifest = dict[str, Any]


def renderer() -> list[str] | None:
    """The command that renders a folder: kustomize by itself or kubectl's; None where there is neither."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


def rendered(overlay: str, components: Iterable[str] = ()) -> list[Manifest]:
    """An overlay with components, as a kustomization of somebody's own puts them together."""
    command = renderer()
    if command is None:
        raise FileNotFoundError("neither kustomize nor kubectl is installed")
    with TemporaryDirectory() as folder:
        base = os.path.relpath(KUBERNETES, Path(folder).resolve())
        own = {"resources": [f"{base}/{overlay}"], "components": [f"{base}/components/{one}" for one in components]}
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(own))
        done = subprocess.run([*command, folder], capture_output=True, text=True, check=False)  # noqa: S603  # as above
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return list(yaml.safe_load_all(done.stdout))


def alerts() -> Manifest:
    """The rules of deploy/prometheus as prometheus-operator takes them; docs/kubernetes.md has it as a command."""
    kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "xray-report"}}
    return {**kind, "spec": yaml.safe_load(RULES.read_text())}


def problems(manifest: Manifest) -> Iterator[str]:
    """What is wrong with a manifest, a line each."""
    name = f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"
    if model := CUSTOM.get((manifest.get("apiVersion", ""), manifest.get("kind", ""))):
        try:
            model.model_validate(manifest, strict=True, extra="forbid", by_alias=True, by_name=False)
        except ValidationError as error:
            yield from (f"{name}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{name}: Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{name}: {error.message}"


def main() -> int:
    """Exit status 1 when something is wrong; 0, with a warning, where nothing can render and this is not CI."""
    if renderer() is None:
        print("deploy/kubernetes was not checked: neither kustomize nor kubectl is installed", file=sys.stderr)
        return 1 if os.environ.get("CI") else 0
    found: list[str] = []
    different = [alerts()]
    for overlay in OVERLAYS:
        for components in COMPONENTS:
            try:
                different += [one for one in rendered(overlay, components) if one not in different]
            except ValueError as error:
                found.append(f"{' + '.join((overlay, *components))}: {error}")
    found += [problem for manifest in different for problem in problems(manifest)]
    print("\n".join(found) or f"deploy/kubernetes: {len(different)} manifests are valid")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
