"""The network: views of a study in, findings and report out. Its exported methods are the checkpoint contract."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.text.tokenizer import BOS, PAD, UNK
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
        conditioning: str = "probabilities",
        feature_dropout: float = 0.0,
    ) -> None:
        """`channels` is the encoder's output width, `width` the decoder's.

        `conditioning` is what the decoder is given of the findings: nothing, the probability of each, or the decision
        taken on each (see `assertions`).
        """
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.image_size = image_size
        self.stride = float(encoder.stride)  # of the encoder's positions, in pixels
        self.first_centre = float(encoder.first_centre)
        self.conditioning = conditioning
        self.feature_dropout = feature_dropout
        self.intake: nn.Module = NoOodHead()
        self.finding_head = nn.Linear(channels, findings, bias=False)
        self.finding_bias = nn.Parameter(torch.zeros(findings))
        self.view_head = nn.Linear(encoder.summary_channels, len(VIEW_NAMES))
        self.memory_projection = nn.Linear(channels, width)
        self.memory_norm = nn.LayerNorm(width)
        self.view_embedding = nn.Linear(len(VIEW_NAMES), width, bias=False)
        self.finding_embedding = nn.Linear(findings, width)
        # Finding logits from which on a finding is stated, and below which it may be denied; `calibrate` fits them.
        self.register_buffer("stated_from", torch.zeros(findings))
        self.register_buffer("denied_below", torch.zeros(findings))
        # What the decoder must never say.
        self.register_buffer("forbidden", torch.tensor([PAD, BOS, UNK]), persistent=False)

    def set_prior(self, labels: Tensor) -> None:
        """Lets the finding bias be the log odds of labels f32[N,F], NaN where unlabelled, so that training need not
        first unlearn that every finding is as likely as not. One study more of each kind keeps them finite."""
        positive, negative = (labels == 1).sum(0), (labels == 0).sum(0)
        with torch.no_grad():
            self.finding_bias.copy_(((positive + 1) / (negative + 1)).log())

    def set_decisions(self, stated_from: Sequence[float], denied_below: Sequence[float]) -> None:
        """The logits of each finding from which on it is stated, and below which it may be denied."""
        self.stated_from = torch.tensor(stated_from)
        self.denied_below = torch.tensor(denied_below)

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

    @torch.jit.export
    def preprocess(self, image: Tensor) -> Tensor:
        """Greyscale f32[H,W] in 0..1 to f32[1,S,S]: aspect ratio kept, padded to a square, standardised.

        The standardisation is per image (zero mean, unit deviation inside the picture), which takes exposure and
        windowing out; the padding is the darkest value.
        """
        top, left, rows, columns = self.letterbox(image.shape[0], image.shape[1])
        image = F.interpolate(image[None, None], [rows, columns], mode="bilinear", align_corners=False, antialias=True)[
            0
        ]
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
    def encode(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Images f32[B,1,S,S], each on its own, to memory f32[B,P,D], finding logits f32[B,F], view logits f32[B,2],
        evidence f32[B,P,F] position by position, and what the OOD head says f32[B,K].

        A finding shows somewhere, not everywhere: its logit is the prior and a smooth maximum of its evidence over
        positions, 0 where none says anything.
        """
        features, summary = self.encoder(views)
        kept = features
        if self.training:
            # Whole channels are dropped: single positions of one say nearly the same.
            kept = features * F.dropout(torch.ones_like(features[:, :1]), self.feature_dropout)
        evidence = self.finding_head(kept)
        findings = torch.logsumexp(evidence, 1) - math.log(features.shape[1]) + self.finding_bias
        memory = self.memory_norm(self.memory_projection(features))
        return memory, findings, self.view_head(summary), evidence, self.intake(summary)

    @torch.jit.export
    def begin(
        self, memory: Tensor, finding_logits: Tensor, view_logits: Tensor, view_mask: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Joins the views of each study: finding logits f32[N,F] of the study, and the decoder's keys and
        values over them.

        `memory` f32[N,V,P,D], `finding_logits` f32[N,V,F], `view_logits` f32[N,V,2], `view_mask` bool[N,V], True
        where a view is given. The order of the views makes no difference. Evidence adds up over views as independent
        log-likelihood ratios do, the prior counted once.
        """
        findings = self.join_findings(finding_logits, view_mask)
        hint = findings.sigmoid() if self.conditioning == "probabilities" else self.assertions(findings)
        joined, mask = self.join_views(memory, view_logits, view_mask, hint)
        return findings, self.decoder.constants(joined, mask)

    def join_findings(self, finding_logits: Tensor, view_mask: Tensor) -> Tensor:
        """Finding logits of each view f32[N,V,F] to those of the study f32[N,F]."""
        evidence = (finding_logits - self.finding_bias) * view_mask[..., None]
        return evidence.sum(1) + self.finding_bias

    def assertions(self, findings: Tensor) -> Tensor:
        """The assertion status that the report is to give each finding, from logits f32[N,F]: 1 state it, -1 deny it, 0
        pass it over."""
        return (findings >= self.stated_from).float() - (findings < self.denied_below).float()

    def join_views(self, memory: Tensor, view_logits: Tensor, view_mask: Tensor, hint: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's memory f32[N,M,D] and its mask bool[N,M]; `hint` f32[N,F] is what it is conditioned on."""
        joined = memory + self.view_embedding(view_logits.softmax(-1))[:, :, None]
        mask = view_mask[:, :, None].expand(-1, -1, memory.shape[2]).flatten(1)
        joined = joined.flatten(1, 2)
        if self.conditioning != "nothing":
            joined = torch.cat([self.finding_embedding(hint)[:, None], joined], 1)
            mask = F.pad(mask, [1, 0], value=1.0)
        return joined, mask

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

        M counts what it is conditioned on, if anything, as one position before those of the views.
        """
        return self.decoder.attention(tokens, cross_kv)

    def forward(
        self, images: Tensor, view_mask: Tensor, tokens: Tensor, assertions: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Teacher forcing: images f32[B,1,S,S] of all views given, mask bool[N,V] with B True, tokens i64[N,T].

        `assertions` f32[N,F] are those the report was written by, for a decoder conditioned on decisions; without them
        it gets its own. Returns token logits f32[N,T,V], finding logits f32[N,F], view logits f32[B,2], evidence
        f32[B,P,F].
        """
        memory, finding_logits, view_logits, evidence, _ = self.encode(images)
        joined = [self.spread(x, view_mask) for x in (memory, finding_logits, view_logits)]
        findings = self.join_findings(joined[1], view_mask)
        if self.conditioning == "probabilities":
            hint = findings.sigmoid()
        elif assertions is not None:
            hint = assertions
        else:
            hint = self.assertions(findings)
        study_memory, mask = self.join_views(joined[0], joined[2], view_mask, hint)
        return self.decoder(tokens, study_memory, mask), findings, view_logits, evidence

    def spread(self, x: Tensor, view_mask: Tensor) -> Tensor:
        """[B,...] of the views given to [N,V,...], zero where there is none."""
        out = x.new_zeros(view_mask.shape + x.shape[1:])
        out[view_mask] = x
        return out
