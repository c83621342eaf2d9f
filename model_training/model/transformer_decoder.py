"""The Transformer decoder; see `build` for what a decoder has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_training.model.attention import attention_weights


class DecoderLayer(nn.Module):
    """Pre-norm self-attention, cross-attention and feed-forward (Xiong et al. 2020, arXiv:2002.04745)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.self_norm = nn.LayerNorm(width)
        self.self_qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_q = nn.Linear(width, width)
        self.cross_kv = nn.Linear(width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.ff_norm = nn.LayerNorm(width)
        self.ff_in = nn.Linear(width, 4 * width)
        self.ff_out = nn.Linear(4 * width, width)

    def split(self, x: Tensor) -> Tensor:
        """[N,T,D] to [N,heads,T,D/heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Attention of [N,Q,D] over [N,M,D]; `mask` bool, broadcast to [N,heads,Q,M], True where seen."""
        out = F.scaled_dot_product_attention(self.split(query), self.split(key), self.split(value), attn_mask=mask)
        return out.transpose(1, 2).flatten(2)

    def read_words(self, x: Tensor, causal: Tensor) -> Tensor:
        """Self-attention over all words at once, residual included."""
        query, key, value = self.self_qkv(self.self_norm(x)).chunk(3, -1)
        return x + self.drop(self.self_out(self.attend(query, key, value, causal)))

    def feed_forward(self, x: Tensor) -> Tensor:
        """The position-wise part, before the residual sum."""
        out: Tensor = self.ff_out(F.gelu(self.ff_in(self.ff_norm(x))))
        return out

    def drop(self, x: Tensor) -> Tensor:
        """Dropout on what a sub-layer adds."""
        return F.dropout(x, self.dropout, self.training)


class TransformerDecoder(nn.Module):
    """Pre-norm Transformer decoder with learned positions and output weights tied to the embedding."""

    def __init__(
        self, vocabulary: int, max_tokens: int, width: int = 192, layers: int = 3, heads: int = 4, dropout: float = 0.1
    ) -> None:
        """`max_tokens` bounds the length of a sequence, bos included."""
        super().__init__()
        self.width = width
        self.max_tokens = max_tokens
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(max_tokens, width)
        self.layers = nn.ModuleList(DecoderLayer(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for table in (self.embedding, self.positions):
            nn.init.normal_(table.weight, std=width**-0.5)

    def logits(self, x: Tensor) -> Tensor:
        """Vocabulary logits of hidden states [...,D]."""
        return F.linear(self.norm(x), self.embedding.weight)

    def forward(self, tokens: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """Logits f32[N,T,V] after each of `tokens` i64[N,T], given memory f32[N,M,D] and its mask bool[N,M]."""
        length = tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        seen = memory_mask[:, None, None, :]
        x = self.embedding(tokens) + self.positions.weight[:length]
        for layer in self.layers:
            x = layer.read_words(x, causal)
            key, value = layer.cross_kv(memory).chunk(2, -1)
            query = layer.cross_q(layer.cross_norm(x))
            x = x + layer.drop(layer.cross_out(layer.attend(query, key, value, seen)))
            x = x + layer.drop(layer.feed_forward(x))
        return self.logits(x)

    @torch.jit.export
    def constants(self, memory: Tensor, memory_mask: Tensor) -> list[Tensor]:
        """Cross-attention keys and values f32[N,L,2,M,D] of every layer, and the mask bool[N,M]."""
        keys_values = [torch.stack(layer.cross_kv(memory).chunk(2, -1), 1) for layer in self.layers]
        return [torch.stack(keys_values, 1), memory_mask]

    @torch.jit.export
    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        """Room for self-attention keys and values of `length` steps: f32[N,L,2,length·beams,D], time-major."""
        weight = self.embedding.weight
        return [weight.new_zeros(studies, len(self.layers), 2, length * beams, self.width)]

    @torch.jit.export
    def step(
        self,
        tokens: Tensor,
        positions: Tensor,
        ancestors: Tensor,
        cross_kv: list[Tensor],
        kv_cache: list[Tensor],
    ) -> Tensor:
        """One cached step for K beams of N studies. See `ReportModel.decode_step`.

        Keys and values stay where they were written. A beam sees those of its own history through a mask made of
        `ancestors`, so that reordering beams copies nothing.
        """
        studies, beams, length = ancestors.shape
        steps = torch.arange(length, device=tokens.device)
        own = ancestors[..., None] == torch.arange(beams, device=tokens.device)
        past = (steps <= positions[:, None])[:, None, :, None]
        history = (own & past).flatten(2)[:, None]
        slots = positions[:, None] * beams + torch.arange(beams, device=tokens.device)
        slots = slots[..., None].expand(studies, beams, self.width)
        cross, memory_mask = cross_kv[0], cross_kv[1][:, None, None, :]
        cache = kv_cache[0]
        x = self.embedding(tokens) + self.positions(positions)[:, None]
        for i, layer in enumerate(self.layers):
            query, key, value = layer.self_qkv(layer.self_norm(x)).chunk(3, -1)
            cache[:, i, 0].scatter_(1, slots, key)
            cache[:, i, 1].scatter_(1, slots, value)
            keys, values = cache[:, i, 0, : length * beams], cache[:, i, 1, : length * beams]
            x = x + layer.self_out(layer.attend(query, keys, values, history))
            query = layer.cross_q(layer.cross_norm(x))
            x = x + layer.cross_out(layer.attend(query, cross[:, i, 0], cross[:, i, 1], memory_mask))
            x = x + layer.feed_forward(x)
        return self.logits(x)

    @torch.jit.export
    def attention(self, tokens: Tensor, cross_kv: list[Tensor]) -> Tensor:
        """See `ReportModel.attention`."""
        length = tokens.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        cross, mask = cross_kv[0], cross_kv[1]
        x = self.embedding(tokens) + self.positions.weight[:length]
        total = x.new_zeros(x.shape[0], length, mask.shape[1])
        for i, layer in enumerate(self.layers):
            key, value = cross[:, i, 0], cross[:, i, 1]
            x = layer.read_words(x, causal)
            query = layer.cross_q(layer.cross_norm(x))
            total = total + attention_weights(layer.split(query), layer.split(key), mask)
            x = x + layer.cross_out(layer.attend(query, key, value, mask[:, None, None]))
            x = x + layer.feed_forward(x)
        return total / len(self.layers)
