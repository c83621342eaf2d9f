"""The decoder as the engine drives it: one step for all lanes, the archive's own way or a faster one.

`ArchiveDecoder` calls the archive's `decode_step` lane by lane: contract and oracle. `PackedDecoder` runs the same
Transformer weights repacked for the processor, the matrix products of all lanes in one, so that studies of different
widths share each reading of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class LaneStep:
    """One lane's part of a step, as `ReportModel.decode_step` takes it: tokens i64[N,K], positions i64[N], ancestors
    i64[N,K,T], and the slot tables' active prefix."""

    tokens: Tensor
    positions: Tensor
    ancestors: Tensor
    constants: list[Tensor]
    state: list[Tensor]


class Decoder(Protocol):
    """What the engine asks of a decoder."""

    def prepare(self, constants: list[Tensor]) -> list[Tensor]:
        """What is kept of the archive's per-study constants, study first."""
        ...

    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        """State for `studies` × `beams` sequences of up to `length` steps, study first."""
        ...

    def step(self, lanes: Sequence[LaneStep]) -> list[Tensor]:
        """Logits f32[N,K,V] of each lane; states are written in place."""
        ...


class ArchiveDecoder:
    """The archive's own decoder."""

    def __init__(self, module: torch.jit.ScriptModule) -> None:
        self._module = module

    def prepare(self, constants: list[Tensor]) -> list[Tensor]:
        return constants

    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        state: list[Tensor] = self._module.allocate(studies, beams, length)
        return state

    def step(self, lanes: Sequence[LaneStep]) -> list[Tensor]:
        return [
            self._module.decode_step(lane.tokens, lane.positions, lane.ancestors, lane.constants, lane.state)
            for lane in lanes
        ]


class PackedLinear:
    """A matrix product with its weight in oneDNN's blocked layout, reordered once instead of at every call."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, activation: str = "none") -> None:
        self.dtype = dtype
        self._bias = None if bias is None else bias.to(dtype)
        self._activation = activation
        onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self._packed = not weight.is_cuda and onednn
        self._weight = weight.to(dtype).contiguous()
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight)

    def __call__(self, x: Tensor) -> Tensor:
        """[R,in] to [R,out], both of this layer's type."""
        x = x.to(self.dtype)
        if self._packed:
            out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, self._activation, [], "none")
            return out
        out = F.linear(x, self._weight, self._bias)
        return F.gelu(out) if self._activation == "gelu" else out


class _Layer:
    def __init__(self, weights: dict[str, Tensor], prefix: str, dtype: torch.dtype) -> None:
        def linear(name: str, activation: str = "none") -> PackedLinear:
            return PackedLinear(weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"], dtype, activation)

        self.norms = [
            (weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"])
            for name in ("self_norm", "cross_norm", "ff_norm")
        ]
        self.self_qkv, self.self_out = linear("self_qkv"), linear("self_out")
        self.cross_q, self.cross_out = linear("cross_q"), linear("cross_out")
        self.ff_in, self.ff_out = linear("ff_in", "gelu"), linear("ff_out")


class _View:
    """One lane during one step: its rows in the joint batch, and the masks and slots all layers share."""

    def __init__(self, lane: LaneStep, first: int, dtype: torch.dtype) -> None:
        self.studies, self.beams, length = lane.ancestors.shape
        self.rows = slice(first, first + self.studies * self.beams)
        self.cached = length * self.beams
        device = lane.tokens.device
        own = torch.arange(self.beams, device=device)
        past = torch.arange(length, device=device) <= lane.positions[:, None]
        seen = ((lane.ancestors[..., None] == own) & past[:, None, :, None]).flatten(2)
        self.history = _additive(seen, dtype)
        self.given = _additive(lane.constants[1][:, None], dtype)
        self.slots = (lane.positions[:, None] * self.beams + own)[..., None]
        self.cross, self.cache = lane.constants[0], lane.state[0]

    def write(self, layer: int, key_value: Tensor) -> None:
        """Keeps this step's keys and values [rows,2,D] where the search's ancestors will point to."""
        key, value = key_value.reshape(self.studies, self.beams, 2, -1).unbind(2)
        slots = self.slots.expand(-1, -1, key.shape[-1])
        self.cache[:, layer, 0].scatter_(1, slots, key)
        self.cache[:, layer, 1].scatter_(1, slots, value)

    def attend(self, query: Tensor, keys_values: Tensor, mask: Tensor, heads: int) -> Tensor:
        """[rows,D] over keys and values [N,2,M,D]: attention of every beam, nothing repeated per beam."""
        query = query.reshape(self.studies, self.beams, heads, -1).transpose(1, 2)
        split = keys_values.view(*keys_values.shape[:3], heads, -1).transpose(2, 3)
        out = F.scaled_dot_product_attention(query, split[:, 0], split[:, 1], attn_mask=mask)
        return out.transpose(1, 2).flatten(2).flatten(0, 1)


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """bool[N,K,M] as a mask to add, [N,1,K,M]."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))[:, None]


class PackedDecoder:
    """`TransformerDecoder` (model_training) in another arrangement: same weights, same mathematics."""

    def __init__(self, module: torch.jit.ScriptModule, dtype: torch.dtype) -> None:
        """`dtype` is what matrix products and caches run in; sums, norms and vocabulary logits stay float32."""
        weights = {name: tensor.detach() for name, tensor in module.decoder.named_parameters()}
        count = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers."))
        self.dtype = dtype
        self.heads = int(getattr(module.decoder.layers, "0").heads)
        self._layers = [_Layer(weights, f"layers.{i}.", dtype) for i in range(count)]
        self._embedding, self._positions = weights["embedding.weight"], weights["positions.weight"]
        self._norm = weights["norm.weight"], weights["norm.bias"]
        self._vocabulary = PackedLinear(self._embedding, None, torch.float32)
        self._forbidden = module.forbidden

    @staticmethod
    def supports(module: torch.jit.ScriptModule) -> bool:
        """Whether the archive's decoder is a Transformer of the arrangement known here."""
        names = {name for name, _ in module.decoder.named_parameters()}
        return {"layers.0.self_qkv.weight", "layers.0.cross_kv.weight", "positions.weight"} <= names

    def prepare(self, constants: list[Tensor]) -> list[Tensor]:
        return [constants[0].to(self.dtype), constants[1]]

    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        shape = (studies, len(self._layers), 2, length * beams, self._embedding.shape[1])
        return [self._embedding.new_zeros(shape, dtype=self.dtype)]

    def step(self, lanes: Sequence[LaneStep]) -> list[Tensor]:
        views: list[_View] = []
        for lane in lanes:
            views.append(_View(lane, views[-1].rows.stop if views else 0, self.dtype))
        tokens = torch.cat([lane.tokens.flatten() for lane in lanes])
        places = torch.cat([lane.positions.repeat_interleave(lane.tokens.shape[1]) for lane in lanes])
        x = self._embedding[tokens] + self._positions[places]
        width = x.shape[1:]
        for i, layer in enumerate(self._layers):
            self_norm, cross_norm, ff_norm = layer.norms
            projected = layer.self_qkv(F.layer_norm(x, width, *self_norm)).view(len(x), 3, -1)
            for view in views:
                view.write(i, projected[view.rows, 1:])
            attended = [
                view.attend(projected[view.rows, 0], view.cache[:, i, :, : view.cached], view.history, self.heads)
                for view in views
            ]
            x = x + layer.self_out(_joined(attended))
            query = layer.cross_q(F.layer_norm(x, width, *cross_norm))
            attended = [view.attend(query[view.rows], view.cross[:, i], view.given, self.heads) for view in views]
            x = x + layer.cross_out(_joined(attended))
            x = x + layer.ff_out(layer.ff_in(F.layer_norm(x, width, *ff_norm)))
        logits = self._vocabulary(F.layer_norm(x, width, *self._norm))
        logits.index_fill_(-1, self._forbidden, float("-inf"))
        return [logits[view.rows].view(view.studies, view.beams, -1) for view in views]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
