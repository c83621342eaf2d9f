"""The archive's Transformer as one compiled call a step; see `app.inference.native`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from app.inference.native.library import LINEARS, Batch, DecoderWeights, Layer, Library, Linear
from app.inference.network.decoder import DecoderInput

PANEL = 3  # vectors of columns that a product takes together


class NativeDecoder:
    """`TransformerDecoder` (model_training) in another arrangement: same weights, same mathematics.

    Products and the cache are of `dtype`; what is summed over layers, norms, softmax and vocabulary logits are float32.
    """

    def __init__(self, module: torch.jit.ScriptModule, dtype: torch.dtype, library: Library) -> None:
        """`dtype` is float32, or bfloat16 where the library has it. Raises ValueError for what it cannot take."""
        if not self.supports(module, library, dtype):
            raise ValueError("a decoder that is not built for")
        self.dtype, self.library, self._lanes = dtype, library, library.lanes
        weights = {name: tensor.detach().float() for name, tensor in module.decoder.named_parameters()}
        embedding = weights["embedding.weight"]
        self._vocabulary, width = embedding.shape
        self._heads = int(getattr(module.decoder.layers, "0").heads)
        self._head_width = width // self._heads
        self._layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers."))
        # A key's products with a query are summed over the lanes of a head, all heads of a vector at once: heads are
        # interleaved, as many as lanes divide into.
        self._interleaved = 1 << (self._heads - 1).bit_length()
        while self._head_width * self._interleaved % self._lanes:
            self._interleaved *= 2
        self._spread = -(-self._head_width // self._lanes) * self._lanes
        self._kept: list[object] = []  # what the addresses below are of
        layers = (Layer * self._layers)(*(self._layer(weights, f"layers.{i}.") for i in range(self._layers)))
        forbidden = embedding.new_zeros(self._vocabulary).index_fill_(0, module.forbidden, float("-inf"))
        self._weights = DecoderWeights(
            layers=self._layers,
            width=width,
            words=self._vocabulary,
            heads=self._interleaved,
            self_width=self._interleaved * self._head_width,
            cross_heads=self._heads,
            cross_head_width=self._spread,
            scale=self._head_width**-0.5,
            layer=ctypes.addressof(layers),
            embedding=self._keep(embedding),
            position_embedding=self._keep(weights["positions.weight"]),
            norm=self._keep(torch.cat([weights["norm.weight"], weights["norm.bias"]])),
            vocabulary=self._linear(embedding, forbidden, torch.float32),
        )
        self._kept.append(layers)

    @staticmethod
    def supports(module: torch.jit.ScriptModule, library: Library, dtype: torch.dtype) -> bool:
        """Whether the library has the type and the Transformer's numbers fill whole vectors: 32 wide, not 40; up to as
        many heads as lanes."""
        if dtype == torch.bfloat16 and not library.bfloat16:
            return False
        width = int(module.decoder.width)
        heads = int(getattr(module.decoder.layers, "0").heads)
        return width % library.lanes == 0 and heads <= library.lanes and (width // heads) % 2 == 0

    def prepare(self, cross_kv: list[Tensor]) -> list[Tensor]:
        keys_values, given = cross_kv
        missing = -given.shape[1] % self._lanes
        by_head = keys_values.view(*keys_values.shape[:-1], self._heads, self._head_width)
        split = by_head.transpose(3, 4)  # [N,L,2,H,M,D/H]
        split = F.pad(split, [0, self._spread - self._head_width, 0, missing])
        keys, values = split.unbind(2)
        packed = [self._pack(part, self.dtype).flatten(2) for part in (keys, values.transpose(-1, -2))]
        bias = keys_values.new_zeros(given.shape).masked_fill_(~given, float("-inf"))
        reach = (given * torch.arange(1, given.shape[1] + 1)).amax(1)
        return [torch.stack(packed, 2), F.pad(bias, [0, missing], value=float("-inf")), reach]

    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        shape = (studies, self._layers, length * beams, 2, self._weights.self_width)
        return [torch.zeros(shape, dtype=self.dtype)]

    def step(self, batches: Sequence[DecoderInput]) -> list[Tensor]:
        given = (Batch * len(batches))()
        kept, found = [], []
        for batch, own in zip(batches, given, strict=True):
            tokens, ancestors = batch.tokens.contiguous(), batch.ancestors
            logits = torch.empty(*tokens.shape, self._vocabulary)
            cross, bias, reach = batch.cross_kv
            (cache,) = batch.kv_cache
            own.studies, own.beams = tokens.shape
            own.tokens, own.positions, own.ancestors = (
                tokens.data_ptr(),
                batch.positions.data_ptr(),
                ancestors.data_ptr(),
            )
            own.ancestors_stride, own.ancestors_beam_stride = ancestors.stride()[:2]
            own.memory, own.cross, own.cross_bias = bias.shape[1], cross.data_ptr(), bias.data_ptr()
            own.reach, own.cache, own.logits = reach.data_ptr(), cache.data_ptr(), logits.data_ptr()
            own.cache_stride, own.slots = cache.stride(0), cache.shape[2]
            kept.append(tokens)
            found.append(logits)
        bfloat16 = self.dtype == torch.bfloat16
        self.library.step(
            ctypes.addressof(self._weights), ctypes.addressof(given), len(batches), bfloat16, torch.get_num_threads()
        )
        return found

    def _layer(self, weights: dict[str, Tensor], prefix: str) -> Layer:
        def of(name: str) -> tuple[Tensor, Tensor]:
            return weights[f"{prefix}{name}.weight"], weights[f"{prefix}{name}.bias"]

        rows = {
            "self_qkv": lambda part: torch.cat([self._interleave(one) for one in part.chunk(3)]),
            "cross_q": self._spread_heads,
        }
        columns = {"self_out": self._interleave, "cross_out": self._spread_heads}
        layer = Layer()
        for name in LINEARS:
            weight, bias = of(name)
            if name in rows:
                weight, bias = rows[name](weight), rows[name](bias)
            if name in columns:
                weight = columns[name](weight.T).T
            setattr(layer, name, self._linear(weight, bias, self.dtype))
        norms = torch.cat([part for name in ("self_norm", "cross_norm", "ff_norm") for part in of(name)])
        layer.norms = self._keep(norms)
        return layer

    def _interleave(self, part: Tensor) -> Tensor:
        """[D,…], head by head, to heads interleaved and filled up: number i belongs to head i modulo their number."""
        split = part.reshape(self._heads, self._head_width, *part.shape[1:]).transpose(0, 1)
        return F.pad(split, [*[0, 0] * (part.dim() - 1), 0, self._interleaved - self._heads]).flatten(0, 1)

    def _spread_heads(self, part: Tensor) -> Tensor:
        """[D,…], head by head, to heads filled up to whole vectors."""
        split = part.reshape(self._heads, self._head_width, *part.shape[1:])
        return F.pad(split, [*[0, 0] * (part.dim() - 1), 0, self._spread - self._head_width]).flatten(0, 1)

    def _linear(self, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Linear:
        """Of weight [out,in] and bias [out]."""
        missing = -len(bias) % self._lanes
        bias = F.pad(bias, [0, missing])
        packed = self._pack(F.pad(weight, [0, 0, 0, missing]), dtype)
        return Linear(self._keep(packed), self._keep(bias), weight.shape[1], len(bias))

    def _pack(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """[…,N,K] to […,N·K]: panels of columns that a product takes together, in the order in which it reads them. Of
        bfloat16 two of K lie together."""
        group = 2 if dtype == torch.bfloat16 else 1
        *leading, rows, depth = weight.shape
        split = weight.to(dtype).reshape(*leading, rows // self._lanes, self._lanes, depth // group, group)
        blocks = split.transpose(-3, -2)
        panels = [panel.transpose(-4, -3).flatten(-4) for panel in torch.split(blocks, PANEL, -4)]
        return torch.cat(panels, -1).contiguous()

    def _keep(self, table: Tensor) -> int:
        table = table.contiguous()
        self._kept.append(table)
        return table.data_ptr()
