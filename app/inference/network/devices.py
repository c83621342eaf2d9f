"""Where a checkpoint runs, and in which precision."""

from __future__ import annotations

import torch

from app.inference.checkpoint import disable_fusers
from app.inference.errors import UnsupportedDeviceError


def choose_device(name: str) -> torch.device:
    """`auto` takes the GPU when there is one; `cuda`, `cuda:1` and `cpu` are taken at their word."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UnsupportedDeviceError(f"unknown device {name!r}") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UnsupportedDeviceError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    if device.type not in ("cpu", "cuda"):
        raise UnsupportedDeviceError(f"device {name!r}: only cpu and cuda are supported")
    return device


def device_name(device: torch.device) -> str:
    """What it is called, and of a GPU its memory."""
    if device.type != "cuda":
        return f"threads of torch: {torch.get_num_threads()}"
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"


def device_reason(name: str, device: torch.device) -> str:
    """Why `choose_device` chose it."""
    if name != "auto":
        return "it is asked for"
    return "there is a GPU, and auto takes it" if device.type == "cuda" else "torch finds no GPU that it can use"


def configure_backend(device: torch.device) -> None:
    """What a GPU needs of the whole process: float32 that is float32, and nothing compiled anew for every shape."""
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.enable_cudnn_sdp(False)
        disable_fusers()


def choose_precision(name: str, device: torch.device) -> str:
    """`exact` is float32; `fast` runs in bfloat16 what is faster so, and needs hardware for it; `auto` is exact, for in
    bfloat16 the company a study is in may round a close call between two words the other way."""
    if name not in ("auto", "exact", "fast"):
        raise UnsupportedDeviceError(f"unknown precision {name!r}; use auto, exact or fast")
    if name == "fast" and not fast_bfloat16(device):
        raise UnsupportedDeviceError(f"precision 'fast': {device} has no bfloat16 arithmetic")
    return "fast" if name == "fast" else "exact"


def precision_reason(name: str, precision: str, device: torch.device) -> str:
    """Why it runs in this precision where `name` is asked for."""
    if name == "fast" and precision == "exact":
        return "fast is asked for, but nothing of this checkpoint runs faster in bfloat16 here"
    if name != "auto":
        return "it is asked for"
    if fast_bfloat16(device):
        return "auto is exact: in bfloat16, which this hardware has, a report may depend on its batch"
    return f"auto is exact; {device.type} has no bfloat16 arithmetic for fast"


def processor_features() -> dict[str, bool]:
    """What this processor has of the instructions that decide how fast a network runs on it."""
    cpu = torch.cpu
    return {
        "AVX2": cpu._is_avx2_supported(),
        "AVX-512": cpu._is_avx512_supported(),
        "AVX-512 BF16": cpu._is_avx512_bf16_supported(),
        "AMX": cpu._is_amx_tile_supported(),
    }


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is done in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
