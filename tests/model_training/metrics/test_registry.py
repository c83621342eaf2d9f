"""The records of all metrics: what each promises of itself holds."""

from __future__ import annotations

import sys
from unittest.mock import Mock

import numpy as np
import pytest

from model_training.metrics import registry
from model_training.metrics import text as text_metrics
from model_training.metrics.extras import MissingExtraError
from model_training.metrics.registry import Texts, score_systems

REPORTS = [
    "The heart is normal in size. The lungs are clear.",
    "There is a small left pleural effusion. No pneumothorax.",
    "The heart is enlarged. Right lower lobe opacity.",
]
POOR = ["There is a right pleural effusion, unchanged."] * 3


def test_every_metric_has_a_name_of_its_own() -> None:
    """Tables and JSON go by names."""
    names = [metric.name for metric in registry.METRICS] + [metric.name for metric in registry.CORPUS_METRICS]
    assert len(set(names)) == len(names)


def test_perfect_reports_lie_on_the_side_that_is_better() -> None:
    """By every metric of the registry, one constant report, wrong of every study, is the worse."""
    perfect, poor = score_systems([Texts.of(REPORTS, REPORTS), Texts.of(REPORTS, POOR)])
    scores = {name: (float(score), float(poor.totals()[name])) for name, score in perfect.totals().items()}
    for metric in perfect.metrics:
        better, worse = scores[metric.name]
        assert better > worse if metric.higher_is_better else better < worse, metric.name
    for whole in registry.CORPUS_METRICS:
        better, worse = (whole.score(REPORTS, texts, POOR) for texts in (REPORTS, POOR))
        assert better > worse if whole.higher_is_better else better < worse, whole.name


def test_statistics_are_counted_once_for_all_metrics_that_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four BLEUs cost one."""
    counted = Mock(wraps=text_metrics.bleu_statistics)
    monkeypatch.setattr(text_metrics, "bleu_statistics", counted)
    score_systems([Texts.of(REPORTS, POOR)], [metric for metric in registry.METRICS if "BLEU" in metric.name])
    counted.assert_called_once()


def test_what_needs_an_extra_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its packages the other metrics are scored all the same, and the check names what to install."""
    for package in ("pycocoevalcap", "pycocoevalcap.bleu.bleu_scorer", "sacrebleu"):
        monkeypatch.setitem(sys.modules, package, None)
    [scores] = score_systems([Texts.of(REPORTS, POOR)], [metric for metric in registry.METRICS if not metric.extra])
    assert np.isfinite(scores.totals()["micro-F1"])
    for whole in registry.CORPUS_METRICS:
        if not whole.extra:
            assert np.isfinite(whole.score(REPORTS, POOR, POOR))
    with pytest.raises(MissingExtraError, match=r"xray-report\[evaluation\]"):
        registry.check_extras()
