"""The LSTM decoder; see `build` for what a decoder has."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_training.model.attention import attention_weights


class LSTMDecoder(nn.Module):
    """LSTM with attention over the memory at every step (Xu et al. 2015, arXiv:1502.03044; input feeding as in Luong et
    al. 2015, arXiv:1508.04025), output weights tied to the embedding."""

    def __init__(
        self, vocabulary: int, max_tokens: int, width: int = 192, layers: int = 1, heads: int = 4, dropout: float = 0.1
    ) -> None:
        """Takes the same arguments as `TransformerDecoder`; `max_tokens` does not bound it."""
        super().__init__()
        self.width = width
        self.heads = heads
        self.dropout = dropout
        self.embedding = nn.Embedding(vocabulary, width)
        self.start = nn.Linear(width, 2 * width * layers)
        self.cells = nn.ModuleList(nn.LSTMCell(2 * width if i == 0 else width, width) for i in range(layers))
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.output = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    @torch.jit.export
    def constants(self, memory: Tensor, memory_mask: Tensor) -> list[Tensor]:
        """Keys and values f32[N,2,M,D], the mask bool[N,M], and the state to start from f32[N,2·layers,D]."""
        weights = memory_mask.to(memory.dtype)[..., None]
        mean = (memory * weights).sum(1) / weights.sum(1)
        keys_values = torch.stack(self.key_value(memory).chunk(2, -1), 1)
        return [keys_values, memory_mask, self.start(mean).unflatten(-1, (-1, self.width)).tanh()]

    @torch.jit.export
    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        """Hidden and cell states and the last output: f32[N,K,2·layers+1,D]."""
        return [self.embedding.weight.new_zeros(studies, beams, 2 * len(self.cells) + 1, self.width)]

    def split(self, x: Tensor) -> Tensor:
        """[...,T,D] to [...,heads,T,D/heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def advance(self, tokens: Tensor, state: Tensor, keys_values: Tensor, memory_mask: Tensor) -> Tensor:
        """The state f32[N,K,2·layers+1,D] after `tokens` i64[N,K]."""
        studies, beams = tokens.shape
        rows = state.flatten(0, 1)
        x = torch.cat([self.embedding(tokens).flatten(0, 1), rows[:, -1]], -1)
        new: list[Tensor] = []
        for i, cell in enumerate(self.cells):
            hidden, memory_cell = cell(x, (rows[:, 2 * i], rows[:, 2 * i + 1]))
            new.append(hidden)
            new.append(memory_cell)
            x = F.dropout(hidden, self.dropout, self.training)
        hidden = x.view(studies, beams, self.width)
        query = self.split(self.query(hidden))
        keys = self.split(keys_values)
        context = F.scaled_dot_product_attention(query, keys[:, 0], keys[:, 1], attn_mask=memory_mask[:, None, None])
        context = context.transpose(1, 2).flatten(2)
        new.append(self.output(torch.cat([hidden, context], -1)).tanh().flatten(0, 1))
        return torch.stack(new, 1).view(studies, beams, -1, self.width)

    def logits(self, x: Tensor) -> Tensor:
        """Vocabulary logits of outputs [...,D]."""
        return F.linear(self.norm(x), self.embedding.weight)

    @torch.jit.export
    def step(
        self,
        tokens: Tensor,
        positions: Tensor,
        ancestors: Tensor,
        cross_kv: list[Tensor],
        kv_cache: list[Tensor],
    ) -> Tensor:
        """One step; a beam takes up the state its parent left. See `ReportModel.decode_step`."""
        studies, beams, _ = ancestors.shape
        before = (positions - 1).clamp(min=0)[:, None, None].expand(studies, beams, 1)
        parents = ancestors.gather(2, before)[..., None].expand(-1, -1, kv_cache[0].shape[2], self.width)
        begun = F.pad(cross_kv[2], [0, 0, 0, 1])[:, None].expand_as(kv_cache[0])
        first = (positions == 0)[:, None, None, None]
        previous = torch.where(first, begun, kv_cache[0].gather(1, parents))
        kv_cache[0].copy_(self.advance(tokens, previous, cross_kv[0], cross_kv[1]))
        return self.logits(kv_cache[0][:, :, -1])

    def forward(self, tokens: Tensor, memory: Tensor, memory_mask: Tensor) -> Tensor:
        """Logits f32[N,T,V] after each of `tokens` i64[N,T], given memory f32[N,M,D] and its mask bool[N,M]."""
        keys_values, mask, start = self.constants(memory, memory_mask)
        state = F.pad(start, [0, 0, 0, 1])[:, None]
        outputs: list[Tensor] = []
        for t in range(tokens.shape[1]):
            state = self.advance(tokens[:, t : t + 1], state, keys_values, mask)
            outputs.append(state[:, :, -1])
        return self.logits(F.dropout(torch.cat(outputs, 1), self.dropout, self.training))

    @torch.jit.export
    def attention(self, tokens: Tensor, cross_kv: list[Tensor]) -> Tensor:
        """See `ReportModel.attention`."""
        keys = self.split(cross_kv[0][:, 0])
        state = F.pad(cross_kv[2], [0, 0, 0, 1])[:, None]
        weights: list[Tensor] = []
        for t in range(tokens.shape[1]):
            state = self.advance(tokens[:, t : t + 1], state, cross_kv[0], cross_kv[1])
            query = self.split(self.query(state[:, :, -3]))  # by the last layer's hidden state
            weights.append(attention_weights(query, keys, cross_kv[1]))
        return torch.cat(weights, 1)
