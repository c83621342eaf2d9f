from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_training.data import Collection, Study, read_collection
from model_training.data.text.deidentification import holds_mark
from model_training.data.text.prior_exams import mentions_prior_exam
from model_training.data.text.text_policy import TextPolicy, sentences

DEFAULT = TextPolicy()


@pytest.fixture(scope="module")
def indiana(data_dir: Path) -> Collection:
    return read_collection(data_dir / "iu_xray")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("The lungs  are\nclear..  No effusion . .", "The lungs are clear. No effusion."),
        ("Clear lungs", "Clear lungs."),
        ("1. Emphysema. 2. No effusion. 3. Normal heart.", "Emphysema. No effusion. Normal heart."),
        ("1. Emphysema 2. No effusion", "Emphysema. No effusion."),
        ("Fractures of ribs 3 and 4. The heart is normal.", "Fractures of ribs 3 and 4. The heart is normal."),
        ("A nodule of 1.2 x 3.4 cm, < 5 mm deep.", "A nodule of 1.2 x 3.4 cm, < 5 mm deep."),
        ("Lungs are clear.There is no effusion.", "Lungs are clear. There is no effusion."),
        ("Nodules concerning for<BR>disease. &gt;] Clear.", "Nodules concerning for disease. Clear."),
        ("The patient\u2019s heart is normal.", "The patient's heart is normal."),
        ("No pneumothoraces. heart size is normal.", "No pneumothoraces. Heart size is normal."),
        ("Atelectasis / infiltrate and/or scar.", "Atelectasis/infiltrate and/or scar."),
        ("", ""),
        (" . ", ""),
    ],
)
def test_text_is_tidied(text: str, cleaned: str) -> None:
    assert DEFAULT.clean(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Normal chest x-XXXX.", "Normal chest x-ray."),
        ("There are no XXXX of a pleural effusion.", "There are no signs of a pleural effusion."),
        ("Blunting of the left costophrenic XXXX.", "Blunting of the left costophrenic angle."),
        ("XXXX sternotomy XXXX are intact.", "Median sternotomy wires are intact."),
        ("Calcified hilar lymph XXXX are seen.", "Calcified hilar lymph nodes are seen."),
        ("Right XXXX-A-XXXX is in XXXX.", "Right Port-A-Cath is in place."),
        ("Left basilar opacity, XXXX atelectasis.", "Left basilar opacity, likely atelectasis."),
        ("Anterior wedge XXXX deformity of L1.", "Anterior wedge compression deformity of L1."),
    ],
)
def test_word_is_put_back_where_it_alone_fits(text: str, cleaned: str) -> None:
    assert DEFAULT.clean(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("The heart and pulmonary XXXX are normal.", "The heart is normal."),
        ("Calcifications of the aortic XXXX.", "Calcifications of the aorta."),
        ("XXXX left pleural effusion.", "Left pleural effusion."),
        ("There is a XXXX opacity in the lingula.", "There is an opacity in the lingula."),
        ("Minimal XXXX scarring in both lower lobes.", "Minimal scarring in both lower lobes."),
    ],
)
def test_mark_is_taken_out_where_the_sentence_then_says_less(text: str, cleaned: str) -> None:
    assert DEFAULT.clean(text) == cleaned


@pytest.mark.parametrize(
    "sentence",
    [
        "No XXXX infiltrates.",  # hid "new": without it, more would be denied than was
        "No XXXX focal airspace consolidation.",
        "There is no evidence of XXXX airspace disease.",
        "The heart and lungs have XXXX XXXX in the interval.",
        "XXXX are normal.",
        "Heart size is XXXX within normal limits.",
        "Dr. XXXX was notified at XXXX p.m. XXXX.",
        "Comparison XXXX, XXXX.",
        "Seen by ___ on ___.",
    ],
)
def test_sentence_goes_when_its_mark_may_hide_what_it_hinges_on(sentence: str) -> None:
    assert DEFAULT.clean(f"Clear lungs. {sentence} No effusion.") == "Clear lungs. No effusion."


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Stable cardiomegaly.", "Cardiomegaly."),
        ("A left upper lobe granuloma appears unchanged.", "A left upper lobe granuloma."),
        ("Thoracic aorta is mildly ectatic, stable.", "Thoracic aorta is mildly ectatic."),
        ("The silhouette is normal and unchanged compared to prior examination.", "The silhouette is normal."),
        ("Cardiac silhouette is stable and within normal limits.", "Cardiac silhouette is within normal limits."),
        ("The heart is again mildly enlarged.", "The heart is mildly enlarged."),
        ("Again seen are calcified granulomas.", "Calcified granulomas."),
        ("There is an unchanged hiatal hernia.", "There is a hiatal hernia."),
        ("There is a persistent effusion.", "There is an effusion."),
        ("The lungs remain clear.", "The lungs are clear."),
        ("Right-sided opacity, similar to the prior study.", "Right-sided opacity."),
        ("Heart size within normal limits, stable mediastinal contours.", "Heart size within normal limits."),
        ("Stable cardiomediastinal silhouette with normal heart size.", "Normal heart size."),
        ("Stable position of left subclavian catheter.", "Left subclavian catheter."),
        ("Interval development of a large effusion.", "Large effusion."),
        ("New left effusion.", "Left effusion."),
    ],
)
def test_mention_of_an_earlier_exam_is_rewritten_to_what_the_image_shows(text: str, cleaned: str) -> None:
    assert DEFAULT.clean(text) == cleaned


@pytest.mark.parametrize(
    "sentence",
    [
        "No new infiltrate.",
        "Heart size is stable.",
        "Stable cardiomediastinal silhouette.",
        "No significant interval change.",
        "Comparison is made to the previous examination.",
        "The effusion has resolved.",
        "Interval improvement of the left effusion.",
        "The opacity has increased since the prior radiograph.",
        "These are unchanged since previous examination.",
    ],
)
def test_sentence_goes_when_it_is_about_a_change(sentence: str) -> None:
    assert DEFAULT.clean(f"Clear lungs. {sentence} No effusion.") == "Clear lungs. No effusion."


@pytest.mark.parametrize(
    "sentence",
    [
        "Evidence of prior granulomatous disease.",
        "Surgical clips consistent with prior CABG.",
        "Old right rib fractures.",
        "Followup at a short interval is recommended.",
        "Volume is lower compared to the left.",
        "Increased interstitial markings.",
        "Chronic changes against the chest wall.",
    ],
)
def test_history_the_image_shows_is_no_earlier_exam(sentence: str) -> None:
    assert not mentions_prior_exam(sentence)
    assert DEFAULT.clean(sentence) == sentence


@pytest.mark.parametrize(
    ("policy", "cleaned"),
    [
        (TextPolicy("keep", "keep"), "Stable cardiomegaly. XXXX are normal. Normal chest x-XXXX."),
        (TextPolicy("drop-token", "keep"), "Stable cardiomegaly. Are normal. Normal chest."),
        (TextPolicy("drop-sentence", "keep"), "Stable cardiomegaly."),
        (TextPolicy("restore", "keep"), "Stable cardiomegaly. Normal chest x-ray."),
        (TextPolicy("keep", "drop-sentence"), "XXXX are normal. Normal chest x-XXXX."),
        (TextPolicy("keep", "rewrite"), "Cardiomegaly. XXXX are normal. Normal chest x-XXXX."),
    ],
    ids=str,
)
def test_each_option_does_what_it_says(policy: TextPolicy, cleaned: str) -> None:
    assert policy.clean("Stable cardiomegaly. XXXX are normal. Normal chest x-XXXX.") == cleaned


def test_indication_keeps_its_question_where_a_report_would_lose_the_sentence() -> None:
    study = Study("1", (), "XXXX are normal.", "", "XXXX-year-old female with stable chest pain.")
    assert DEFAULT.apply(study) == Study("1", (), "", "", "Female with stable chest pain.")


def test_sentences_do_not_end_at_abbreviations() -> None:
    assert sentences("Told Dr. Smith at 3 p.m. today. Clear.") == ["Told Dr. Smith at 3 p.m. today.", "Clear."]


@given(st.text(alphabet="XXXXx-_. 1/ano,", max_size=60))
def test_no_mark_ever_passes(text: str) -> None:
    assert not holds_mark(DEFAULT.clean(text))


def test_real_reports_are_clean_once_cleaned(indiana: Collection) -> None:
    texts = [text for study in indiana.studies for text in (study.findings, study.impression)]
    for cleaned in map(DEFAULT.clean, texts):
        assert not holds_mark(cleaned)
        assert not mentions_prior_exam(cleaned)
        assert not re.search(r"\s\s|\s[.,;]|[.,;]{2}|^[^\w(]", cleaned), cleaned
        assert DEFAULT.clean(cleaned) == cleaned


def test_real_reports_lose_few_sentences_and_hardly_a_whole_report(indiana: Collection) -> None:
    texts = [study.findings for study in indiana.studies if study.findings]
    cleaned = [DEFAULT.clean(text) for text in texts]
    assert sum(not text for text in cleaned) <= 10
    kept = sum(len(sentences(text)) for text in cleaned) / sum(len(sentences(text)) for text in texts)
    assert kept == pytest.approx(0.9, abs=0.02)


def test_real_reports_mention_earlier_exams_as_often_as_published(indiana: Collection) -> None:
    share = {
        split: sum(mentions_prior_exam(s.findings) for s in indiana.split(split)) / len(indiana.split(split))
        for split in ("train", "test")
    }
    assert share == {"train": pytest.approx(0.27, abs=0.025), "test": pytest.approx(0.19, abs=0.025)}


def test_real_test_references_hold_marks_as_often_as_published(indiana: Collection) -> None:
    test = indiana.split("test")
    assert sum(holds_mark(study.findings) for study in test) / len(test) == pytest.approx(0.36, abs=0.005)
