"""What the decoders' attention shares."""

from __future__ import annotations

from torch import Tensor


def attention_weights(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """What `scaled_dot_product_attention` weighs values by: f32[N,Q,M], the mean over heads, of queries [N,heads,Q,D]
    over keys [N,heads,M,D]; `mask` is bool[N,M]."""
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    return scores.masked_fill(~mask[:, None, None], float("-inf")).softmax(-1).mean(1)
