"""Validation: the losses, and BLEU-4 of reports written with the beam search that serves."""

from __future__ import annotations

import numpy as np
import torch

from app.inference.encoder_output import EncoderOutput
from app.inference.network.decoder import ArchiveDecoder
from app.inference.options import DecodingOptions
from app.inference.search.beam_batch import search
from app.text.tokenizer import Tokenizer
from model_training.config import Config
from model_training.metrics import r2gen
from model_training.metrics import text as text_metrics
from model_training.model.report_model import ReportModel
from model_training.training.dataset import Batch, Examples
from model_training.training.distributed import Processes
from model_training.training.losses import PARTS, loss_counts, loss_sums


@torch.inference_mode()
def validate(
    model: ReportModel,
    examples: Examples,
    tokenizer: Tokenizer,
    config: Config,
    processes: Processes,
    autocast: torch.autocast,
) -> dict[str, float]:
    """Mean loss of each part over a split, "loss" of tokens and findings, and BLEU-4 where that is the monitor.

    BLEU-4 is that of the R2Gen protocol's cleaning against the training text, with the configuration's decoding.
    """
    writes = config.training.monitor == "BLEU-4"
    sums, counts = torch.zeros(2, len(PARTS), device=processes.device)
    bleu = np.zeros(10)
    for indices, batch in examples.batches(2 * config.training.batch_size, processes.rank, processes.count):
        there = batch.on_device(processes.device)
        with autocast:
            sums += loss_sums(model, there)
        counts += loss_counts(there)
        if writes:
            written = [tokenizer.decode(ids) for ids in generate_tokens(model, there, config.decoding_options)]
            hypotheses, references = (
                [r2gen.clean(" ".join(filter(None, report.values()))) for report in reports]
                for reports in (written, [examples.texts[i] for i in indices])
            )
            bleu += text_metrics.bleu_statistics(references, hypotheses).sum(0)
    means = processes.sum(sums) / processes.sum(counts).clamp(min=1.0)
    values = dict(zip(PARTS, means.tolist(), strict=True))
    values["loss"] = values["tokens"] + config.training.finding_weight * values["findings"]
    if writes:
        values["BLEU-4"] = float(text_metrics.bleu_of(processes.sum(torch.from_numpy(bleu)).numpy())[3])
    return values


@torch.inference_mode()
def generate_tokens(model: ReportModel, batch: Batch, options: DecodingOptions) -> list[tuple[int, ...]]:
    """The best sequence of each study of a batch told the facts of its text, in order: generated ids, eos kept."""
    encoded = EncoderOutput(*model.encode(batch.images))
    memory, view_logits = (model.spread(part, batch.view_mask) for part in (encoded.memory, encoded.view_logits))
    cross_kv = model.begin(memory, view_logits, batch.view_mask, batch.facts)
    found = search(ArchiveDecoder(model), cross_kv, [options] * len(batch.view_mask))
    return [sequences[0].ids for sequences in found]
