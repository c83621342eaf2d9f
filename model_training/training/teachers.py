"""What finished runs say of images: for their calibration, and as the teachers of new runs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from app.inference.checkpoint import script
from app.inference.network.devices import choose_device
from app.inference.network.encoder import make_encode
from model_training.config import Config
from model_training.model.report_model import ReportModel
from model_training.training.dataset import Examples
from model_training.training.run_folder import load_run

BATCH = 32


def distillation_targets(examples: Examples, config: Config, cache: Path) -> Tensor:
    """Targets f32[N,F+1] for distillation (Hinton et al. 2015, arXiv:1503.02531): the labels moved towards the mean
    probability of the teachers by `teacher_weight`, and that probability where nothing is labelled.

    A teacher that learnt from some sources alone speaks of studies of these; where none speaks, the labels stand.
    Raises OSError when a teacher's run is not there and ValueError when it knows other findings.
    """
    sums, voices = torch.zeros_like(examples.labels), torch.zeros(len(examples), 1)
    for folder in map(Path, config.training.teachers):
        model, tokenizer, own = load_run(folder)
        if own.data.findings != config.data.findings:
            raise ValueError(f"training.teachers: {folder} was trained on other findings")
        known = [i for i, study in enumerate(examples.studies) if study.source in (own.data.sources or (study.source,))]
        studies, texts = [examples.studies[i] for i in known], [examples.texts[i] for i in known]
        if known:
            shown = Examples(studies, texts, tokenizer, own, model, cache)
            sums[known] += finding_logits(model, shown, choose_device("auto")).sigmoid()
            voices[known] += 1
    soft, weight = sums / voices.clamp(min=1.0), config.training.teacher_weight
    softened = torch.where(examples.labels.isnan(), soft, examples.labels.lerp(soft, weight))
    return torch.where(voices > 0, softened, examples.labels)


@torch.inference_mode()
def finding_logits(model: ReportModel, examples: Examples, device: torch.device) -> Tensor:
    """Finding logits f32[N,F+1] of every study, without augmentation, by the fastest encoder the device has."""
    encode = make_encode(script(model.to(device)), "exact", device)
    rows = []
    for _, batch in examples.batches(BATCH):
        there = batch.on_device(device)
        logits = encode(there.images).finding_logits
        rows.append(model.join(model.spread(logits, there.view_mask), there.view_mask).cpu())
    return torch.cat(rows)
