"""AUROC and average precision, by cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from model_training.metrics.ranking import auroc, average_precision, resampled_auroc

NAN = float("nan")


def column(*values: float) -> np.ndarray:
    """One finding, [studies, 1]."""
    return np.array(values, dtype=np.float64)[:, None]


def test_auroc_is_the_share_of_pairs_ranked_right() -> None:
    """Of four pairs three are in order; an unlabelled study takes no part."""
    assert auroc(column(0.1, 0.4, 0.35, 0.8, 0.9), column(0, 0, 1, 1, NAN)) == pytest.approx([0.75])


def test_a_tie_is_half_a_pair_ranked_right() -> None:
    """A head that says the same of all studies ranks nothing."""
    assert auroc(column(0.3, 0.3, 0.3), column(0, 1, 1)) == pytest.approx([0.5])
    assert auroc(column(0.3, 0.3, 0.1), column(0, 1, 0)) == pytest.approx([0.75])


def test_ranking_needs_both_classes() -> None:
    """Otherwise there is no number."""
    assert np.isnan(auroc(column(0.1, 0.2), column(1, 1)))[0]
    assert np.isnan(average_precision(column(0.1, 0.2), column(0, NAN)))[0]


def test_average_precision_adds_precision_where_recall_grows() -> None:
    """Positives at ranks 1 and 3: (1/1 + 2/3) / 2; equal scores are taken together."""
    assert average_precision(column(0.1, 0.4, 0.35, 0.8), column(0, 0, 1, 1)) == pytest.approx([5 / 6])
    assert average_precision(column(0.5, 0.5), column(1, 0)) == pytest.approx([0.5])


@pytest.mark.parametrize("values", [3, 1000], ids=["many ties", "few ties"])
def test_resampling_gives_the_area_of_the_studies_drawn(values: int) -> None:
    """As scikit-learn has it of the drawn studies themselves, ties and unlabelled studies included."""
    rng = np.random.default_rng(0)
    scores = rng.integers(values, size=(60, 4)).astype(np.float64)
    targets = rng.choice([0.0, 1.0, NAN], size=scores.shape)
    targets[:, 2], targets[:, 3] = NAN, np.where(np.arange(60) == 7, 1.0, 0.0)  # in many draws without a positive one
    draws = rng.integers(60, size=(50, 60))
    weights = np.array([np.bincount(draw, minlength=60) for draw in draws], dtype=np.float64)
    wanted = np.array([auroc(scores[draw], targets[draw]) for draw in draws])
    assert np.isnan(wanted[:, 3]).any()
    np.testing.assert_allclose(resampled_auroc(scores, targets, weights), wanted, rtol=1e-12)
