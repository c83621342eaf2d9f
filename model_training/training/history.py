"""The course of a run, an entry an epoch: what the best epoch is, when to give up, and the curves as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.inference.files import write_atomically

Entry = dict[str, Any]  # epoch, step, seconds, learning_rate, and the values of "train" and "val" by name
RISING = frozenset({"BLEU-4"})  # values of which more is better


def best_epoch(entries: Sequence[Entry], monitor: str) -> int:
    """Index of the epoch with the best validation value, the first of equals."""
    sign = -1 if monitor in RISING else 1
    return min(range(len(entries)), key=lambda i: sign * entries[i]["val"][monitor])


def exhausted(entries: Sequence[Entry], monitor: str, patience: int) -> bool:
    """Whether the last `patience` epochs were no better than one before; never with patience 0."""
    return 0 < patience < len(entries) - best_epoch(entries, monitor) if entries else False


def draw_curves(path: Path, entries: Sequence[Entry], monitor: str) -> None:
    """Writes a PNG: every validation value by epoch, the training values beside it, and the best epoch; without those
    that are 0 throughout, for what there was nothing to learn from."""
    from matplotlib.figure import Figure  # takes seconds to import, which a start need not wait for

    parts = [entry[split] for entry in entries for split in ("train", "val")]
    names = [name for name in entries[0]["val"] if name == monitor or any(part.get(name) for part in parts)]
    figure = Figure(figsize=(4 * len(names), 3.2), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    epochs = [entry["epoch"] for entry in entries]
    best = entries[best_epoch(entries, monitor)]["epoch"]
    for name, axis in zip(names, axes, strict=True):
        for split, style in (("train", "C0--"), ("val", "C1-")):
            if name in entries[0][split]:
                axis.plot(epochs, [entry[split][name] for entry in entries], style, marker=".", label=split)
        axis.axvline(best, color="grey", linewidth=0.8)
        axis.set(title=name, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    write_atomically(path, picture.getvalue())
