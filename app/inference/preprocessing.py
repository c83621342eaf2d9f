"""From pixels to what an archive's `preprocess` makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.inference.served_model import Image

THREADS = 2


class Preprocessor:
    """Prepares the images of studies on threads of its own."""

    def __init__(self, module: torch.jit.ScriptModule, device: torch.device) -> None:
        """`module` is the archive, on the device."""
        self._module, self._device = module, device
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="preprocess")

    def start(self, images: Sequence[Image], views: Future[Tensor], wanted: Future[Any]) -> None:
        """Resolves `views` to f32[V,1,S,S] of V images, or to what was raised; unless `wanted` is done by then."""
        self._threads.submit(self._prepare, images, views, wanted)

    def close(self) -> None:
        """Finishes what was started."""
        self._threads.shutdown()

    @torch.inference_mode()
    def _prepare(self, images: Sequence[Image], views: Future[Tensor], wanted: Future[Any]) -> None:
        if wanted.done():
            return
        try:
            prepared = [self._module.preprocess(to_unit_range(image).to(self._device)) for image in images]
            views.set_result(torch.stack(prepared))
        except Exception as error:
            views.set_exception(error)


def to_unit_range(image: Image) -> Tensor:
    """Pixels [H,W] as f32 in 0..1: uint8 and uint16 by their full range, float32 as it is."""
    pixels = torch.from_numpy(np.ascontiguousarray(image))
    if pixels.dtype == torch.float32:
        return pixels
    return pixels.float() / torch.iinfo(pixels.dtype).max
