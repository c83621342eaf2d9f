"""What training minimises: the losses of the tokens, the findings, the views, the boxes around findings, and of what
is known of patient and exposure.

They come as sums with the number of terms beside them, so that a batch taken in pieces, or by several processes, has
exactly the mean it has as a whole.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from app.text.tokenizer import PAD, UNK
from model_training.config import TrainingConfig
from model_training.model.report_model import ReportModel
from model_training.training.dataset import IGNORED, Batch

PARTS = ("tokens", "findings", "views", "boxes", "attributes")


def targets_of(tokens: Tensor) -> Tensor:
    """What to predict at each position of tokens i64[N,T], i64[N,T-1]; padding and unknown words, which are never said,
    are PAD."""
    return tokens[:, 1:].masked_fill(tokens[:, 1:] == UNK, PAD)


def token_loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of logits f32[N,T,V] against targets i64[N,T], summed over those that are no padding."""
    return F.cross_entropy(
        logits.float().flatten(0, 1),
        targets.flatten(),
        ignore_index=PAD,
        label_smoothing=label_smoothing,
        reduction="sum",
    )


def loss_counts(batch: Batch) -> Tensor:
    """Terms f32[5] of each of `PARTS`: words, labels given, views known, boxes, attributes known."""
    given = (
        targets_of(batch.tokens) != PAD,
        ~batch.labels.isnan(),
        batch.views != IGNORED,
        batch.boxes[:, 0] >= 0,
        ~batch.attributes.isnan(),
    )
    return torch.stack([terms.sum() for terms in given]).float()


def loss_sums(model: ReportModel, batch: Batch, label_smoothing: float = 0.0, mixup: float = 0.0) -> Tensor:
    """Summed losses f32[5] of each of `PARTS`; with `mixup`, of images blended by pairs."""
    images, share, other = batch.images, 1.0, None
    if mixup and batch.view_mask.shape[1] == 1:
        draw = float(torch.distributions.Beta(mixup, mixup).sample())
        share, other = max(draw, 1 - draw), torch.randperm(len(images), device=images.device)
        images = share * images + (1 - share) * images[other]
    token_logits, finding_logits, view_logits, evidence, told = model(
        images, batch.view_mask, batch.tokens[:, :-1], batch.facts
    )
    tokens = token_loss(token_logits, targets_of(batch.tokens), label_smoothing)

    def labelled(labels: Tensor, views: Tensor, attributes: Tensor) -> Tensor:
        given = (~labels.isnan()).float()
        findings = F.binary_cross_entropy_with_logits(
            finding_logits.float(), labels.nan_to_num(), weight=given, reduction="sum"
        )
        seen = F.cross_entropy(view_logits.float(), views, ignore_index=IGNORED, reduction="sum")
        return torch.stack([findings, seen, attribute_loss(told.float(), attributes)])

    losses = labelled(batch.labels, batch.views, batch.attributes)
    if other is not None:
        losses = losses * share + labelled(batch.labels[other], batch.views[other], batch.attributes[other]) * (
            1 - share
        )
    return torch.stack([tokens, *losses[:2], box_loss(model, evidence.float(), batch), losses[2]])


def attribute_loss(told: Tensor, attributes: Tensor) -> Tensor:
    """Squared error of the age and cross-entropy of the others of `ATTRIBUTES`, summed over what is known of f32[N,A];
    0 of a model that tells none."""
    if told.shape[1] == 0:
        return told.sum()
    known = ~attributes.isnan()
    truth = attributes.nan_to_num()
    age = F.mse_loss(told[:, :1], truth[:, :1], reduction="none")
    others = F.binary_cross_entropy_with_logits(told[:, 1:], truth[:, 1:], reduction="none")
    return (torch.cat([age, others], 1) * known).sum()


def box_loss(model: ReportModel, evidence: Tensor, batch: Batch) -> Tensor:
    """How much of the evidence f32[B,P,F] for each boxed finding lies outside its box, as -log of the share inside,
    summed over the boxes. The share is that of the softmax over positions, which is what the logit is made of.
    """
    rows, findings = batch.boxes[:, 0].long(), batch.boxes[:, 1].long()
    side = math.isqrt(evidence.shape[1])
    centres = model.first_centre + model.stride * torch.arange(side, device=evidence.device)
    centres = centres * 2 / model.image_size - 1
    down, across = torch.meshgrid(centres, centres, indexing="ij")
    positions = torch.stack([across, down, torch.ones_like(down)]).flatten(1)  # [3,P], in reading order
    changes = batch.changes
    where = changes.affine[rows] @ positions if changes else positions[:2].expand(len(rows), -1, -1)
    corners = batch.boxes[:, 2:].view(-1, 2, 2)
    # A position stands for the cell around it: a box counts where it reaches into the cell.
    distance = (where - corners.mean(1)[..., None]).abs() - (corners[:, 1] - corners[:, 0])[..., None] / 2
    inside = (distance < 1 / side).all(1)
    shares = evidence[rows, :, findings].log_softmax(1)
    # A box that was moved out of the picture says nothing.
    seen = inside.any(1)
    return -shares.masked_fill(~inside, -math.inf)[seen].logsumexp(1).sum()


def objective(sums: Tensor, counts: Tensor, training: TrainingConfig) -> Tensor:
    """The weighted sum of the means that is minimised; a part without terms counts nothing."""
    weights = sums.new_tensor(
        [1.0, training.finding_weight, training.view_weight, training.box_weight, training.attribute_weight]
    )
    return (weights * sums / counts.clamp(min=1.0)).sum()
