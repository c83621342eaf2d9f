"""Weak pairing: what sentences state, which statements labels support, and the reports drawn for labelled images."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_training.data.pairing.weak_pairing import WeakPairing

from app.text.findings import FINDINGS, IMAGE_LABELS
from app.text.labeller import label_report
from model_training.data import Study, read_collection
from model_training.data.labels import ImageLabels
from model_training.data.pairing.locations import without_location
from model_training.data.pairing.statements import statement_of, supported
from model_training.data.text.prior_exams import mentions_prior_exam
from model_training.data.text.text_policy import TextPolicy

SECTIONS = ("findings", "impression")
ALL_ABSENT = dict.fromkeys(IMAGE_LABELS, False)


def labelled(name: str = "1.jpg", *, normal: bool = False, others: bool | None = False, **present: bool) -> Study:
    """A study with these labels; `others` is what the rest of them are."""
    labels = {"normal": normal, **dict.fromkeys(IMAGE_LABELS, others), **present}
    return Study(name, (), labels=tuple(labels.items()))


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
def pairing(reports: list[Study]) -> WeakPairing:
    return WeakPairing(reports, SECTIONS)


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
    ],
)
def test_a_statement_holds_where_the_labels_say_all_of_it(
    sentence: str, labels: dict[str, bool | None], holds: bool
) -> None:
    """Present as labelled, absent as labelled, and nothing about what is not labelled."""
    statement = statement_of(sentence)
    assert statement is not None
    assert supported(statement, ImageLabels.of(Study("1", (), labels=tuple(labels.items())))) is holds


def test_drawn_reports_say_what_the_labels_say(pairing: WeakPairing) -> None:
    """Every finding present is named in both sections, and what is denied is labelled absent."""
    study = labelled(cardiomegaly=True, effusion=True)
    for key in range(30):
        drawn = pairing.draw(study, key)
        for text in drawn.values():
            named = {name for name, mention in label_report(text).items() if mention.status == "present"}
            assert named == {"cardiomegaly", "pleural effusion"}


def test_a_label_set_without_a_report_is_composed_of_single_sentences(pairing: WeakPairing) -> None:
    """No report has heart, mass and pneumonia together."""
    text = pairing.draw(labelled(cardiomegaly=True, mass=True, pneumonia=True), 1)["findings"]
    assert label_report(text).keys() >= {"cardiomegaly", "nodule", "airspace opacity"}
    assert len(text.split(". ")) >= 3


def test_what_is_not_labelled_is_neither_affirmed_nor_denied(pairing: WeakPairing) -> None:
    """A child's radiograph, labelled for pneumonia alone, and a normal one without any other label."""
    for key in range(30):
        ill, well = labelled(others=None, pneumonia=True), labelled(others=None, normal=True)
        assert label_report(" ".join(pairing.draw(ill, key).values())).keys() == {"airspace opacity"}
        assert pairing.draw(well, key) == {"findings": "No acute disease.", "impression": "No acute disease."}


def test_draws_follow_from_the_key_and_the_study_alone(pairing: WeakPairing) -> None:
    """Afresh for every key, the same for the same."""
    study = labelled(effusion=True)
    draws = [pairing.draw(study, 1, epoch) for epoch in range(20)]
    assert draws == [pairing.draw(study, 1, epoch) for epoch in range(20)]
    assert len({str(drawn) for drawn in draws}) > 1


def test_reports_that_say_nothing_of_labels_are_refused() -> None:
    """An error that says so, before any training."""
    with pytest.raises(ValueError, match="no report to pair"):
        WeakPairing([Study("1", (), findings="Old rib fracture.")], SECTIONS)


def test_on_the_real_collections_nothing_unsupported_is_drawn(data_dir: Path) -> None:
    """Over every training image: no mark, no prior examination, no finding beyond the labels, none left unsaid."""
    pairing = WeakPairing(
        [TextPolicy().apply(study) for study in read_collection(data_dir / "iu_xray").split("train")], SECTIONS
    )
    for study in read_collection(data_dir / "radiographs").split("train")[::5]:
        labels = ImageLabels.of(study)
        text = " ".join(pairing.draw(study, 1).values())
        mentions = label_report(text)
        assert {name for name, mention in mentions.items() if mention.status == "present"} == labels.present
        assert {name for name, m in mentions.items() if m.status == "absent"} <= labels.findings.keys()
        assert not mentions_prior_exam(text)
        assert "xxxx" not in text.lower()


def test_labels_of_images_belong_to_findings_of_reports() -> None:
    """The labeller knows every group that image labels are read as."""
    assert set(IMAGE_LABELS.values()) <= set(FINDINGS)
