"""From what the engine found of a study to its `Report`: words, probabilities, warnings, heatmaps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from app.inference.checkpoint import Checkpoint
from app.inference.engine.request import Generation
from app.inference.heatmaps import make_heatmaps
from app.inference.manifest import FindingDecision
from app.inference.ood import OodPolicy, sigmoid
from app.inference.search.beam_tables import TokenSequence
from app.inference.uncertainty import doubts
from app.report import Finding, Hypothesis, Report, Timing, ViewGuess
from app.text.contradictions import contradictions
from app.text.sentences import sentences_of
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
    def build(self, generation: Generation, shapes: Shapes) -> Report:
        """The report of a study, with heatmaps over its images if their `shapes` are given."""
        hypotheses = tuple(self._hypothesis(sequence) for sequence in generation.sequences)
        encoding = generation.encoding
        findings = tuple(map(self._finding, self._manifest.findings, encoding.finding_logits))
        sentences = sentences_of(hypotheses[0].token_texts, self._manifest.section_names)
        warnings = self._ood.warnings(encoding.ood_logits)
        if not hypotheses[0].text:
            warnings.append("The model wrote an empty report.")
        if hypotheses[0].finish_reason == "length":
            warnings.append("The report was cut at max_new_tokens.")
        warnings += doubts(findings, self._manifest.abstain)
        warnings += contradictions(sentences, findings)
        ids = generation.sequences[0].ids
        return Report(
            hypotheses=hypotheses,
            findings=findings,
            views=tuple(map(self._view, encoding.view_logits)),
            warnings=tuple(warnings),
            timing=Timing(
                queue_ms=generation.queue_seconds * 1e3,
                encode_ms=generation.encode_seconds * 1e3,
                generate_ms=generation.generate_seconds * 1e3,
            ),
            heatmaps=make_heatmaps(self._module, encoding, shapes, findings, ids, sentences) if shapes else None,
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

    def _finding(self, decision: FindingDecision, logit: float) -> Finding:
        probability = sigmoid(logit / decision.temperature)
        return Finding(decision.name, probability, probability >= decision.threshold)

    def _view(self, logits: list[float]) -> ViewGuess:
        highest = max(logits)
        weights = [math.exp(logit - highest) for logit in logits]
        best = logits.index(highest)
        return ViewGuess(self._manifest.view_names[best], weights[best] / sum(weights))
