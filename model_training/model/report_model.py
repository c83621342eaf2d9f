"""The network: views of a study in, findings and report out. Its exported methods are the checkpoint contract."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.text.facts import ASSERTIONS, SIDES, ZONES
from app.text.tokenizer import BOS, PAD, UNK
from model_training.model.anatomy_head import AnatomyHead, NoAnatomyHead
from model_training.model.clip import ClipTower
from model_training.model.encoders import Encoder
from model_training.model.ood_head import NoOodHead, OodHead

VIEW_NAMES = ("frontal", "lateral")


class ReportModel(nn.Module):
    """A CNN encoder, a finding head, a view head and a cached decoder."""

    def __init__(
        self,
        encoder: Encoder | ClipTower,
        decoder: nn.Module,
        *,
        image_size: int,
        channels: int,
        width: int,
        findings: int,
        detail: int = 0,
        conditioning: str = "images and facts",
        feature_dropout: float = 0.0,
        attributes: int = 0,
    ) -> None:
        """`channels` is the encoder's output width, `width` the decoder's; `findings` without that of the whole, which
        is the last of F + 1; `attributes` are how many of patient and exposure are to be told in training. `detail` is
        the side in pixels that images are reduced to before anything is seen of them (0: as they are).

        `conditioning` is what the decoder attends to: the positions of the images, the facts it is to say, or both.
        """
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.image_size = image_size
        self.detail = detail
        self.reduction = image_size // detail if detail else 1
        self.stride = float(encoder.stride) * self.reduction  # of the encoder's positions, in pixels
        self.first_centre = float(encoder.first_centre) * self.reduction
        self.conditioning = conditioning
        self.feature_dropout = feature_dropout
        self.intake: nn.Module = NoOodHead()
        self.finding_head = nn.Linear(channels, findings + 1, bias=False)
        self.finding_bias = nn.Parameter(torch.zeros(findings + 1))
        self.attributes = attributes
        self.attribute_head: nn.Module = nn.Linear(channels, attributes) if attributes else nn.Identity()
        self.view_head = nn.Linear(encoder.summary_channels, len(VIEW_NAMES))
        self.memory_projection = nn.Linear(channels, width)
        self.memory_norm = nn.LayerNorm(width)
        self.view_embedding = nn.Linear(len(VIEW_NAMES), width, bias=False)
        # A fact is a finding with its assertion, a side and a zone.
        self.assertion_embedding = nn.Embedding((findings + 1) * len(ASSERTIONS), width)
        self.side_embedding = nn.Embedding(len(SIDES), width)
        self.zone_embedding = nn.Embedding(len(ZONES), width)
        self.fact_norm = nn.LayerNorm(width)
        self.anatomy: nn.Module = NoAnatomyHead()
        # What the decoder must never say.
        self.register_buffer("forbidden", torch.tensor([PAD, BOS, UNK]), persistent=False)

    def set_prior(self, labels: Tensor) -> None:
        """Lets the finding bias be the log odds of labels f32[N,F], NaN where unlabelled, so that training need not
        first unlearn that every finding is as likely as not. One study more of each kind keeps them finite."""
        positive, negative = (labels == 1).sum(0), (labels == 0).sum(0)
        with torch.no_grad():
            self.finding_bias.copy_(((positive + 1) / (negative + 1)).log())

    def attach_ood_head(self, head: Mapping[str, Tensor], view_head: Mapping[str, Tensor], *, laterals: bool) -> None:
        """Takes the state dicts of an `OodHead` and of the view head fitted with it.

        Without `laterals` in training the embedding of a lateral view is noise: it becomes that of a frontal one.
        """
        self.intake = OodHead(self.view_head.in_features)
        self.intake.load_state_dict(head)
        self.view_head.load_state_dict(view_head)
        if not laterals:
            with torch.no_grad():
                self.view_embedding.weight[:, 1] = self.view_embedding.weight[:, 0]

    def attach_anatomy_head(self, head: Mapping[str, Tensor]) -> None:
        """Takes the state dict of an `AnatomyHead`."""
        self.anatomy = AnatomyHead(self.image_size)
        self.anatomy.load_state_dict(head)

    @torch.jit.export
    def preprocess(self, image: Tensor) -> Tensor:
        """Greyscale f32[H,W] in 0..1 to f32[1,S,S]: aspect ratio kept, padded to a square, standardised.

        The standardisation is per image (zero mean, unit deviation inside the picture), which takes exposure and
        windowing out; the padding is the darkest value. Images with more detail than is to be seen lose it first, all
        in one way: sharpness tells collections apart, and with them what is common there.
        """
        height, width = image.shape[0], image.shape[1]
        top, left, rows, columns = self.letterbox(height, width)
        image = image[None, None]
        longest = max(height, width)
        if self.detail > 0 and longest > self.detail:
            small = [max(1, (side * self.detail + longest // 2) // longest) for side in (height, width)]
            image = F.interpolate(image, small, mode="area")
        image = F.interpolate(image, [rows, columns], mode="bilinear", align_corners=False, antialias=True)[0]
        image = (image - image.mean()) / (image.std(correction=0) + 1e-3)
        margins = [left, self.image_size - columns - left, top, self.image_size - rows - top]
        return F.pad(image, margins, value=float(image.min()))

    def letterbox(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Where an image [H,W] lies in the square the network sees: top, left, rows and columns."""
        longest = max(height, width)
        rows = max(1, (height * self.image_size + longest // 2) // longest)
        columns = max(1, (width * self.image_size + longest // 2) // longest)
        return (self.image_size - rows) // 2, (self.image_size - columns) // 2, rows, columns

    @torch.jit.export
    def region(self, height: int, width: int, side: int) -> list[float]:
        """What `side` × `side` positions cover of an image [H,W]: left, top, right and bottom as fractions of it.

        Beyond 0 and 1 lie the padding and, where the encoder centres positions on the first pixel of their cells, half
        a cell to the left and above.
        """
        top, left, rows, columns = self.letterbox(height, width)
        first = self.first_centre - self.stride / 2
        last = first + self.stride * side
        return [(first - left) / columns, (first - top) / rows, (last - left) / columns, (last - top) / rows]

    @torch.jit.export
    def square(self, height: int, width: int) -> list[float]:
        """The square that the network sees of an image [H,W]: left, top, right and bottom as fractions of the image."""
        top, left, rows, columns = self.letterbox(height, width)
        size = float(self.image_size)
        return [-left / columns, -top / rows, (size - left) / columns, (size - top) / rows]

    @torch.jit.export
    def encode(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Images f32[B,1,S,S], each on its own, to the fields of `EncoderOutput`.

        A finding shows somewhere, not everywhere: its logit is the prior and a smooth maximum of its evidence over
        positions, 0 where none says anything.
        """
        features, summary = self.see(views)
        return self.tell(views, features, summary)

    def see(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Images f32[B,1,S,S] to the encoder's features f32[B,P,C] and summary f32[B,K]."""
        features, summary = self.encoder(F.avg_pool2d(views, self.reduction) if self.reduction > 1 else views)
        return features, summary

    def tell(
        self, views: Tensor, features: Tensor, summary: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the heads say of images and what the encoder makes of them, as `encode` returns it."""
        kept = features
        if self.training:
            # Whole channels are dropped: single positions of one say nearly the same.
            kept = features * F.dropout(torch.ones_like(features[:, :1]), self.feature_dropout)
        evidence = self.finding_head(kept)
        findings = torch.logsumexp(evidence, 1) - math.log(features.shape[1]) + self.finding_bias
        memory = self.memory_norm(self.memory_projection(features))
        return memory, findings, self.view_head(summary), evidence, self.intake(summary), self.anatomy(views)

    @torch.jit.export
    def join(self, finding_logits: Tensor, view_mask: Tensor) -> Tensor:
        """Finding logits of each view f32[N,V,F+1] to those of the study f32[N,F+1], of the views that `view_mask`
        bool[N,V] names.

        Evidence adds up over views as independent log-likelihood ratios do, the prior counted once.
        """
        evidence = (finding_logits - self.finding_bias) * view_mask[..., None]
        return evidence.sum(1) + self.finding_bias

    @torch.jit.export
    def begin(self, memory: Tensor, view_logits: Tensor, view_mask: Tensor, facts: Tensor) -> list[Tensor]:
        """What the decoder keeps of each study: its keys and values over the views, and over the facts it is to say.

        `memory` f32[N,V,P,D], `view_logits` f32[N,V,2], `view_mask` bool[N,V], True where a view is read, `facts`
        i64[N,F+1,3] as `app.text.facts.Fact`. The order of the views makes no difference.
        """
        joined, mask = self.decoder_memory(memory, view_logits, view_mask, facts)
        constants: list[Tensor] = self.decoder.constants(joined, mask)
        return constants

    def decoder_memory(
        self, memory: Tensor, view_logits: Tensor, view_mask: Tensor, facts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the decoder attends to f32[N,M,D], facts first, and its mask bool[N,M]."""
        told = self.embed_facts(facts)
        always = torch.ones(told.shape[0], told.shape[1], dtype=torch.bool, device=told.device)
        if self.conditioning == "facts":
            return told, always
        seen = (memory + self.view_embedding(view_logits.softmax(-1))[:, :, None]).flatten(1, 2)
        mask = view_mask[:, :, None].expand(-1, -1, memory.shape[2]).flatten(1)
        if self.conditioning == "images":
            return seen, mask
        return torch.cat([told, seen], 1), torch.cat([always, mask], 1)

    def embed_facts(self, facts: Tensor) -> Tensor:
        """Facts i64[N,F+1,3] as f32[N,F+1,D]."""
        which = torch.arange(facts.shape[1], device=facts.device) * 3 + facts[..., 0]
        told = self.assertion_embedding(which) + self.side_embedding(facts[..., 1]) + self.zone_embedding(facts[..., 2])
        normed: Tensor = self.fact_norm(told)
        return normed

    @torch.jit.export
    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        """The decoder's cache for `studies` × `beams` sequences of up to `length` steps; first dimension: study."""
        kv_cache: list[Tensor] = self.decoder.allocate(studies, beams, length)
        return kv_cache

    @torch.jit.export
    def decode_step(
        self,
        tokens: Tensor,
        positions: Tensor,
        ancestors: Tensor,
        cross_kv: list[Tensor],
        kv_cache: list[Tensor],
    ) -> Tensor:
        """Logits f32[N,K,V] of the next token; writes `kv_cache` in place.

        `tokens` i64[N,K] are the last tokens of K beams of N studies, `positions` i64[N] where they stand (bos at
        0), `ancestors` i64[N,K,T] names for each earlier position the beam that wrote it, T > max(positions); at its
        own position a beam is its own ancestor.
        """
        logits = self.decoder.step(tokens, positions, ancestors, cross_kv, kv_cache)
        return logits.index_fill(-1, self.forbidden, float("-inf"))

    @torch.jit.export
    def attention(self, tokens: Tensor, cross_kv: list[Tensor]) -> Tensor:
        """Where the decoder looks after each of `tokens` i64[N,T], bos first: f32[N,T,M] over its memory, the mean over
        layers and heads; the sum over M is 1.

        M counts the facts before the positions of the views.
        """
        return self.decoder.attention(tokens, cross_kv)

    def forward(
        self, images: Tensor, view_mask: Tensor, tokens: Tensor, facts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Teacher forcing: images f32[B,1,S,S] of all views given, mask bool[N,V] with B True, tokens i64[N,T], and the
        facts i64[N,F+1,3] that they say.

        Returns token logits f32[N,T,V], finding logits f32[N,F+1], view logits f32[B,2], evidence f32[B,P,F+1], and
        the attributes f32[N,A] of patient and exposure, the mean over a study's views.
        """
        features, summary = self.see(images)
        memory, finding_logits, view_logits, evidence, _, _ = self.tell(images, features, summary)
        told = self.spread(self.attribute_head(features.mean(1))[:, : self.attributes], view_mask)
        attributes = told.sum(1) / view_mask.sum(1, keepdim=True)
        joined = [self.spread(x, view_mask) for x in (memory, finding_logits, view_logits)]
        study_memory, mask = self.decoder_memory(joined[0], joined[2], view_mask, facts)
        token_logits = self.decoder(tokens, study_memory, mask)
        return token_logits, self.join(joined[1], view_mask), view_logits, evidence, attributes

    def spread(self, x: Tensor, view_mask: Tensor) -> Tensor:
        """[B,...] of the views given to [N,V,...], zero where there is none."""
        out = x.new_zeros(view_mask.shape + x.shape[1:])
        out[view_mask] = x
        return out
