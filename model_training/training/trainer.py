"""The training loop: teacher forcing, one step at a time, that can be stopped and resumed between any two.

What is random in a step (order of the studies, views, augmentation, dropout) follows from the seed, the step and the
process alone. There is no random state to save, and a resumed run takes exactly the steps it would have taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from app.text.tokenizer import Tokenizer
from model_training.config import Config, ConfigError
from model_training.model.encoders import first_layers
from model_training.model.report_model import ReportModel
from model_training.progress import Progress
from model_training.training import run_folder
from model_training.training.dataset import Batch, Examples, prefetch
from model_training.training.distributed import Processes
from model_training.training.history import Entry, best_epoch, exhausted
from model_training.training.interruption import InterruptedRunError, StopRequest
from model_training.training.losses import PARTS, loss_counts, loss_sums, objective
from model_training.training.optimiser import build_optimiser, moving_average, rate_factor, set_rates
from model_training.training.run_log import RunLog
from model_training.training.sampling import epoch_order, study_weights
from model_training.training.validation import validate

LOG_STEPS = 10
MEASURED = (*PARTS, "gradient_norm")  # in every step of training


class DivergedError(Exception):
    """The loss is no finite number any more."""


class Trainer:
    """One training run over the examples of two splits, in a folder of its own."""

    def __init__(
        self,
        config: Config,
        model: ReportModel,
        tokenizer: Tokenizer,
        train: Examples,
        val: Examples,
        folder: Path,
        processes: Processes,
    ) -> None:
        """Raises `ConfigError` when a step has too few studies for every process and piece."""
        self.config, self.training, self.tokenizer = config, config.training, tokenizer
        self.train, self.val = train, val
        self.folder, self.processes = folder, processes
        self.weights = study_weights(
            [study.source for study in train.studies],
            train.labels.numpy().astype(np.float64),
            source_balance=self.training.source_balance,
            class_balance=self.training.class_balance,
        )
        self.fingerprint = train.fingerprint() + val.fingerprint()
        self.steps_per_epoch = math.ceil(len(train) / self.training.batch_size)
        self.steps = self.steps_per_epoch * self.training.epochs
        pieces = processes.count * self.training.accumulation
        if len(train) // self.steps_per_epoch < pieces:
            raise ConfigError(f"training.batch_size: a step has too few studies for {pieces} pieces")
        # In the memory order of the images, or every convolution turns one of the two around.
        self.model = model.to(processes.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types it for tensors alone
        for examples in (train, val):
            examples.keep_on(processes.device)
        self.average = moving_average(self.model, self.training.ema_decay)
        processes.synchronise_batch_norm(self.model)
        self.optimiser = build_optimiser(self.model, self.training)
        self.bfloat16 = processes.bfloat16(self.training.precision)
        self.autocast = torch.autocast(processes.device.type, torch.bfloat16, enabled=self.bfloat16)
        self.step = 0
        self.seconds = 0.0
        self.history: list[Entry] = []
        # What `MEASURED` adds up to in this epoch so far, over all processes, and the number of terms.
        self.sums, self.counts = torch.zeros(2, len(MEASURED), dtype=torch.float64, device=processes.device)
        self.stop = StopRequest()
        self.clock = self.saved_at = time.monotonic()

    def state(self) -> dict[str, Any]:
        """Everything `resume` needs."""
        return {
            "config": self.config.as_dict(),
            "fingerprint": self.fingerprint,
            "step": self.step,
            "seconds": self.seconds + time.monotonic() - self.clock,
            "history": self.history,
            "sums": self.sums,
            "counts": self.counts,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Takes up a state that was saved between two steps."""
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]
        self.sums.copy_(state["sums"])
        self.counts.copy_(state["counts"])
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])

    def fit(self) -> Entry:
        """Trains to the end. Returns the best epoch, whose averaged weights are then in the folder.

        Raises `InterruptedRunError` with the state saved when asked to stop, and `DivergedError`.
        """
        self.processes.wait()  # nobody may write while another still reads the folder
        self.clock = time.monotonic()
        self.save()
        first = self.processes.first
        with (
            StopRequest() as self.stop,
            Progress("train", self.steps, "step", done=self.step, shown=first) as self.progress,
            RunLog(self.folder, self.training.monitor, self.step, active=first) as self.log,
        ):
            while not self.over:
                self._train_epoch(len(self.history))
                self._end_epoch()
            self.log.draw(self.history)
        best = self.history[best_epoch(self.history, self.training.monitor)]
        if first:
            run_folder.finish_run(self.folder, {"best": best, "epochs": len(self.history), "steps": self.step})
        return best

    @property
    def over(self) -> bool:
        """Whether all epochs are done, or the last ones were in vain."""
        return len(self.history) >= self.training.epochs or exhausted(
            self.history, self.training.monitor, self.training.patience
        )

    def save(self) -> None:
        """Saves the state to resume from."""
        self._check_finite()
        if self.processes.first:
            run_folder.save_state(self.folder, self.state())
        self.saved_at = time.monotonic()

    def _train_epoch(self, epoch: int) -> None:
        """The steps of an epoch that are not done yet."""
        frozen = epoch < self.training.frozen_epochs
        self.model.train()
        self.model.encoder.requires_grad_(not frozen)
        self.model.encoder.train(not frozen)  # its batch norms hold still too
        for layer in first_layers(self.model.encoder, self.training.frozen_layers):
            layer.requires_grad_(False).eval()
        for pieces in prefetch(self._batches(epoch)):
            stop = self._train_step(pieces)
            if stop:
                self.save()
                raise InterruptedRunError
            due = self.training.save_steps and self.step % self.training.save_steps == 0
            late = 0 < 60 * self.training.save_minutes <= time.monotonic() - self.saved_at
            if due or late:
                self.save()

    def _batches(self, epoch: int) -> Iterator[list[Batch]]:
        """This process's part of each batch still to come, in pieces. Batches differ by one study at most."""
        order = epoch_order(self.weights, np.random.default_rng((self.training.seed, epoch)))
        for indices in np.array_split(order, self.steps_per_epoch)[self.step - epoch * self.steps_per_epoch :]:
            own = indices[self.processes.rank :: self.processes.count]
            yield [
                self.train.batch(piece.tolist(), (self.training.seed, epoch))
                for piece in np.array_split(own, self.training.accumulation)
            ]

    def _train_step(self, pieces: Sequence[Batch]) -> bool:
        """One step of the optimiser over all pieces and processes. Returns whether any process was asked to stop."""
        own = sum((loss_counts(piece) for piece in pieces), torch.zeros(len(PARTS)))
        *_, stops = counts = self.processes.sum(torch.cat([own, torch.tensor([float(self.stop.received)])]))
        counts = counts[:-1].to(self.processes.device)
        key = (self.training.seed, self.step, self.processes.rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))
        set_rates(self.optimiser, rate_factor(self.step, self.steps, self.training.warm_up))
        sums = torch.zeros_like(counts)
        for piece in pieces:
            with self.autocast:
                there = piece.on_device(self.processes.device)
                losses = loss_sums(self.model, there, self.training.label_smoothing, self.training.mixup)
            objective(losses, counts, self.training).backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            sums += losses.detach()
        self.processes.sum(sums)
        self.processes.sum_gradients(self.model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update_parameters(self.model)
        measured, terms = torch.cat([sums, norm[None]]), torch.cat([counts, torch.ones_like(norm)[None]])
        self.sums += measured
        self.counts += terms
        self.step += 1
        self.progress.advance(self._log(_means(measured, terms)) if self.step % LOG_STEPS == 0 else "")
        return bool(stops)

    def _log(self, values: Mapping[str, float]) -> str:
        """Writes what was measured in a step; returns it for people."""
        self._check_finite()
        self.log.add_step(self.step, {**values, "learning_rate": self.optimiser.param_groups[-1]["lr"]})
        return _shown(values)

    def _end_epoch(self) -> None:
        """Validates, keeps the averaged weights when they are the best so far, and writes down the epoch."""
        self._check_finite()
        averaged = cast(ReportModel, self.average.module)
        val = validate(averaged, self.val, self.tokenizer, self.config, self.processes, self.autocast)
        entry: Entry = {
            "epoch": len(self.history) + 1,
            "step": self.step,
            "seconds": round(self.seconds + time.monotonic() - self.clock, 1),
            "train": _means(self.sums, self.counts),
            "val": val,
        }
        self.history.append(entry)
        self.sums.zero_()
        self.counts.zero_()
        self.progress.say(f"epoch {entry['epoch']}: validation {_shown(val)}")
        if self.processes.first and best_epoch(self.history, self.training.monitor) == len(self.history) - 1:
            run_folder.save_run(self.folder, averaged, self.tokenizer, self.config)
        self.log.add_epoch(self.step, self.history)
        self.save()

    def _check_finite(self) -> None:
        if not bool(self.sums.isfinite().all()):
            raise DivergedError(f"loss or gradient not finite by step {self.step}; lower training.learning_rate")


def _means(sums: Tensor, counts: Tensor) -> dict[str, float]:
    return dict(zip(MEASURED, (sums / counts.clamp(min=1.0)).tolist(), strict=True))


def _shown(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
