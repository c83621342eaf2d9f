"""Where the model looked: grids over the images for each finding and each sentence.

The map of a finding is its evidence, softmax over the positions of an image. A finding's logit is the prior plus, for
each image, logsumexp of the evidence; so a position's share is how much the logit rises with the evidence there. The
map of a sentence is that of the findings it names, weighted by their probabilities: a decoder conditioned on findings
need not look at the image to write of them. Sentences that name none have the decoder's attention, and where that is
on the facts alone, the evidence that the whole is abnormal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from app.inference.network.encoder import Encoding
from app.report import Finding, FindingHeatmaps, Heatmap, Heatmaps, HeatmapSource, SentenceHeatmaps
from app.text.contradictions import named_findings
from app.text.sentences import Sentence
from app.text.tokenizer import BOS

Box = tuple[float, float, float, float]


def make_heatmaps(
    module: torch.jit.ScriptModule,
    encoding: Encoding,
    shapes: Sequence[tuple[int, ...]],
    findings: Sequence[Finding],
    ids: Sequence[int],
    sentences: Sequence[Sentence],
) -> Heatmaps:
    """Heatmaps of a study of images [H,W] of `shapes` and of the sentences that the tokens `ids` are made of."""
    names = tuple(finding.name for finding in findings)
    shares = encoding.evidence.float().softmax(1).cpu()
    side = math.isqrt(shares.shape[1])
    boxes = [tuple(module.region(height, width, side)) for height, width in shapes]
    attention: Tensor | None = None
    made = []
    for sentence in sentences:
        about = sorted({i for _, group in named_findings(sentence.text, names) for i in group})
        source: HeatmapSource = "evidence"
        if about:
            weights = torch.tensor([findings[i].probability for i in about])
            looked = shares[..., about] @ (weights / weights.sum())
        else:
            if attention is None:
                attention = _attention(module, encoding, ids)
            if attention.shape[1:] == shares.shape[:2]:
                looked, source = attention[list(sentence.spoken)].mean(0), "attention"
            else:
                looked = shares[..., -1]
        named = tuple(names[i] for i in about)
        made.append(SentenceHeatmaps(sentence.section, sentence.text, source, named, _maps(looked, boxes)))
    of_findings = (FindingHeatmaps(name, _maps(shares[..., i], boxes)) for i, name in enumerate(names))
    return Heatmaps(tuple(of_findings), tuple(made))


def _attention(module: torch.jit.ScriptModule, encoding: Encoding, ids: Sequence[int]) -> Tensor:
    """How each of the tokens `ids` [T] spread its attention over the positions of the images: f32[T,V,P], or f32[T,V,0]
    where the decoder attends to facts alone."""
    views, positions, _ = encoding.evidence.shape
    cross_kv = [table[None] for table in encoding.cross_kv]
    # The word at position t is chosen by the query at the position before it.
    tokens = torch.tensor([[BOS, *ids[:-1]]], device=encoding.cross_kv[0].device)
    attention: Tensor = module.attention(tokens, cross_kv)[0].cpu()
    facts = 0 if module.conditioning == "images" else len(encoding.decisions.facts)
    looked = attention[:, facts : facts + views * positions]
    return looked.view(len(ids), views, positions if looked.shape[1] else 0)


def _maps(shares: Tensor, boxes: Sequence[Box]) -> tuple[Heatmap, ...]:
    """Shares f32[V,P] as levels, the highest of all images being 255."""
    scale = float(shares.max())
    side = math.isqrt(shares.shape[1])
    levels = (shares * (255 / scale if scale > 0 else 0.0)).round().int().view(-1, side, side).tolist()
    return tuple(
        Heatmap(i, tuple(map(tuple, grid)), scale, box) for i, (grid, box) in enumerate(zip(levels, boxes, strict=True))
    )
