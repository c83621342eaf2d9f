"""Composed reports: what sentences state, which statements labels support, and the reports that facts are told by."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from app.text.facts import DENIED, PASSED_OVER, Fact, consistent, stated
from app.text.findings import FINDINGS, IMAGE_LABELS
from app.text.labeller import label_report, label_sentence, says_normal
from model_training.data import Study, read_collection
from model_training.data.labels import ImageLabels
from model_training.data.pairing.composition import Composed, Composer
from model_training.data.pairing.locations import Location, location_of, moved, without_degree, without_location
from model_training.data.pairing.statements import facts_in, located_statement_of, statement_of, supported
from model_training.data.text.prior_exams import mentions_prior_exam
from model_training.data.text.text_policy import TextPolicy, sentences

SECTIONS = ("findings", "impression")
NAMES = tuple(IMAGE_LABELS)
ALL_ABSENT = dict.fromkeys(IMAGE_LABELS, False)


def facts(*, normal: bool = False, denied: tuple[str, ...] = (), **told: Fact) -> tuple[Fact, ...]:
    """Facts of all labels: those told, those denied, nothing of the rest."""
    known = [told.get(name, DENIED if name in denied else PASSED_OVER) for name in NAMES]
    whole = stated() if told else DENIED if normal else PASSED_OVER
    return consistent([*known, whole], NAMES)


@pytest.fixture(scope="module")
def reports() -> list[Study]:
    """Training reports with few words for each finding."""
    texts = [
        ("normal", "Heart size is normal. The lungs are clear. No effusion or pneumothorax.", "No acute disease."),
        ("Cardiomegaly/mild", "The heart is mildly enlarged. No effusion. Old rib fracture.", "Mild cardiomegaly."),
        ("Pleural Effusion/left/small", "Small left pleural effusion. Heart size is normal.", "Left effusion."),
        ("Pleural Effusion/right", "There is a small right pleural effusion. Pacemaker in place.", "Right effusion."),
        ("Mass/lung", "There is a 3 cm mass in the right upper lobe. Lungs are otherwise clear.", "Right mass."),
        ("Pneumonia/lung", "Left lower lobe pneumonia. No pneumothorax.", "Pneumonia."),
    ]  # fmt: skip
    studies = [
        Study(f"{n}-{i}", (), findings=findings, impression=impression, mesh=(code,))
        for i, (code, findings, impression) in enumerate(texts)
        for n in range(6)
    ]
    return [TextPolicy().apply(study) for study in studies]


@pytest.fixture(scope="module")
def composer(reports: list[Study]) -> Composer:
    return Composer(reports, SECTIONS, NAMES)


@pytest.mark.parametrize(
    ("sentence", "plain"),
    [
        ("Small left pleural effusion.", "Pleural effusion."),
        ("There is a small to moderate right-sided pleural effusion.", "There is a pleural effusion."),
        ("There is an opacity in the right lower lobe.", "There is an opacity."),
        ("Bilateral pleural effusions, left greater than right.", "Pleural effusions."),
        ("A 2.2 x 1.6 cm nodule.", "A nodule."),
        ("The heart is mildly enlarged.", "The heart is enlarged."),
        ("Cardiomegaly.", "Cardiomegaly."),
    ],
)
def test_locations_sizes_and_degrees_are_taken_out(sentence: str, plain: str) -> None:
    """Labels of whole images know none of them."""
    assert without_location(sentence) == plain


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("Small left pleural effusion.", "Left pleural effusion."),
        ("There is a small to moderate right-sided pleural effusion.", "There is a right-sided pleural effusion."),
        ("There is a 9 mm nodule in the right upper lobe.", "There is a nodule in the right upper lobe."),
        ("Mild bibasilar atelectasis.", "Bibasilar atelectasis."),
    ],
)
def test_degrees_are_taken_out_and_locations_stay(sentence: str, kept: str) -> None:
    """What a side and a zone can tell is told."""
    assert without_degree(sentence) == kept


@pytest.mark.parametrize(
    ("sentence", "location"),
    [
        ("Left pleural effusion.", Location("left")),
        ("Opacity in the right lower lobe.", Location("right", "lower")),
        ("Bibasilar atelectasis.", Location("both", "lower")),
        ("Airspace disease at both lung bases.", Location("both", "lower")),
        ("Atelectasis at the left base.", Location("left", "lower")),
        ("Right apical pneumothorax.", Location("right", "upper")),
        ("Right middle lobe opacity.", Location("right", "middle")),
        ("Upper lobe opacity.", Location(None, "upper")),
        ("Cardiomegaly.", Location()),
        ("Left retrocardiac opacity.", None),
        ("Bilateral effusions, left greater than right.", None),
        ("Opacities in the right upper and left lower lobes.", None),
    ],
)
def test_a_location_is_a_side_and_a_zone_or_cannot_be_told(sentence: str, location: Location | None) -> None:
    """None where the sentence says more than that."""
    assert location_of(sentence) == location


def test_a_sentence_moves_to_the_other_side_and_zone() -> None:
    """And nowhere else: the left lung has no middle lobe."""
    assert dict(moved("Left lower lobe opacity.", Location("left", "lower"))) == {
        "Right lower lobe opacity.": Location("right", "lower"),
        "Left upper lobe opacity.": Location("left", "upper"),
        "Right upper lobe opacity.": Location("right", "upper"),
    }
    assert moved("Right middle lobe opacity.", Location("right", "middle")) == []
    assert moved("Bilateral effusions.", Location("both")) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "Old right rib fracture.",  # a finding that images are not labelled for
        "The heart is enlarged, with pacemaker leads in place.",
        "Cardiomegaly and degenerative changes of the spine.",
        "Possible pneumonia.",  # a doubt
        "No large pleural effusion.",  # a small one may be there
        "The trachea is midline.",
        "Opacities, recommend CT.",
    ],
)
def test_sentences_that_labels_cannot_support_state_nothing(sentence: str) -> None:
    """Whatever the labels are."""
    assert statement_of(sentence) is None
    assert located_statement_of(sentence) is None


@pytest.mark.parametrize(
    ("sentence", "labels", "holds"),
    [
        ("Pleural effusion.", {"effusion": True}, True),
        ("Pleural effusion.", {"effusion": False}, False),
        ("Pleural effusion.", {"effusion": None}, False),
        ("No pleural effusion.", {"effusion": False}, True),
        ("No pleural effusion.", {}, False),
        ("No pleural effusion or pneumothorax.", {"effusion": False, "pneumothorax": None}, False),
        ("Pneumonia.", {"pneumonia": True}, True),
        ("Pneumonia.", {"pneumonia": False, "infiltration": True}, False),
        ("Airspace opacity.", {"pneumonia": False, "infiltration": True}, True),
        ("No consolidation.", {"consolidation": False}, False),  # the other kinds of opacity are not labelled
        ("No consolidation.", {"consolidation": False, "infiltration": False, "pneumonia": False}, True),
        ("Mass.", {"mass": False, "nodule": True}, False),
        ("No acute disease.", {"normal": True}, True),
        ("No acute disease.", {"normal": False, **ALL_ABSENT}, False),
        ("The lungs are clear.", ALL_ABSENT, True),
        ("The lungs are clear.", {**ALL_ABSENT, "nodule": True}, False),
    ],
)
def test_a_statement_holds_where_the_labels_say_all_of_it(
    sentence: str, labels: dict[str, bool | None], holds: bool
) -> None:
    """Present as labelled, absent as labelled, and nothing about what is not labelled."""
    statement = statement_of(sentence)
    assert statement is not None
    assert supported(statement, ImageLabels.of(Study("1", (), labels=tuple(labels.items())))) is holds


def said(composed: Composed, section: str) -> Counter[tuple[str, str]]:
    """How often a section mentions each finding with each status."""
    return Counter(
        (mention.finding, mention.status)
        for sentence in sentences(composed.sections[section])
        for mention in label_sentence(sentence).values()
    )


def check_exact(composed: Composed) -> None:
    """Each fact once a section: all of them in the first, what is there in the last, and nothing else."""
    groups = {IMAGE_LABELS[name]: fact for name, fact in zip(NAMES, composed.facts, strict=False) if fact.assertion}
    told = {(group, "present" if fact.stated else "absent") for group, fact in groups.items()}
    assert said(composed, "findings") == dict.fromkeys(told, 1)
    assert said(composed, "impression") == dict.fromkeys((pair for pair in told if pair[1] == "present"), 1)
    calm = [sentence for sentence in sentences(composed.sections["impression"]) if says_normal(sentence)]
    assert len(calm) == composed.facts[-1].denied
    for group, fact in groups.items():
        sides = label_report(composed.sections["findings"])[group].sides
        known: set[str] = {"left", "right"} if fact.place[0] == "both" else {*filter(None, [fact.place[0]])}
        assert not fact.stated or not sides or sides == known


def test_a_report_says_the_facts_told_and_nothing_else(composer: Composer) -> None:
    """Once a section, and where they lie."""
    told = facts(cardiomegaly=stated(), effusion=stated("right"), denied=("pneumothorax",))
    for seed in range(30):
        composed = composer.compose(told, random.Random(seed))
        assert composed.facts == told
        check_exact(composed)
        assert "ight" in composed.sections["findings"]
        assert "eft" not in composed.sections["findings"] + composed.sections["impression"]


def test_findings_that_no_report_has_together_are_composed(composer: Composer) -> None:
    """Heart, mass and pneumonia."""
    told = facts(cardiomegaly=stated(), mass=stated(), pneumonia=stated())
    composed = composer.compose(told, random.Random(1))
    assert composed.facts == told
    check_exact(composed)


def test_the_healthy_get_a_report_that_says_so(composer: Composer) -> None:
    """And only denials beside."""
    told = facts(normal=True, denied=("cardiomegaly", "effusion", "pneumothorax"))
    composed = composer.compose(told, random.Random(1))
    assert composed.sections["impression"] == "No acute disease."
    check_exact(composed)
    assert composer.compose(facts(normal=True), random.Random(1)).sections == {
        "findings": "",
        "impression": "No acute disease.",
    }


def test_what_no_sentence_says_is_passed_over(composer: Composer) -> None:
    """These reports have no words for a hernia: its fact is none of those that the report says."""
    composed = composer.compose(facts(hernia=stated(), effusion=stated()), random.Random(1))
    assert composed.facts == facts(effusion=stated())
    check_exact(composed)


def test_every_draw_says_its_own_facts(composer: Composer) -> None:
    """Reports as written, facts at random, and those of a study."""
    study = Study("1.jpg", (), labels=tuple({"normal": False, **ALL_ABSENT, "effusion": True}.items()))
    draws = [composer.draw(study, key) for key in range(300)]
    for composed in draws:
        check_exact(composed)
    assert draws == [composer.draw(study, key) for key in range(300)]
    assert len({str(composed) for composed in draws}) > 100


def test_facts_of_a_text_are_those_the_labeller_reads() -> None:
    """With the place of what is there; nothing found is a fact of its own."""
    names = ("cardiomegaly", "effusion", "pneumothorax")
    text = {"findings": "Small left pleural effusion. Heart size is normal."}
    assert facts_in(text, names) == (DENIED, stated("left"), PASSED_OVER, stated())
    assert facts_in({"impression": "No acute disease."}, names)[-1] == DENIED
    assert facts_in({"findings": ""}, names) == (PASSED_OVER,) * 4


def test_reports_that_say_nothing_of_labels_are_refused() -> None:
    """An error that says so, before any training."""
    with pytest.raises(ValueError, match="no report to pair"):
        Composer([Study("1", (), findings="Old rib fracture.", impression="Fracture.")], SECTIONS, NAMES)


def test_real_reports_compose_exactly(data_dir: Path) -> None:
    """A thousand draws from the reports of the Indiana collection, none of them of an earlier examination."""
    studies = [TextPolicy().apply(study) for study in read_collection(data_dir / "iu_xray").split("train")]
    composer = Composer(studies, SECTIONS, NAMES)
    study = Study("1.jpg", (), labels=tuple({"normal": False, **ALL_ABSENT, "infiltration": True}.items()))
    for key in range(1000):
        composed = composer.draw(study, key)
        check_exact(composed)
        assert not any(mentions_prior_exam(s) for text in composed.sections.values() for s in sentences(text))


def test_labels_of_images_belong_to_findings_of_reports() -> None:
    """The labeller knows every group that image labels are read as."""
    assert set(IMAGE_LABELS.values()) <= set(FINDINGS)
