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


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is done in hardware."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
