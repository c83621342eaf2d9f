"""Text scores: equal to the published scorers, additive over studies, honest about what is missing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.meteor import meteor as package_meteor

from app.text.findings import FINDINGS
from model_training.data.mesh import label_mesh
from model_training.metrics import bootstrap, registry
from model_training.metrics import text as text_metrics
from model_training.metrics.agreement import Labels
from model_training.metrics.extras import MissingExtraError
from model_training.metrics.meteor import meteor_of, meteor_statistics
from model_training.metrics.registry import StudyScores, Texts, score_systems

REFERENCES = [
    "the heart is normal in size . the lungs are clear .",
    "there is a small left pleural effusion . no pneumothorax .",
    "the heart is enlarged . right lower lobe opacity .",
    "the lungs are clear . no pneumothorax or effusion .",
]
HYPOTHESES = [
    "the heart is normal in size . the lungs are clear .",
    "there is a small right pleural effusion . the heart is enlarged .",
    "the cardiac silhouette is enlarged . opacities in the right lower lobe .",
    "clear lungs .",
]
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="METEOR needs Java")


def score(hypotheses: list[str], labels: Sequence[Labels] | None = None) -> StudyScores:
    """Scores without METEOR, which takes seconds to start."""
    quick = [metric for metric in registry.METRICS if metric.name != "METEOR"]
    return score_systems([Texts.of(REFERENCES[: len(hypotheses)], hypotheses, labels)], quick)[0]


def test_bleu_from_statistics_is_the_package_s_bleu() -> None:
    """The sums give what the scorer of the literature gives for the corpus."""
    wanted = {i: [text] for i, text in enumerate(REFERENCES)}
    given = {i: [text] for i, text in enumerate(HYPOTHESES)}
    expected, _ = Bleu().compute_score(wanted, given, verbose=0)
    statistics = text_metrics.bleu_statistics(REFERENCES, HYPOTHESES)
    np.testing.assert_allclose(text_metrics.bleu_of(statistics.sum(axis=0)), expected, rtol=1e-12)


def test_statistics_of_a_constant_equal_those_of_repeating_it() -> None:
    """The fast path over all candidates is the slow one."""
    fast = text_metrics.constant_bleu_statistics(REFERENCES, HYPOTHESES)
    slow = [text_metrics.bleu_statistics(REFERENCES, [text] * len(REFERENCES)).sum(axis=0) for text in HYPOTHESES]
    np.testing.assert_array_equal(fast, slow)


@needs_java
def test_meteor_from_statistics_is_the_package_s_meteor() -> None:
    """The formula applied to sums gives the jar's own scores, of each study and of the corpus."""
    scorer = package_meteor.Meteor()
    try:
        corpus, studies = scorer.compute_score(
            {i: [text] for i, text in enumerate(REFERENCES)}, {i: [text] for i, text in enumerate(HYPOTHESES)}
        )
    finally:
        scorer.meteor_p.communicate()  # the package leaves its pipes open
    statistics = meteor_statistics(Path(package_meteor.__file__).with_name("meteor-1.5.jar"), REFERENCES, HYPOTHESES)
    assert statistics is not None
    np.testing.assert_allclose(meteor_of(statistics), studies, rtol=1e-12)
    np.testing.assert_allclose(meteor_of(statistics.sum(axis=0)), corpus, rtol=1e-12)


def test_meteor_is_left_out_without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Java is no error: the score is missing and all others are there."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    totals = score_systems([Texts.of(REFERENCES, HYPOTHESES)])[0].totals()
    assert "METEOR" not in totals
    assert {"BLEU-4", "ROUGE-L", "CIDEr", "micro-F1"} <= totals.keys()


def test_meteor_is_left_out_when_java_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a Java that fails."""
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda _: str(broken))
    assert meteor_statistics(tmp_path / "meteor.jar", REFERENCES, HYPOTHESES) is None


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks the scorers is told what to install."""
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu_scorer", None)
    with pytest.raises(MissingExtraError, match=r"xray-report\[evaluation\]"):
        text_metrics.bleu_statistics(REFERENCES, HYPOTHESES)


def test_perfect_hypotheses_score_full_marks() -> None:
    """Every score ends at its maximum."""
    totals = score(REFERENCES).totals()
    assert [float(totals[name]) for name in ("BLEU-4", "ROUGE-L", "micro-F1", "side accuracy")] == pytest.approx(
        [1] * 4
    )
    assert totals["CIDEr"] == pytest.approx(10)


def test_labels_and_sides_are_scored_apart_from_words() -> None:
    """Same findings in other words score full label F1; a wrong side counts as a wrong side."""
    totals = score(HYPOTHESES).totals()
    # Study 2: effusion found on the wrong side, cardiomegaly invented; study 3: both found, the opacity's side right.
    assert totals["micro-F1"] == pytest.approx(2 * 3 / (2 * 3 + 1))
    assert totals["side accuracy"] == pytest.approx(1 / 2)


def test_given_labels_outrank_those_of_the_reference() -> None:
    """Human codes are the gold standard where there are some."""
    gold = [label_mesh(["Cardiomegaly"])] * 4
    scores = score(HYPOTHESES, gold)
    cardiomegaly = scores.statistics[registry.findings][:, FINDINGS.index("cardiomegaly")]
    np.testing.assert_array_equal(cardiomegaly.argmax(axis=1), [2, 0, 0, 2])


def test_weights_count_studies() -> None:
    """A weight of two is the study twice, a weight of zero leaves it out."""
    scores = score(HYPOTHESES)
    twice = [0, 0, 2]
    repeated = StudyScores(scores.metrics, {source: each[twice] for source, each in scores.statistics.items()})
    weighted = scores.totals(np.array([2.0, 0.0, 1.0, 0.0]))
    for name, value in repeated.totals().items():
        np.testing.assert_allclose(weighted[name], value, err_msg=name)


def test_hypotheses_must_pair_with_references() -> None:
    """A count that differs is an error by name, as is nothing to score."""
    with pytest.raises(ValueError, match="1 hypotheses for 4 references"):
        Texts.of(REFERENCES, HYPOTHESES[:1])
    with pytest.raises(ValueError, match="0 hypotheses for 0 references"):
        Texts.of([], [])


def test_sacre_bleu_minds_case() -> None:
    """It scores the text as it stands."""
    assert text_metrics.sacre_bleu(["The lungs are clear now."], ["The lungs are clear now."]) == pytest.approx(1)
    assert text_metrics.sacre_bleu(["The lungs are clear now."], ["the lungs are clear now."]) < 1


def test_memorisation_counts_repeated_copied_and_comparing_texts() -> None:
    """Texts are compared as the protocol cleans them."""
    texts = ["Lungs clear.", "lungs clear", "Stable heart size.", "Large heart."]
    assert text_metrics.distinct(texts) == 3 / 4
    assert text_metrics.copied(texts, ["LUNGS CLEAR."]) == 2 / 4
    assert text_metrics.comparing(texts) == 1 / 4


def test_the_bootstrap_finds_no_difference_of_a_system_to_itself() -> None:
    """The interval is a point at zero."""
    scores = score(HYPOTHESES)
    for name, difference in bootstrap.paired_bootstrap(scores, scores, resamples=50).items():
        assert (difference.value, difference.low, difference.high) == (0, 0, 0), name
        assert not difference.significant


def test_the_bootstrap_finds_a_difference_every_study_shows() -> None:
    """Perfect reports beat a constant, whichever studies are drawn, and the same seed draws the same studies."""
    perfect, constant = score(REFERENCES), score(["there is a fracture ."] * 4)
    differences = bootstrap.paired_bootstrap(perfect, constant, resamples=200, seed=1)
    assert differences["BLEU-4"].significant
    assert "side accuracy" not in differences  # the constant has no side to be right about
    assert 0 < differences["ROUGE-L"].low <= differences["ROUGE-L"].value <= differences["ROUGE-L"].high
    assert differences == bootstrap.paired_bootstrap(perfect, constant, resamples=200, seed=1)


def test_the_bootstrap_pairs_equal_numbers_of_studies() -> None:
    """Systems scored on different sets cannot be compared."""
    scores = score(HYPOTHESES)
    fewer = score(HYPOTHESES[:2])
    with pytest.raises(ValueError, match="cannot pair 4 studies with 2"):
        bootstrap.paired_bootstrap(scores, fewer)
