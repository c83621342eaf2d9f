"""Putting a model together from its configuration.

A decoder takes all tokens at once for training, and one step with a cache for generation. It has five methods, all
scriptable: `forward` (teacher forcing), `constants` (the keys and values it needs of the memory, once a study),
`allocate` (its cache), `step`, and `attention` (where it looked). Every tensor of keys and values and of the cache has
the study as its first dimension, so that whoever runs the search can hold studies in slots and hand over a prefix.
"""

from __future__ import annotations

from collections.abc import Mapping

from model_training.config import Config
from model_training.data.study import ATTRIBUTES
from model_training.model.encoders import build_encoder
from model_training.model.lstm_decoder import LSTMDecoder
from model_training.model.report_model import ReportModel
from model_training.model.transformer_decoder import TransformerDecoder

DECODERS: Mapping[str, type[TransformerDecoder] | type[LSTMDecoder]] = {
    "transformer": TransformerDecoder,
    "lstm": LSTMDecoder,
}


def build_model(config: Config, vocabulary: int, *, pretrained: bool = False) -> ReportModel:
    """A fresh `ReportModel` for a vocabulary of that many tokens; `pretrained` fetches the encoder's weights.

    Raises ValueError for unknown parts.
    """
    shape = config.model
    encoder = build_encoder(
        shape.encoder, shape.encoder_weights if pretrained else "", shape.output_stride, shape.weights_deviation
    )
    if shape.decoder not in DECODERS:
        raise ValueError(f"unknown decoder {shape.decoder!r}; known: {', '.join(DECODERS)}")
    decoder = DECODERS[shape.decoder](
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
        detail=shape.detail,
        conditioning=shape.conditioning,
        feature_dropout=shape.feature_dropout,
        attributes=len(ATTRIBUTES) if config.training.attribute_weight else 0,
    )
