"""What training minimises: the losses of the tokens, the findings and the views.

They come as sums with the number of terms beside them, so that a batch taken in pieces, or by several processes, has
exactly the mean it has as a whole.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from app.inference.tokenizer import PAD, UNK
from model_training.config import TrainingConfig
from model_training.dataset import IGNORED, Batch
from model_training.model.report_model import ReportModel

PARTS = ("tokens", "findings", "views")


def targets_of(batch: Batch) -> Tensor:
    """The token i64[N,T-1] to predict at each place; padding and unknown words, which are never said, are PAD."""
    return batch.tokens[:, 1:].masked_fill(batch.tokens[:, 1:] == UNK, PAD)


def loss_counts(batch: Batch) -> Tensor:
    """Terms f32[3] of each of `PARTS`: words, labels given, views known."""
    given = (targets_of(batch) != PAD, ~batch.labels.isnan(), batch.views != IGNORED)
    return torch.stack([terms.sum() for terms in given]).float()


def loss_sums(model: ReportModel, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
    """Summed losses f32[3] of each of `PARTS`."""
    token_logits, finding_logits, view_logits, _ = model(batch.images, batch.view_mask, batch.tokens[:, :-1])
    tokens = F.cross_entropy(
        token_logits.float().flatten(0, 1),
        targets_of(batch).flatten(),
        ignore_index=PAD,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    given = (~batch.labels.isnan()).float()
    findings = F.binary_cross_entropy_with_logits(
        finding_logits.float(), batch.labels.nan_to_num(), weight=given, reduction="sum"
    )
    views = F.cross_entropy(view_logits.float(), batch.views, ignore_index=IGNORED, reduction="sum")
    return torch.stack([tokens, findings, views])


def objective(sums: Tensor, counts: Tensor, training: TrainingConfig) -> Tensor:
    """The weighted sum of the means that is minimised; a part without terms counts nothing."""
    weights = sums.new_tensor([1.0, training.finding_weight, training.view_weight])
    return (weights * sums / counts.clamp(min=1.0)).sum()
