"""Whether texts say what was decided: each fact once a section and no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.text.contradictions import contradictions
from app.text.sentences import sentences_of
from model_training.evaluation.generation import GeneratedReport
from model_training.metrics.bootstrap import Estimate, share


@dataclass(frozen=True, slots=True)
class ConsistencyScores:
    """Of so many reports the shares that say just what was decided, by the rule labeller, and that repeat a sentence
    within a section."""

    reports: int
    exact: Estimate | None
    repeating: Estimate | None


def score_consistency(reports: Sequence[GeneratedReport], sections: Sequence[str]) -> ConsistencyScores:
    """The scores of best hypotheses with these sections."""
    said = [sentences_of(one.report.hypotheses[0].token_texts, sections) for one in reports]
    exact = [not contradictions(sentences, one.report.findings) for one, sentences in zip(reports, said, strict=True)]
    repeating = [len({(s.section, s.text) for s in sentences}) < len(sentences) for sentences in said]
    return ConsistencyScores(len(reports), share(exact), share(repeating))
