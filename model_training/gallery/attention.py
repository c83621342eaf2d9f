"""Where the decoder looked for each word: its cross-attention, read off the network that the checkpoint was made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from app.images.decode import decode_image
from app.inference.checkpoint import Checkpoint
from app.inference.generator import to_unit_range
from app.inference.tokenizer import BOS
from model_training.config import config_from
from model_training.data.study import StudyImage
from model_training.model.build import build_model
from model_training.model.decoders import DecoderLayer, LSTMDecoder, TransformerDecoder
from model_training.model.report_model import ReportModel


class NoAttentionError(Exception):
    """The checkpoint cannot say where it looked; the message says why."""


def eager_model(checkpoint: Checkpoint) -> ReportModel:
    """The network of a checkpoint as Python code, with its weights: TorchScript keeps attention to itself.

    Raises `NoAttentionError` when the manifest does not say how it was built, or this code builds another network.
    """
    try:
        model = build_model(config_from(checkpoint.manifest["config"]), len(checkpoint.tokenizer))
        model.load_state_dict(dict(checkpoint.module.state_dict()), strict=False)
        missing = set(model.state_dict()) - set(checkpoint.module.state_dict())
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise NoAttentionError("the network cannot be rebuilt from the checkpoint's manifest") from error
    if missing:
        raise NoAttentionError(f"the checkpoint lacks {sorted(missing)[0]}")
    return model.eval()


@torch.inference_mode()
def word_attention(model: ReportModel, images: Sequence[StudyImage], ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """How the words of one report spread their attention, the mean over layers and heads.

    `ids` are the generated tokens [T]. Returns f32[T,V,P] over the positions of each view in reading order, and f32[T]
    on the predicted findings (0 for a model that is not conditioned on them); a word's attention sums to 1.
    """
    pixels = [to_unit_range(decode_image(image.path.read_bytes()).pixels) for image in images]
    views = torch.stack([model.preprocess(image) for image in pixels])
    mask = torch.ones(1, len(images), dtype=torch.bool)
    # The word at place t is chosen by the query at the place before it.
    tokens = torch.tensor([[BOS, *ids[:-1]]])
    with Recorder(model.decoder) as weights:
        model(views, mask, tokens)
    mean = weights().mean(dim=(0, 1))
    hint = 0 if model.conditioning == "nothing" else 1
    return mean[:, hint:].view(len(ids), len(images), -1), mean[:, :hint].sum(1)


class Recorder:
    """While entered, listens to the cross-attention of a decoder that runs one study; called, gives the weights."""

    def __init__(self, decoder: nn.Module) -> None:
        """Raises `NoAttentionError` for a decoder without cross-attention."""
        if isinstance(decoder, TransformerDecoder):
            layers = [layer for layer in decoder.layers if isinstance(layer, DecoderLayer)]
            self._modules = [(layer.cross_q, layer.cross_kv) for layer in layers]
            self._heads = layers[0].heads
        elif isinstance(decoder, LSTMDecoder):
            self._modules = [(decoder.query, decoder.key_value)]
            self._heads = decoder.heads
        else:
            raise NoAttentionError(f"a {type(decoder).__name__} has no cross-attention")
        self._heard: dict[object, list[Tensor]] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Recorder:
        for module in chain.from_iterable(self._modules):
            self._heard[module] = []
            self._handles.append(module.register_forward_hook(self._hear))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def __call__(self) -> Tensor:
        """Attention f32[layers,heads,T,M] of the T queries heard over the memory."""
        layers = []
        for query_module, key_value_module in self._modules:
            # A recurrent decoder asks once a word, all ask for keys and values once.
            query = self._split(torch.cat(self._heard[query_module], 1))
            key = self._split(self._heard[key_value_module][0].chunk(2, -1)[0])
            layers.append((query @ key.mT * query.shape[-1] ** -0.5).softmax(-1))
        return torch.stack(layers)

    def _hear(self, module: nn.Module, _: object, output: Tensor) -> None:
        self._heard[module].append(output)

    def _split(self, x: Tensor) -> Tensor:
        """[1,T,D] to [heads,T,D/heads]."""
        return x[0].view(x.shape[1], self._heads, -1).transpose(0, 1)
