"""The archive's Transformer run faster: its weights repacked for the processor, the matrix products of all batches in
one, so that studies of different widths share each reading of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from app.inference.native.library import library
from app.inference.network.decoder import ArchiveDecoder, Decoder, DecoderInput
from app.inference.network.native_decoder import NativeDecoder

# Overloads taken by name: choosing one at every call costs as much as a small product.
_linear = torch.ops.mkldnn._linear_pointwise.default
_linear_add = torch.ops.mkldnn._linear_pointwise.binary

NARROW_HEAD = 64
ALIGNED = 16  # a GPU's attention copies masks of other lengths at every call


class PackedLinear:
    """A matrix product with its weight in oneDNN's blocked layout, reordered once instead of at every call."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        self._packed = not weight.is_cuda and onednn
        self._bias = None if bias is None else bias.to(dtype)
        self._weight = weight.to(dtype).contiguous()
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight)

    def __call__(self, x: Tensor, activation: str = "none") -> Tensor:
        """[R,in] to [R,out], of this layer's type; `activation` is "none" or "gelu"."""
        if self._packed:
            return cast(Tensor, _linear(x, self._weight, self._bias, activation, [], "none"))
        out = F.linear(x, self._weight, self._bias)
        return F.gelu(out) if activation == "gelu" else out

    def add(self, x: Tensor, residual: Tensor) -> Tensor:
        """`residual` [R,out] plus the product, in one kernel."""
        if self._packed:
            return cast(Tensor, _linear_add(x, residual, self._weight, self._bias, "add"))
        return residual + F.linear(x, self._weight, self._bias)


class _Layer:
    def __init__(self, weights: dict[str, Tensor], prefix: str, dtype: torch.dtype) -> None:
        def linear(name: str) -> PackedLinear:
            return PackedLinear(weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"], dtype)

        self.self_norm, self.cross_norm, self.ff_norm = (
            (weights[f"{prefix}{name}.weight"].to(dtype), weights[f"{prefix}{name}.bias"].to(dtype))
            for name in ("self_norm", "cross_norm", "ff_norm")
        )
        self.self_qkv, self.self_out = linear("self_qkv"), linear("self_out")
        self.cross_q, self.cross_out = linear("cross_q"), linear("cross_out")
        self.ff_in, self.ff_out = linear("ff_in"), linear("ff_out")


class _BatchAttention:
    """The attention of one batch in one step: its rows among all rows, and the masks and slots that all layers share.

    The cache has no slot per step and beam: a slot is free again once no beam descends from what it holds. Beams of a
    study soon share all but their last tokens, so that attention reads little more than one sequence instead of K.
    """

    def __init__(self, batch: DecoderInput, first: int, heads: int, dtype: torch.dtype, used: int | None) -> None:
        self.studies, self.beams, _ = batch.ancestors.shape
        self.rows = slice(first, first + self.studies * self.beams)
        self.heads = heads
        cache, held = batch.kv_cache
        *cross, given, reach = batch.cross_kv
        if used is None and held.is_cuda:
            used = held.shape[2]  # asking the device costs more than reading all
        slots, now = self._take_slots(batch, held, used)
        self._held, self._now = held, now
        if used is None:
            used = int(now.flatten(0, 1).any(0).nonzero()[-1]) + 1
        self.history = _additive(now[..., :used], dtype)[:, None]
        # Studies of fewer views than the model takes have memory in the first positions only.
        seen = given.shape[1] if given.is_cuda else int(reach.max())
        self.given = given[:, None, None, :seen]
        layers, self.width = cache.shape[1], cache.shape[-1]
        self.table = cache.view(-1, 2 * self.width)
        blocks = torch.arange(self.studies * layers, device=slots.device).view(-1, layers, 1) * cache.shape[2]
        self.slots = (blocks + slots[:, None]).transpose(0, 1).flatten(1)
        self.cache = self._by_head(cache[:, :, :used])
        self.cross = [(cross[i][:, :, :seen], cross[i + 1][:, :, :seen]) for i in range(0, len(cross), 2)]

    def _take_slots(self, batch: DecoderInput, held: Tensor, used: int | None) -> tuple[Tensor, Tensor]:
        """Cache slots i64[N,K] for this step's keys and values, and what each beam then descends from, bool[N,K,M]."""
        parents = batch.ancestors.gather(2, (batch.positions - 1).clamp(min=0)[:, None, None].expand(-1, self.beams, 1))
        now = held.gather(1, parents.expand(-1, -1, held.shape[2])) & (batch.positions > 0)[:, None, None]
        free = (~now[..., :used].any(1)).cumsum(1)
        wanted = torch.arange(1, self.beams + 1, device=held.device).expand(self.studies, -1)
        # Studies stepped in vain may have none left: their last slot is overwritten.
        slots = torch.searchsorted(free, wanted.contiguous()).clamp_(max=free.shape[1] - 1)
        return slots, now.scatter_(2, slots[..., None], True)

    def keep(self) -> None:
        """Takes the slots for good: a step that fails on its way can be taken again."""
        self._held.copy_(self._now)

    def _by_head(self, keys_values: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values [N,H,M,D/H] of each layer from [N,L,M,2,D]."""
        split = keys_values.view(*keys_values.shape[:-1], self.heads, -1).transpose(2, 4)
        return [(layer[:, :, 0], layer[:, :, 1]) for layer in split.unbind(1)]

    def attend_to_history(self, layer: int, projected: Tensor) -> Tensor:
        """[rows,D] from all rows' queries, keys and values [R,3D]; keeps the latter where the search's
        ancestors will point to."""
        projected = projected[self.rows].to(self.table.dtype)
        query, key_value = projected.split_with_sizes([self.width, 2 * self.width], 1)
        self.table.index_copy_(0, self.slots[layer], key_value)
        return self._attend(query, *self.cache[layer], self.history)

    def attend_to_images(self, layer: int, query: Tensor) -> Tensor:
        """[rows,D] from all rows' queries [R,D]."""
        return self._attend(query[self.rows].to(self.table.dtype), *self.cross[layer], self.given)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Attention of all beams of a study over what they share: nothing is repeated per beam. All of one type."""
        query = query.reshape(self.studies, self.beams, self.heads, -1).transpose(1, 2)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return out.transpose(1, 2).reshape(self.studies * self.beams, -1)


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask, True where something is seen, as one to add."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))


class PackedDecoder:
    """`TransformerDecoder` (model_training) in another arrangement: same weights, same mathematics."""

    def __init__(self, module: torch.jit.ScriptModule, dtype: torch.dtype) -> None:
        """`dtype` is what all runs in but the vocabulary logits, which are float32."""
        weights = {name: tensor.detach() for name, tensor in module.decoder.named_parameters()}
        count = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers."))
        self.dtype = dtype
        self.heads = int(getattr(module.decoder.layers, "0").heads)
        # On a CPU attention of narrow heads is faster in float32 than in bfloat16: 28 us against 45 at width 48.
        narrow = (
            weights["embedding.weight"].shape[1] // self.heads < NARROW_HEAD and module.forbidden.device.type == "cpu"
        )
        self.kept = torch.float32 if narrow else dtype
        self._layers = [_Layer(weights, f"layers.{i}.", dtype) for i in range(count)]
        self._embedding, self._position_embedding = weights["embedding.weight"], weights["positions.weight"]
        self._norm = weights["norm.weight"], weights["norm.bias"]
        self._vocabulary = PackedLinear(self._embedding, None, torch.float32)
        self._forbidden = module.forbidden

    @staticmethod
    def supports(module: torch.jit.ScriptModule) -> bool:
        """Whether the archive's decoder is a Transformer of the arrangement known here."""
        names = {name for name, _ in module.decoder.named_parameters()}
        return {"layers.0.self_qkv.weight", "layers.0.cross_kv.weight", "positions.weight"} <= names

    def prepare(self, cross_kv: list[Tensor]) -> list[Tensor]:
        keys_values, given = cross_kv[0].to(self.kept), cross_kv[1]
        if given.is_cuda:
            missing = -given.shape[1] % ALIGNED
            keys_values, given = F.pad(keys_values, [0, 0, 0, missing]), F.pad(given, [0, missing])
        reach = (given * torch.arange(1, given.shape[1] + 1, device=given.device)).amax(1)
        # Keys and values of each layer, [N,H,M,D/H]: each head's lie together, and memory is read in order.
        split = keys_values.reshape(*keys_values.shape[:-1], self.heads, -1)
        by_head = split.transpose(3, 4).flatten(1, 2).unbind(1)
        return [*(part.contiguous() for part in by_head), _additive(given, self.kept), reach]

    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        slots = -(-length * beams // ALIGNED) * ALIGNED
        shape = (studies, len(self._layers), slots, 2, self._embedding.shape[1])
        held = self._embedding.new_zeros((studies, beams, slots), dtype=torch.bool)
        return [self._embedding.new_zeros(shape, dtype=self.kept), held]

    def step(self, batches: Sequence[DecoderInput], used: int | None = None) -> list[Tensor]:
        """`used` bounds the cache slots in use from above, for those who must not ask the device."""
        parts: list[_BatchAttention] = []
        for batch in batches:
            first = parts[-1].rows.stop if parts else 0
            parts.append(_BatchAttention(batch, first, self.heads, self.kept, used))
        tokens = _joined([batch.tokens.flatten() for batch in batches])
        positions = _joined([batch.positions.repeat_interleave(batch.tokens.shape[1]) for batch in batches])
        x = (self._embedding[tokens] + self._position_embedding[positions]).to(self.dtype)
        width = x.shape[1:]
        for i, layer in enumerate(self._layers):
            projected = layer.self_qkv(F.layer_norm(x, width, *layer.self_norm))
            attended = _joined([part.attend_to_history(i, projected) for part in parts])
            x = layer.self_out.add(attended.to(self.dtype), x)
            query = layer.cross_q(F.layer_norm(x, width, *layer.cross_norm))
            attended = _joined([part.attend_to_images(i, query) for part in parts])
            x = layer.cross_out.add(attended.to(self.dtype), x)
            x = layer.ff_out.add(layer.ff_in(F.layer_norm(x, width, *layer.ff_norm), "gelu"), x)
        logits = self._vocabulary(F.layer_norm(x.float(), width, *self._norm))
        logits.index_fill_(-1, self._forbidden, float("-inf"))
        for part in parts:
            part.keep()
        return [logits[part.rows].view(part.studies, part.beams, -1) for part in parts]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def decoder_name(decoder: Decoder) -> str:
    """What steps, for a reader."""
    if isinstance(decoder, NativeDecoder):
        return f"one compiled call a step, {decoder.library.name.replace('_', ' ')}"
    return "the archive's own step" if isinstance(decoder, ArchiveDecoder) else "torch, operation by operation"


def make_decoder(module: torch.jit.ScriptModule, precision: str) -> Decoder:
    """The fastest decoder for the device, `precision` "exact" being float32, "fast" bfloat16; the archive's own where
    that is no Transformer."""
    if not PackedDecoder.supports(module):
        return ArchiveDecoder(module)
    dtype = torch.bfloat16 if precision == "fast" else torch.float32
    built = library() if module.forbidden.device.type == "cpu" else None
    if built and NativeDecoder.supports(module, built, dtype):
        return NativeDecoder(module, dtype, built)
    return PackedDecoder(module, dtype)
