"""Encoding alone, at batch 8 and on a GPU 64: images a second, random weights, beside the peers and the machine's peak.

The peak is that of a large matrix product measured in the same run. Convolutions at the edges of a network, depthwise
ones above all, cannot reach it; the peers show how near one gets.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from app.inference.checkpoint import script
from app.inference.network.devices import choose_device, configure_backend, fast_bfloat16
from app.inference.network.encoder import make_encode
from benchmarks.results import Row, rates, ratio
from model_training.config import config_from
from model_training.model.build import build_model
from model_training.model.report_model import ReportModel

if TYPE_CHECKING:
    from openvino import InferRequest

BATCHES = {"cpu": (8,), "cuda": (8, 64)}
NETWORKS = {"resnet-small": 160, "mobilenet-v2": 224, "densenet-121": 224, "resnet-101": 224}
IN_SHORT = ("resnet-small", "densenet-121")
EXACT, FAST, TORCH = "ours exact", "ours fast", "torch float32, as the archive"
GEMM = 2048
PEAK_SHARE = 0.8

Contestant = Callable[[Tensor], object]


def contestants(model: ReportModel, images: Tensor) -> dict[str, Contestant]:
    """Name to a function that encodes a batch; peers that are not installed are left out."""
    device = images.device
    module = script(model)
    found: dict[str, Contestant] = {TORCH: module.encode, EXACT: make_encode(module, "exact", device)}
    if fast_bfloat16(device):
        found[FAST] = make_encode(module, "fast", device)
        found["torch bfloat16, channels last"] = _torch_bfloat16(model)
    if device.type == "cpu":
        found |= _from_onnx(model, images)
    return found


def _torch_bfloat16(model: ReportModel) -> Contestant:
    encoder = model.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types it for tensors alone

    def encode(images: Tensor) -> object:
        with torch.autocast(images.device.type, torch.bfloat16):
            return encoder(images.contiguous(memory_format=torch.channels_last))

    return encode


def _from_onnx(model: ReportModel, images: Tensor) -> dict[str, Contestant]:
    """ONNX Runtime and OpenVINO on the network's ONNX export."""
    try:
        import onnx  # noqa: F401 (what the export needs)
        import onnxruntime
        import openvino
    except ImportError as error:
        print(f"{error.name} is not installed: ONNX Runtime and OpenVINO are left out")
        return {}
    with TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "encoder.onnx"
        torch.onnx.export(model.encoder, (images,), path, dynamo=False)
        network = path.read_bytes()
    threads = torch.get_num_threads()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    found: dict[str, Contestant] = {"ONNX Runtime float32": lambda x: session.run(None, {name: x.numpy()})}
    core = openvino.Core()
    graph = core.read_model(io.BytesIO(network))
    for precision in ("f32", "bf16"):
        settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        request = core.compile_model(graph, "CPU", settings).create_infer_request()
        found[f"OpenVINO {precision}"] = partial(_infer, request)
    return found


def _infer(request: InferRequest, images: Tensor) -> object:
    return request.infer([images.numpy()], share_inputs=True)


def run(rounds: int, short: bool) -> list[Row]:
    """Contestants and the bare matrix products take turns."""
    rows = []
    device = choose_device("auto")
    configure_backend(device)
    for name, size in NETWORKS.items():
        if short and name not in IN_SHORT:
            continue
        torch.manual_seed(0)
        config = config_from({"model": {"encoder": name, "image_size": size}, "data": {"findings": ["any"]}})
        model = build_model(config, 100).eval().to(device)
        for batch in BATCHES[device.type]:
            images = torch.rand(batch, 1, size, size, device=device)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                model.encoder(images)
            flop = counter.get_total_flops() / batch
            runners = contestants(model, images)
            rows += _rows(f"{name} {size} px, batch {batch}", measure(runners, images, rounds), flop)
    return rows


def measure(runners: dict[str, Contestant], images: Tensor, rounds: int) -> dict[str, list[float]]:
    """Images a second of each contestant, and FLOP a second of matrix products, round by round."""
    measured: dict[str, list[float]] = {name: [] for name in (*runners, "float32", "bfloat16")}
    for turn in range(rounds + 1):
        for name, runner in runners.items():
            with torch.inference_mode():
                seconds = _seconds(partial(runner, images))
            if turn:
                measured[name].append(len(images) / seconds)
        for kind in ("float32", "bfloat16"):
            matrix = torch.rand(GEMM, GEMM, device=images.device, dtype=getattr(torch, kind))
            seconds = _seconds(partial(torch.matmul, matrix, matrix))
            if turn:
                measured[kind].append(2 * GEMM**3 / seconds)
    return measured


def _seconds(work: Callable[[], object]) -> float:
    """The least of a few runs: what the machine can do between two disturbances."""
    best = float("inf")
    for _ in range(4):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best


def _rows(label: str, measured: dict[str, list[float]], flop: float) -> list[Row]:
    peaks = {kind: measured.pop(kind) for kind in ("float32", "bfloat16")}
    rows = [rates(f"{label}: {name}", "images/s", values) for name, values in measured.items()]
    for ours, kind, peak in ((EXACT, "float32", peaks["float32"]), (FAST, "bfloat16", peaks["bfloat16"])):
        if ours not in measured:
            continue
        speed = [flop * value for value in measured[ours]]
        rows.append(ratio(f"{label}: {ours} / {kind} GEMM peak", speed, peak, "GEMM", PEAK_SHARE))
        peers = {name: values for name, values in measured.items() if not name.startswith("ours")}
        if ours == EXACT:
            peers = {name: values for name, values in peers.items() if "32" in name}
        best = max(peers, key=lambda name: sum(peers[name]))
        note = f"best peer: {best}"
        rows.append(ratio(f"{label}: {ours} / best peer", measured[ours], peers[best], best, 1.0, note))
    return rows
