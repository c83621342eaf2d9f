"""Baselines: chosen as they claim, and equal to the figures they were first measured with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from model_training.data import Study, read_collection
from model_training.evaluation import baselines
from model_training.evaluation.baselines import CONSTANT, FREQUENT, RANDOM, TAGS
from model_training.metrics import r2gen
from model_training.metrics import text as text_metrics

REPORTS = ["a b c d .", "a b c d e .", "a b c d e .", "x y z ."]


def test_the_best_constant_is_the_one_that_scores_best_everywhere() -> None:
    """The fast search finds what trying each report on all would find."""
    tried = [
        text_metrics.bleu_of(text_metrics.bleu_statistics(REPORTS, [text] * len(REPORTS)).sum(axis=0))[3]
        for text in REPORTS
    ]
    assert baselines.best_constant(REPORTS) == tried.index(max(tried))


def test_the_most_frequent_report_is_the_first_of_the_commonest() -> None:
    """Ties go to the one that comes first."""
    assert baselines.most_frequent(REPORTS) == 1
    assert baselines.most_frequent(["b", "a"]) == 0


def test_the_nearest_report_shares_the_most_tags() -> None:
    """Among equally near ones it is the one that stands best for the others, wherever it stands."""
    known = [frozenset({"normal"})] * 3 + [frozenset({"effusion", "cardiomegaly"})]
    wanted = [frozenset({"normal"}), frozenset({"effusion"})]
    assert baselines.nearest_by_tags(wanted, known, REPORTS) == [1, 3]


@pytest.fixture(scope="module")
def official(data_dir: Path) -> tuple[list[Study], list[Study]]:
    """Train and test studies of the official split."""
    collection = read_collection(data_dir / "iu_xray", "r2gen_json")
    return list(collection.split("train")), list(collection.split("test"))


@pytest.fixture(scope="module")
def rows(official: tuple[list[Study], list[Study]]) -> dict[str, dict[str, float]]:
    """The baselines on the official test split under the R2Gen protocol."""
    train, test = official
    systems = baselines.baseline_reports(train, test)
    return baselines.rows(baselines.score_baselines(train, test, systems))


BLEUS, OTHERS = tuple(f"BLEU-{n}" for n in (1, 2, 3, 4)), ("ROUGE-L", "CIDEr")


def cells(row: dict[str, float], *names: str) -> list[str]:
    """Scores as the tables print them."""
    return [f"{row[name]:.3f}" for name in names]


def test_the_best_constant_scores_exactly_what_it_should(rows: dict[str, dict[str, float]]) -> None:
    """To three decimals: the sign that cleaning, vocabulary, cut and scorers are right."""
    assert cells(rows[CONSTANT], *BLEUS) == ["0.500", "0.338", "0.240", "0.172"]
    assert cells(rows[CONSTANT], *OTHERS) == ["0.363", "0.285"]


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR needs Java")
def test_the_meteor_of_the_baselines_is_as_measured(rows: dict[str, dict[str, float]]) -> None:
    """Constant, most frequent, random."""
    measured = [rows[name]["METEOR"] for name in (CONSTANT, FREQUENT, f"{RANDOM}, mean of 5 seeds")]
    assert [f"{value:.3f}" for value in measured] == ["0.224", "0.119", "0.157"]


def test_frequent_and_random_reports_score_what_they_should(rows: dict[str, dict[str, float]]) -> None:
    """As measured when the protocol was set down."""
    names = ("BLEU-1", "BLEU-4", *OTHERS)
    assert cells(rows[FREQUENT], *names) == ["0.241", "0.081", "0.312", "0.344"]
    assert cells(rows[f"{RANDOM}, mean of 5 seeds"], *names) == ["0.373", "0.090", "0.291", "0.156"]


def test_knowing_the_tags_beats_every_blind_baseline(rows: dict[str, dict[str, float]]) -> None:
    """An oracle of findings is better in words and far better in labels."""
    for name in (CONSTANT, FREQUENT, f"{RANDOM}, mean of 5 seeds"):
        assert rows[TAGS]["CIDEr"] > rows[name]["CIDEr"]
        assert rows[TAGS]["micro-F1"] > rows[name]["micro-F1"] + 0.3


def test_the_best_constant_is_the_published_sentence(official: tuple[list[Study], list[Study]]) -> None:
    """Chosen on training reports alone."""
    train, test = official
    assert r2gen.clean(baselines.baseline_reports(train, test[:1])[CONSTANT][0]) == (
        "the lungs are clear . there is no focal airspace consolidation . no pleural effusion or pneumothorax ."
        " heart size and mediastinal contour are within normal limits . there are degenerative changes of the spine ."
    )
