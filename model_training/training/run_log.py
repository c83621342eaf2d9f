"""What a run writes of its course: TensorBoard by step, the history by epoch, and its curves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from model_training.training import run_folder
from model_training.training.history import Entry, draw_curves

CURVE_SECONDS = 60.0


class RunLog:
    """Writes into the folder of a run until it is closed, as a context; nothing when not `active`."""

    def __init__(self, folder: Path, monitor: str, step: int, *, active: bool) -> None:
        """`step` is the one that is next; what TensorBoard knows of later ones is lost."""
        self.folder, self.monitor, self.active = folder, monitor, active
        self._writer = SummaryWriter(str(folder / run_folder.TENSORBOARD), purge_step=step) if active else None
        self._drawn_at = time.monotonic()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer:
            self._writer.close()

    def add_step(self, step: int, values: Mapping[str, float]) -> None:
        """What was measured in a step."""
        self._add("train", step, values)

    def add_epoch(self, step: int, history: Sequence[Entry]) -> None:
        """The last entry of the history; curves are drawn now and then."""
        if self.active:
            run_folder.write_history(self.folder, history)
            self._add("val", step, history[-1]["val"])
            if time.monotonic() - self._drawn_at > CURVE_SECONDS:
                self.draw(history)

    def draw(self, history: Sequence[Entry]) -> None:
        """The curves of the history."""
        if self.active:
            draw_curves(self.folder / run_folder.CURVES, history, self.monitor)
            self._drawn_at = time.monotonic()

    def _add(self, part: str, step: int, values: Mapping[str, float]) -> None:
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(f"{part}/{name}", value, step)
