"""Whether texts say what was decided: each fact once a section and no other, and findings where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.text.contradictions import contradictions
from app.text.sentences import sentences_of
from model_training.data.study import Box
from model_training.evaluation.generation import GeneratedReport
from model_training.metrics.agreement import FloatArray
from model_training.metrics.bootstrap import Estimate, estimate


@dataclass(frozen=True, slots=True)
class ConsistencyScores:
    """Of so many reports the shares that say just what was decided, by the rule labeller, and that repeat a sentence
    within a section; of findings with a side in a box on one side of the image, how many and how many rightly."""

    reports: int
    exact: Estimate
    repeating: Estimate
    sided: int
    right_side: Estimate | None


def score_consistency(reports: Sequence[GeneratedReport], sections: Sequence[str]) -> ConsistencyScores:
    """The scores of best hypotheses with these sections."""
    said = [sentences_of(one.report.hypotheses[0].token_texts, sections) for one in reports]
    exact = [not contradictions(sentences, one.report.findings) for one, sentences in zip(reports, said, strict=True)]
    repeating = [len({(s.section, s.text) for s in sentences}) < len(sentences) for sentences in said]
    sides = [right for one in reports for right in _sides(one)]
    return ConsistencyScores(
        reports=len(reports),
        exact=_share(exact),
        repeating=_share(repeating),
        sided=len(sides),
        right_side=_share(sides) if sides else None,
    )


def _sides(one: GeneratedReport) -> list[bool]:
    """Whether each side given is that of the boxes, where these lie on one side of an upright frontal image."""
    found = []
    for finding in one.report.findings:
        for location in finding.locations:
            boxes = [box for box in one.images[location.image].boxes if box.finding == finding.name]
            sides = {_side_of(box) for box in boxes}
            if location.side and len(sides) == 1 and None not in sides:
                found.append(location.side in sides)
    return found


def _side_of(box: Box) -> str | None:
    """The patient's side that a box lies on: the right one is on the left of the image."""
    if box.x + box.width / 2 <= 0.5:
        return "right"
    return "left" if box.x - box.width / 2 >= 0.5 else None


def _share(flags: Sequence[bool]) -> Estimate:
    values: FloatArray = np.array(flags, dtype=np.float64)
    return estimate(lambda weights: np.asarray(weights @ values / weights.sum(axis=-1)), len(values))
