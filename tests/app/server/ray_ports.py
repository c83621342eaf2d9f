"""What the processes of a Ray cluster listen on, and what it says to who has no token."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

# One call of each of Ray's services, and of Serve's between replicas; the empty message is one of each.
CALLS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Push",
    "/ray.rpc.CoreWorkerService/PushTask",
    "/ray.rpc.ReporterService/GetTraceback",
    "/ray.rpc.RayletDriver/ClusterInfo",
    "/ray.serve.ASGIService/HandleRequestWithRejection",
)
PATIENCE_SECONDS = 20.0


def listening(root: int) -> list[tuple[str, str]]:
    """Address and process name of every TCP port that a process or one that came of it listens on."""
    if shutil.which("ss") is None:
        pytest.skip("ss (iproute2) is not installed")
    ours = family(root)
    lines = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: S607
    found = []
    for line in lines:
        address = line.split()[3]
        owners = {int(pid) for pid in re.findall(r"pid=(\d+)", line)} & ours
        found += [(address, name(min(owners)))] if owners else []
    return found


def refuses(address: str) -> bool:
    """Whether a port answers neither requests nor calls without a token."""
    port = address.rpartition(":")[2]
    try:
        got = httpx.get(f"http://127.0.0.1:{port}/api/jobs/", timeout=PATIENCE_SECONDS, trust_env=False)
    except httpx.HTTPError:  # no HTTP/1.1
        return _calls_refused(port)
    return got.status_code == 401


def _calls_refused(port: str) -> bool:
    import grpc

    codes = set()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        for call in CALLS:
            try:
                channel.unary_unary(call)(b"", timeout=PATIENCE_SECONDS)
            except grpc.RpcError as error:
                codes.add(error.code())
            else:
                codes.add(grpc.StatusCode.OK)
    return codes == {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED}


def family(root: int) -> set[int]:
    """A process and all that came of it."""
    children = defaultdict(set)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            children[int(stat.read_text().rpartition(")")[2].split()[1])].add(int(stat.parent.name))
    found, waiting = set(), {root}
    while waiting:
        found.add(pid := waiting.pop())
        waiting |= children[pid] - found
    return found


def name(pid: int) -> str:
    """What a process calls itself; of Ray's, the class of the actor."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0].strip()
    except OSError:  # it is gone
        return ""
    return re.split("[:.](?=[a-z])", command.removeprefix("ray::"))[0]
