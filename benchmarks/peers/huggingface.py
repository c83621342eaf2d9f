"""A BART with Hugging Face `generate`: peer of the decoding benchmark, and the oracle of our beam search."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import BartConfig, BartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from app.text.tokenizer import BOS, EOS, PAD


def bart(
    *, vocabulary: int, width: int, layers: int, heads: int, inner: int, positions: int, spread: float = 0.02
) -> BartForConditionalGeneration:
    """Random weights of standard deviation `spread`; the encoder stays unused. `inner` is the width inside the
    feed-forward layers."""
    config = BartConfig(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=1,
        decoder_layers=layers,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=width,
        decoder_ffn_dim=inner,
        max_position_embeddings=positions,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        decoder_start_token_id=BOS,
        forced_eos_token_id=None,
        init_std=spread,
    )
    model = BartForConditionalGeneration(config)
    model.train(False)
    return model


def generate(model: BartForConditionalGeneration, memory: Tensor, **options: object) -> Any:
    """What `generate` returns for ready memories f32[N,P,D] and these options of its own."""
    untyped: Any = model  # its annotation of `generate` does not fit its own models
    return untyped.generate(encoder_outputs=BaseModelOutput(last_hidden_state=memory), do_sample=False, **options)
