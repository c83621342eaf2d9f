"""Putting a model together from its configuration."""

from __future__ import annotations

from typing import Any

from model_training.config import Config
from model_training.model.decoders import TransformerDecoder
from model_training.model.encoders import build_encoder
from model_training.model.report_model import ReportModel


def build_model(config: Config, vocabulary: int) -> ReportModel:
    """A fresh `ReportModel` for a vocabulary of that many tokens. Raises ValueError for unknown parts."""
    shape = config.model
    encoder: Any = build_encoder(shape.encoder)
    decoder = TransformerDecoder(
        vocabulary,
        max_tokens=shape.max_new_tokens,
        width=shape.width,
        layers=shape.layers,
        heads=shape.heads,
        dropout=shape.dropout,
    )
    return ReportModel(
        encoder,
        decoder,
        image_size=shape.image_size,
        channels=encoder.channels,
        width=shape.width,
        findings=len(config.data.findings),
        condition_on_findings=shape.condition_on_findings,
    )
