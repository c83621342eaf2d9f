"""From what the engine found of a study to its `Report`: words, probabilities, warnings, heatmaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from app.inference.checkpoint import Checkpoint
from app.inference.engine.request import Generation
from app.inference.errors import NoUsableViewError
from app.inference.heatmaps import make_heatmaps
from app.inference.manifest import Manifest
from app.inference.ood import OodPolicy
from app.inference.search.beam_tables import TokenSequence
from app.inference.uncertainty import doubts
from app.report import Finding, Hypothesis, Report, ReportSentence, Timing, ViewGuess
from app.text.contradictions import Contradiction, contradictions, named_findings
from app.text.sentences import Sentence, sentences_of
from app.text.tokenizer import EOS

Shapes = Sequence[tuple[int, ...]]


class ReportBuilder:
    """Builds the reports of one checkpoint."""

    def __init__(self, checkpoint: Checkpoint, module: torch.jit.ScriptModule, ood: OodPolicy) -> None:
        """`module` is the checkpoint's network where it runs."""
        self._manifest = checkpoint.manifest
        self._tokenizer = checkpoint.tokenizer
        self._module, self._ood = module, ood

    @torch.inference_mode()
    def build(self, generation: Generation, shapes: Shapes, *, heatmaps: bool) -> Report:
        """The report of a study of images of these shapes, with heatmaps over them if wanted."""
        hypotheses = tuple(self._hypothesis(sequence) for sequence in generation.sequences)
        encoding = generation.encoding
        decided = encoding.decisions
        findings = tuple(self._placed(finding, shapes) for finding in decided.findings)
        sentences = sentences_of(hypotheses[0].token_texts, self._manifest.section_names)
        views = tuple(map(self._view, encoding.view_logits, encoding.read))
        warnings = [*self._ood.warnings(encoding.ood_logits), *_not_read(views)]
        if not hypotheses[0].text:
            warnings.append("The model wrote an empty report.")
        if hypotheses[0].finish_reason == "length":
            warnings.append("The report was cut at max_new_tokens.")
        warnings += doubts(findings, self._manifest.abstain)
        contradicted = contradictions(sentences, findings)
        warnings += [one.text for one in contradicted]
        ids = generation.sequences[0].ids
        return Report(
            hypotheses=hypotheses,
            findings=findings,
            views=views,
            warnings=tuple(warnings),
            timing=Timing(
                queue_ms=generation.queue_seconds * 1e3,
                encode_ms=generation.encode_seconds * 1e3,
                generate_ms=generation.generate_seconds * 1e3,
            ),
            abnormal=decided.abnormal,
            measurements=decided.measurements,
            sentences=_linked(sentences, findings, contradicted),
            heatmaps=make_heatmaps(self._module, encoding, shapes, findings, ids, sentences) if heatmaps else None,
        )

    def _hypothesis(self, sequence: TokenSequence) -> Hypothesis:
        sections = self._tokenizer.decode(sequence.ids)
        return Hypothesis(
            text="\n\n".join(sections.values()),
            sections=sections,
            score=sequence.score,
            tokens=len(sequence.ids),
            finish_reason="eos" if sequence.ids[-1:] == (EOS,) else "length",
            token_texts=tuple(self._tokenizer.tokens[i] for i in sequence.ids),
            token_log_probabilities=sequence.log_probabilities,
        )

    def _placed(self, finding: Finding, shapes: Shapes) -> Finding:
        """The finding with its boxes over the images in place of the squares that the network sees."""
        locations = []
        for location in finding.locations:
            height, width = shapes[location.image]
            left, top, right, bottom = self._module.square(height, width)
            across, down = right - left, bottom - top
            first, second, third, fourth = location.box
            box = (left + first * across, top + second * down, left + third * across, top + fourth * down)
            inside = tuple(min(1.0, max(0.0, edge)) for edge in box)
            locations.append(replace(location, box=(inside[0], inside[1], inside[2], inside[3])))
        return replace(finding, locations=tuple(locations))

    def _view(self, logits: list[float], read: bool) -> ViewGuess:
        highest = max(logits)
        weights = [math.exp(logit - highest) for logit in logits]
        best = logits.index(highest)
        return ViewGuess(self._manifest.view_names[best], weights[best] / sum(weights), read)


def _linked(
    sentences: Sequence[Sentence], findings: Sequence[Finding], contradicted: Sequence[Contradiction]
) -> tuple[ReportSentence, ...]:
    """Sentences with the findings they name and what is to be doubted of them."""
    names = tuple(finding.name for finding in findings)
    made = []
    for i, sentence in enumerate(sentences):
        about = sorted({j for _, group in named_findings(sentence.text, names) for j in group})
        doubted = tuple(one.text for one in contradicted if i in one.sentences)
        made.append(ReportSentence(sentence.section, sentence.text, tuple(names[j] for j in about), doubted))
    return tuple(made)


def no_usable_view(read: Sequence[bool], manifest: Manifest) -> NoUsableViewError | None:
    """Why no report is to be written of a study whose images are `read` or not, if so."""
    if any(read):
        return None
    known = " and ".join(manifest.views_read)
    return NoUsableViewError(f"The model reads {known} views, and the study has none. Send one along.")


def _not_read(views: Sequence[ViewGuess]) -> list[str]:
    return [
        f"Image {i} looks like a {view.view} view, which the model has not learnt: it was not read."
        for i, view in enumerate(views, 1)
        if not view.read
    ]
