"""Recording work as CUDA graphs: on a GPU small operations are bound by launching their kernels.

A graph is of fixed tensors and sizes: what it works on must stay where it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

# Records work on fixed tensors; what is returned does it again.
Recorder = Callable[[Callable[[], None]], Callable[[], None]]


class CudaRecorder:
    """Records on a stream of its own, all graphs in one pool of memory: they run one after another."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        """Runs the work first, as recording asks for: libraries prepare themselves at their first calls."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.stream(self._stream):
            for _ in range(3):
                work()
            # Other threads, which prepare images, go on meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            finally:
                graph.capture_end()
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        replay: Callable[[], None] = graph.replay
        return replay
