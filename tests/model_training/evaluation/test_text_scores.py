"""The tables of an evaluation: what is compared with what, on which studies, and how sure it is."""

from __future__ import annotations

import shutil
from dataclasses import astuple

import numpy as np
import pytest

from model_training.data.study import Study
from model_training.evaluation.generation import GeneratedReport
from model_training.evaluation.text_scores import (
    BLANK,
    MODEL,
    SHUFFLED,
    TextScores,
    TextView,
    is_normal,
    prepare,
    score,
    text_views,
)
from model_training.metrics import registry
from model_training.metrics.bootstrap import bootstrap, paired_bootstrap
from model_training.metrics.registry import Metric, StudyScores
from tests.model_training.reports import generated, report

CLEAR = "The lungs are clear. The heart is normal in size. There is no pleural effusion."
EFFUSION = "There is a small left pleural effusion. The heart is normal in size."
LARGE = "The heart is enlarged. The lungs are clear. There is no pleural effusion."
TRAIN = [Study(f"t{i}", (), text, "Normal.") for i, text in enumerate([CLEAR, CLEAR, EFFUSION, LARGE] * 3)]
TEST = [
    Study("1", (), CLEAR, "Normal.", mesh=("normal",)),
    Study("2", (), EFFUSION, "Effusion.", mesh=("Pleural Effusion/left/small",)),
    Study("3", (), LARGE, "", mesh=("Cardiomegaly",)),
    Study("4", (), "", "No findings section.", mesh=("normal",)),
]
PROTOCOL = TextView(("findings",), protocol=True)


def score_view(view: TextView, train: list[Study], systems: dict[str, list[GeneratedReport]]) -> TextScores | None:
    """One view alone."""
    prepared = prepare(view, train, systems)
    return score([prepared])[0] if prepared else None


@pytest.fixture(autouse=True)
def _no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """METEOR has its own tests and takes seconds."""
    monkeypatch.setattr(shutil, "which", lambda _: None)


def test_the_protocol_comes_first_and_the_sections_joined_last() -> None:
    """A model that writes both is scored three ways, one that writes impressions alone in one."""
    assert [view.title for view in text_views(["findings", "impression"])] == [
        "Findings, R2Gen protocol",
        "Findings, without <unk> and cut",
        "Findings and impression, without <unk> and cut",
    ]
    assert [view.sections for view in text_views(["impression"])] == [("impression",)]
    assert [view.protocol for view in text_views(["findings"])] == [True, False]


def test_a_model_that_copies_the_reference_scores_full_marks() -> None:
    """And every baseline stands beside it; the study without findings takes no part."""
    scored = score_view(PROTOCOL, TRAIN, {MODEL: [generated(s, report(s.findings)) for s in TEST]})
    assert scored is not None
    assert [study.id for study in scored.studies] == ["1", "2", "3"]
    table = scored.table().rows
    assert list(table) == [
        "model",
        "best constant",
        "most frequent training report",
        "gold MeSH tags, nearest training report",
        "random training report, mean of 5 seeds",
    ]
    assert [table["model"][key] for key in ("BLEU-4", "micro-F1", "sacreBLEU", "copied")] == pytest.approx([1] * 4)
    assert table["best constant"]["distinct"] == pytest.approx(1 / 3)
    assert table["best constant"]["micro-F1"] < 1
    assert "METEOR" not in table["model"]
    assert astuple(scored.intervals()["BLEU-4"]) == pytest.approx((1, 1, 1))


def test_the_protocol_writes_unknown_words_as_such_and_the_other_view_does_not() -> None:
    """A word never trained on is `<unk>` on both sides, so the protocol cannot tell it from another one."""
    test = [Study("1", (), CLEAR.replace("clear", "hyperlucent"), mesh=("normal",))]
    systems = {MODEL: [generated(test[0], report(CLEAR.replace("clear", "blurred")))]}
    with_unknown = score_view(PROTOCOL, TRAIN, systems)
    plain = score_view(TextView(("findings",), protocol=False), TRAIN, systems)
    assert with_unknown is not None
    assert plain is not None
    assert with_unknown.table().rows["model"]["BLEU-1"] == pytest.approx(1)
    assert plain.table().rows["model"]["BLEU-1"] < 1


def test_joined_sections_are_scored_where_the_study_has_both() -> None:
    """The impression counts, and a study that lacks it is left out."""
    view = TextView(("findings", "impression"), protocol=False)
    scored = score_view(view, TRAIN, {MODEL: [generated(s, report(s.findings, s.impression)) for s in TEST]})
    assert scored is not None
    assert [study.findings for study in scored.studies] == [f"{CLEAR} Normal.", f"{EFFUSION} Effusion."]
    assert scored.table().rows["model"]["BLEU-4"] == pytest.approx(1)
    assert scored.texts["best constant"][0].endswith("Normal.")


def test_normal_and_abnormal_studies_are_scored_apart() -> None:
    """A model that always says normal is perfect on the one and blind on the other."""
    scored = score_view(PROTOCOL, TRAIN, {MODEL: [generated(s, report(CLEAR)) for s in TEST[:3]]})
    assert scored is not None
    groups = scored.groups()
    assert {name: group.studies for name, group in groups.items()} == {"normal": 1, "abnormal": 2}
    assert groups["normal"].rows["model"]["BLEU-4"] == pytest.approx(1)
    assert groups["normal"].rows["model"]["names a finding"] == 0
    assert groups["abnormal"].rows["model"]["micro-F1"] == 0
    oracle = groups["abnormal"].rows["gold MeSH tags, nearest training report"]
    assert oracle["BLEU-1"] > 0


def test_controls_are_held_against_the_constant_like_the_model() -> None:
    """One row of differences each, paired on the same studies."""
    perfect = [generated(s, report(s.findings)) for s in TEST[:3]]
    constant = [generated(s, report("Nothing like it.")) for s in TEST[:3]]
    scored = score_view(PROTOCOL, TRAIN, {MODEL: perfect, SHUFFLED: constant, BLANK: constant})
    assert scored is not None
    differences = scored.differences()
    assert list(differences) == [MODEL, SHUFFLED, BLANK]
    assert differences[MODEL]["BLEU-4"].value > 0 > differences[SHUFFLED]["BLEU-4"].high


def test_nothing_is_scored_without_references_or_training_reports() -> None:
    """There is nothing to compare with."""
    systems = {MODEL: [generated(TEST[3], report(CLEAR))]}
    assert score_view(PROTOCOL, TRAIN, systems) is None
    assert score_view(PROTOCOL, [], {MODEL: [generated(TEST[0], report(CLEAR))]}) is None


@pytest.mark.parametrize(
    ("study", "normal"),
    [
        (Study("1", (), EFFUSION, mesh=("normal",)), True),
        (Study("2", (), CLEAR, mesh=("Cardiomegaly/mild",)), False),
        (Study("3", (), CLEAR, mesh=("No Indexing",)), True),
        (Study("4", (), EFFUSION), False),
    ],
)
def test_codes_say_what_is_normal_and_the_text_where_there_are_none(study: Study, normal: bool) -> None:
    """`No Indexing` is no code."""
    assert is_normal(study) is normal


def made(values: np.ndarray, counts: float = 1.0) -> StudyScores:
    """Scores of one metric, a mean over studies that count that often."""
    metric = Metric("score", registry.rouge_l, registry.mean)
    return StudyScores([metric], {metric.statistics: np.stack([values, np.full(len(values), counts)], axis=-1)})


def test_intervals_hold_the_truth_as_often_as_they_claim() -> None:
    """Of two hundred samples of sixty studies, about 95% of the intervals hold the true mean and difference."""
    rng = np.random.default_rng(0)
    held = np.zeros(2)
    for seed in range(200):
        one, other = rng.beta(2, 3, size=60), rng.beta(2, 2, size=60)
        mean = bootstrap(made(one), resamples=200, seed=seed)["score"]
        difference = paired_bootstrap(made(other), made(one), resamples=200, seed=seed)["score"]
        held += [mean.low <= 0.4 <= mean.high, difference.low <= 0.1 <= difference.high]
    assert (held / 200 > 0.89).all()
    assert (held / 200 < 0.99).all()


def test_undefined_scores_have_no_interval() -> None:
    """There was no study to be right about."""
    assert "score" not in bootstrap(made(np.ones(3), counts=0.0), resamples=10)
