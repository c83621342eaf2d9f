"""What a report says against what the finding head decides."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from app.report import Finding
from app.text.contradictions import contradictions, named_findings
from app.text.findings import IMAGE_LABELS, LABEL_WORDS
from app.text.sentences import sentences_of
from app.text.tokenizer import words

NAMES = tuple(IMAGE_LABELS)


def head(*present: str) -> list[Finding]:
    """A head of image labels that calls those given present."""
    return [
        Finding(name, 0.75 if name in present else 0.125, name in present, 0.5, ruled_out=name not in present)
        for name in NAMES
    ]


def lines(findings_section: str, *present: str, impression: str = "") -> list[str]:
    """The contradictions of a report."""
    tokens = ["<findings>", *words(findings_section), "<impression>", *words(impression), "<eos>"]
    return [one.text for one in contradictions(sentences_of(tokens, ("findings", "impression")), head(*present))]


def test_a_contradiction_names_its_sentences() -> None:
    """Those it is about, and none where something is not mentioned."""
    tokens = ["<findings>", *words("Clear lungs. There is a pneumothorax."), "<impression>", *words("Pneumothorax.")]
    sentences = sentences_of([*tokens, "<eos>"], ("findings", "impression"))
    found = contradictions(sentences, head("hernia"))
    assert [(one.text.split(",")[0], one.sentences) for one in found] == [
        ("The findings and impression sections state pneumothorax", (1, 2)),
        ("The report does not mention what the finding head calls present: hernia 75%.", ()),
    ]


@pytest.mark.parametrize(
    ("text", "present", "said"),
    [
        ("No pneumothorax.", [], []),
        ("There is a pneumothorax.", ["pneumothorax"], []),
        ("There is a pleural effusion.", [], ["The findings section states effusion, but * it absent (12%)."]),
        ("No effusion.", ["effusion"], ["The findings section denies effusion, but * it present (75%)."]),
        ("Clear lungs.", ["hernia"], ["The report does not mention what * present: hernia 75%."]),
        ("Possible pneumonia.", [], []),
        ("Possible pneumonia.", ["pneumonia"], []),
        ("Pleural thickening.", [], ["The findings section states pleural thickening, but * it absent (12%)."]),
        ("Left rib fracture.", [], []),
        # One finding to the labeller, three to the head: a sentence is about those whose words it uses.
        ("Airspace opacity.", ["infiltration"], []),
        ("Pneumonia.", ["infiltration"], ["The findings section states pneumonia, but * it absent (12%)."]),
        ("No pneumonia.", ["infiltration"], ["The report does not mention what * present: infiltration 75%."]),
        (
            "No consolidation. Patchy opacity.",
            ["consolidation"],
            ["The findings section mentions airspace opacity more than once."],
        ),
        (
            "Airspace opacity.",
            [],
            [
                "The findings section states airspace opacity, but * it absent"
                " (infiltration 12%, pneumonia 12%, consolidation 12%)."
            ],
        ),
        (
            "Nodule. A nodule.",
            [],
            [
                "The findings section states nodule, but * it absent (12%).",
                "The findings section mentions nodule more than once.",
            ],
        ),
        (
            "No acute disease.",
            ["effusion"],
            [
                "The findings section says that nothing was found, but * effusion 75%.",
                "The report does not mention what * present: effusion 75%.",
            ],
        ),
    ],
)
def test_text_and_head_are_held_against_each_other(text: str, present: list[str], said: list[str]) -> None:
    """Stated and absent, denied or passed over and present are lines; doubts, and what the head does not know, none."""
    assert lines(text, *present) == [line.replace("*", "the finding head calls") for line in said]


@pytest.mark.parametrize(
    ("text", "possible", "said"),
    [
        ("No effusion or pneumothorax.", ["effusion"], ["The findings section denies effusion, *"]),
        ("No pneumothorax.", ["effusion"], []),
        ("Possible effusion.", ["effusion"], []),
        ("Clear lungs.", ["infiltration"], ["The findings section denies infiltration, *"]),
        ("No consolidation.", ["infiltration"], []),
        ("No consolidation.", ["consolidation"], ["The findings section denies consolidation, *"]),
        ("No acute disease.", ["effusion"], []),
    ],
)
def test_what_is_not_ruled_out_is_not_denied(text: str, possible: list[str], said: list[str]) -> None:
    """A denial of what is neither present nor ruled out is a line; words tell apart what is one to the labeller."""
    findings = [replace(one, ruled_out=one.name not in possible) for one in head()]
    sentences = sentences_of(["<findings>", *words(text), "<eos>"], ("findings",))
    found = [one.text for one in contradictions(sentences, findings)]
    assert found == [line.replace("*", "which the finding head does not rule out (12%).") for line in said]


def test_a_line_names_its_section() -> None:
    """Where the reader finds the sentence, or all of them."""
    assert lines("Clear lungs.", impression="Cardiomegaly.")[0].startswith("The impression section states cardiomegaly")
    both = lines("Cardiomegaly is seen.", impression="Cardiomegaly.")
    assert both == [
        "The findings and impression sections state cardiomegaly, but the finding head calls it absent (12%)."
    ]


def test_a_head_may_speak_the_labellers_own_names() -> None:
    """Findings that are not image labels are compared as they are called."""
    names = ("pleural effusion", "degenerative spine", "unheard of")
    ((mention, about),) = named_findings("Small left pleural effusion.", names)
    assert (mention.finding, mention.status, about) == ("pleural effusion", "present", (0,))
    assert [about for _, about in named_findings("Spondylosis of the spine.", names)] == [(1,)]


def test_words_of_a_label_belong_to_one_of_them() -> None:
    """Every label with words of its own is an image label."""
    assert LABEL_WORDS.keys() <= IMAGE_LABELS.keys()


def test_reading_a_report_takes_less_than_a_millisecond() -> None:
    """Once its sentences were read, which reports repeat."""
    text = "The heart is normal in size. The lungs are clear. No pneumothorax or pleural effusion. No acute disease."
    lines(text)
    started = time.perf_counter()
    for _ in range(20):
        lines(text)
    assert (time.perf_counter() - started) / 20 < 1e-3


def test_what_one_section_states_another_must_not_deny() -> None:
    """Each section is read by itself; within one, what is stated once is stated."""
    said = lines("No pneumothorax or pleural effusion.", "effusion", impression="Pleural effusion.")
    assert said == ["The findings section denies effusion, but the finding head calls it present (75%)."]
    said = lines("Pleural effusion. No large pleural effusion.", "effusion", impression="Pleural effusion.")
    assert said == ["The findings section mentions pleural effusion more than once."]
