"""Training: teacher forcing with cross-entropy, finding and view heads beside it."""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from app.inference.generator import choose_device
from app.inference.tokenizer import PAD, UNK, Tokenizer
from model_training.config import Config, ConfigError, TrainingConfig, load_config
from model_training.data import read_collection
from model_training.dataset import IGNORED, Batch, Examples, sections_of
from model_training.model.build import build_model
from model_training.model.report_model import ReportModel
from model_training.run_state import save_run


def losses(model: ReportModel, batch: Batch, training: TrainingConfig) -> dict[str, Tensor]:
    """Token, finding and view loss of a batch, each a mean; unlabelled findings and unknown views do not count."""
    token_logits, finding_logits, view_logits = model(batch.images, batch.view_mask, batch.tokens[:, :-1])
    targets = batch.tokens[:, 1:].masked_fill(batch.tokens[:, 1:] == UNK, PAD)
    token_loss = F.cross_entropy(
        token_logits.float().flatten(0, 1),
        targets.flatten(),
        ignore_index=PAD,
        label_smoothing=training.label_smoothing if model.training else 0.0,
    )
    known = ~batch.labels.isnan()
    finding_loss = F.binary_cross_entropy_with_logits(finding_logits.float()[known], batch.labels[known])
    view_loss = F.cross_entropy(view_logits.float(), batch.views, ignore_index=IGNORED)
    return {"tokens": token_loss, "findings": finding_loss.nan_to_num(), "views": view_loss.nan_to_num()}


def total(parts: dict[str, Tensor], training: TrainingConfig) -> Tensor:
    """The weighted sum that is minimised."""
    return parts["tokens"] + training.finding_weight * parts["findings"] + training.view_weight * parts["views"]


class Averaged:
    """Exponential moving average of a model's parameters, which evaluates better than the last step."""

    def __init__(self, model: ReportModel, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: ReportModel, step: int) -> None:
        """Takes in the parameters after a step; buffers are copied. Early steps are forgotten sooner."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for average, value in zip(self.model.parameters(), model.parameters(), strict=True):
            average.lerp_(value, 1.0 - decay)
        for average_buffer, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            average_buffer.copy_(buffer)


class Trainer:
    """One training run: model, optimiser and schedule over the examples of two splits."""

    def __init__(
        self, config: Config, model: ReportModel, tokenizer: Tokenizer, train: Examples, val: Examples, run: Path
    ) -> None:
        self.config, self.model, self.tokenizer, self.run = config, model, tokenizer, run
        self.train, self.val = train, val
        self.training = config.training
        self.device = choose_device("auto")
        self.model.to(self.device)
        self.average = Averaged(model, decay=0.998)
        self.steps_per_epoch = math.ceil(len(train) / self.training.batch_size)
        self.optimiser = torch.optim.AdamW(self._groups(), lr=self.training.learning_rate, betas=(0.9, 0.98))
        steps = self.steps_per_epoch * self.training.epochs
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, lambda step: self._rate(step, steps))
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=fast_bfloat16(self.device))
        self.writer = SummaryWriter(str(run / "tensorboard"))

    def fit(self) -> float:
        """Trains to the end and keeps the best state by validation loss. Returns that loss."""
        best = math.inf
        with tqdm(total=self.steps_per_epoch * self.training.epochs, desc="train", unit="step") as progress:
            for epoch in range(self.training.epochs):
                self._epoch(epoch, progress)
                parts = self.validate()
                loss = parts["tokens"] + self.training.finding_weight * parts["findings"]
                for name, value in parts.items():
                    self.writer.add_scalar(f"val/{name}", value, epoch + 1)
                shown = ", ".join(f"{name} {value:.3f}" for name, value in parts.items())
                progress.write(f"epoch {epoch + 1}: validation {shown}")
                if loss < best:
                    best = loss
                    save_run(self.run, self.average.model, self.tokenizer, self.config)
        self.writer.close()
        return best

    def validate(self) -> dict[str, float]:
        """Mean losses of the averaged model on the validation split."""
        sums: dict[str, float] = {}
        with torch.inference_mode(), self.autocast:
            for batch in self.val.batches(2 * self.training.batch_size):
                for name, value in losses(self.average.model, self._on_device(batch), self.training).items():
                    sums[name] = sums.get(name, 0.0) + float(value) * len(batch.tokens)
        return {name: value / len(self.val) for name, value in sums.items()}

    def _epoch(self, epoch: int, progress: tqdm[Any]) -> None:
        self.model.train()
        first = epoch * self.steps_per_epoch
        for step, batch in enumerate(self._shuffled(epoch), first):
            with self.autocast:
                parts = losses(self.model, self._on_device(batch), self.training)
            loss = total(parts, self.training)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.clip_norm)
            self.optimiser.step()
            self.schedule.step()
            self.average.update(self.model, step)
            for name, value in parts.items():
                self.writer.add_scalar(f"train/{name}", float(value), step)
            progress.set_postfix({name: f"{float(value):.3f}" for name, value in parts.items()})
            progress.update()

    def _shuffled(self, epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng((self.training.seed, epoch))
        order = rng.permutation(len(self.train))
        for start in range(0, len(order), self.training.batch_size):
            indices = order[start : start + self.training.batch_size].tolist()
            yield self.train.batch(indices, rng, self.training.view_dropout)

    def _on_device(self, batch: Batch) -> Batch:
        images = batch.images.to(self.device, memory_format=torch.channels_last)
        rest = [x.to(self.device) for x in (batch.view_mask, batch.views, batch.labels, batch.tokens)]
        return Batch(images, *rest)

    def _groups(self) -> list[dict[str, Any]]:
        """Weight decay for matrices and kernels only; biases, norms and embeddings go without."""
        decayed = [p for n, p in self.model.named_parameters() if p.ndim > 1 and "embedding" not in n]
        ids = {id(p) for p in decayed}
        rest = [p for p in self.model.parameters() if id(p) not in ids]
        return [
            {"params": decayed, "weight_decay": self.training.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]

    def _rate(self, step: int, steps: int) -> float:
        """Linear warm-up, then a cosine to zero."""
        warm = max(1, round(self.training.warm_up * steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is done in hardware, so that autocast pays."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training train`."""
    parser.add_argument("--data", type=Path, required=True, help="folder of a collection, any layout")
    parser.add_argument("--layout", help="the collection's layout, where it cannot be told")
    parser.add_argument("--config", default="phantom", help="a shipped configuration's name or a TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")


def run(args: argparse.Namespace) -> int:
    """Trains from nothing and leaves the best state in `<out>`."""
    try:
        config = load_config(args.config, args.overrides)
    except ConfigError as error:
        print(f"error: {error}")
        return 2
    torch.manual_seed(config.training.seed)
    collection = read_collection(args.data, args.layout)
    splits = {name: [s for s in collection.split(name) if s.images] for name in ("train", "val")}
    for name, studies in splits.items():
        if not studies:
            print(f"error: {args.data} has no {name} studies with images")
            return 2
    tokenizer = Tokenizer.build(
        (sections_of(study) for study in splits["train"]), config.data.sections, config.data.min_count
    )
    model = build_model(config, len(tokenizer), pretrained=True)
    args.out.mkdir(parents=True, exist_ok=True)
    train, val = (Examples(splits[name], tokenizer, config, model, args.out / "cache") for name in ("train", "val"))
    parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{len(train)} training studies, {len(val)} for validation, {len(tokenizer)} words, {parameters:,} parameters"
    )
    trainer = Trainer(config, model, tokenizer, train, val, args.out)
    loss = trainer.fit()
    print(f"best validation loss {loss:.4f}; state in {args.out}")
    return 0
