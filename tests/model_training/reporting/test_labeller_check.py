"""The rule labeller: what a report affirms, denies and doubts, and where."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.text.findings import FINDINGS, Mention, Status
from app.text.labeller import label_report, label_sentence
from model_training.data import Study, read_collection
from model_training.data.mesh import MESH, label_mesh
from model_training.metrics import agreement, r2gen
from model_training.reporting import labeller_check
from model_training.synthetic.phantom import FINDINGS as DRAWABLE
from model_training.synthetic.phantom import mesh_codes, sample_phantom, write_report

LEFT, RIGHT, BOTH, NONE = frozenset({"left"}), frozenset({"right"}), frozenset({"left", "right"}), frozenset[str]()


@pytest.fixture(scope="module")
def studies(data_dir: Path) -> Sequence[Study]:
    """The official split of the Indiana collection."""
    return read_collection(data_dir / "iu_xray", "r2gen_json").studies


@pytest.mark.parametrize(
    ("sentence", "finding", "status", "sides"),
    [
        ("There is a small left pleural effusion.", "pleural effusion", "present", LEFT),
        ("Bilateral pleural effusions, left greater than right.", "pleural effusion", "present", BOTH),
        ("No pneumothorax.", "pneumothorax", "absent", NONE),
        ("No focal consolidation, pneumothorax or large pleural effusion.", "pleural effusion", "absent", NONE),
        ("The heart is mildly enlarged.", "cardiomegaly", "present", NONE),
        ("The heart is not enlarged.", "cardiomegaly", "absent", NONE),
        ("Heart size is normal with a large effusion.", "cardiomegaly", "absent", NONE),
        ("The heart size and pulmonary vascularity appear within normal limits.", "cardiomegaly", "absent", NONE),
        ("Heart size borderline enlarged.", "cardiomegaly", "uncertain", NONE),
        ("Elevation of the right hemidiaphragm.", "elevated diaphragm", "present", RIGHT),
        ("Left-sided pacemaker with lead in the right ventricle.", "device", "present", LEFT),
        ("Interval removal of the left PICC line.", "device", "absent", LEFT),
        ("Opacity in the right lower lobe.", "airspace opacity", "present", RIGHT),
        ("Opacity in the lingula may represent pneumonia.", "airspace opacity", "uncertain", LEFT),
        ("Streaky opacities in the lung bases.", "airspace opacity", "present", BOTH),
        ("2 cm nodule in the left upper lobe", "nodule", "present", LEFT),
        ("A pneumothorax is not excluded.", "pneumothorax", "uncertain", NONE),
        ("The pneumothorax has resolved.", "pneumothorax", "absent", NONE),
        ("No change in the calcified granuloma on the right.", "calcified granuloma", "present", RIGHT),
        ("No pneumothorax, but a small right effusion.", "pleural effusion", "present", RIGHT),
        ("The nodule was not seen on the prior study.", "nodule", "present", NONE),
    ],
)
def test_a_sentence_is_read_with_its_denials_doubts_and_sides(
    sentence: str, finding: str, status: Status, sides: frozenset[str]
) -> None:
    """Denials, doubts and sides reach exactly as far as the sentence means them."""
    assert label_sentence(sentence)[finding] == Mention(finding, status, sides)


def test_what_is_normal_further_on_says_nothing_of_the_heart() -> None:
    """Only words that go with it may stand between."""
    assert "cardiomegaly" not in label_sentence("The heart is seen with effusions of both sides and normal lungs.")


def test_two_findings_of_a_sentence_keep_their_own_sides() -> None:
    """A side belongs to the finding it stands next to."""
    labels = label_report("Left lower lobe atelectasis and a small right pleural effusion.")
    assert (labels["atelectasis"].sides, labels["pleural effusion"].sides) == (LEFT, RIGHT)


def test_the_strongest_mention_of_a_report_wins() -> None:
    """Present outranks uncertain, which outranks absent, and equal mentions unite their sides."""
    report = "No effusion on lateral view. Possible right effusion. There is a left effusion. Small right effusion."
    assert label_report(report)["pleural effusion"] == Mention("pleural effusion", "present", BOTH)


def test_interstitial_and_round_opacities_are_findings_of_their_own() -> None:
    """The finest name counts, as in the human codes."""
    assert "airspace opacity" not in label_report("Diffuse interstitial opacities.")
    assert label_report("A rounded opacity is seen in the left lung.").keys() == {"nodule"}


def test_text_without_findings_has_no_labels() -> None:
    """Empty text and text about nothing known name no finding."""
    assert label_report("") == label_report("PA and lateral views of the chest.") == {}


def test_mesh_codes_are_read_with_their_sides() -> None:
    """Codes map to findings; a lobe that lies on one side only gives the side where the code names none."""
    labels = label_mesh(["Pleural Effusion/bilateral/small", "Nodule/lung/lingula", "Opacity/lung/middle lobe/left"])
    assert {name: mention.sides for name, mention in labels.items()} == {
        "pleural effusion": BOTH,
        "nodule": LEFT,
        "airspace opacity": LEFT,
    }
    assert label_mesh(["normal", "No Indexing"]) == {}
    assert tuple(MESH) == FINDINGS


@pytest.mark.parametrize("finding", FINDINGS)
def test_every_finding_can_be_said_and_denied(finding: str) -> None:
    """The canonical name itself is understood."""
    assert label_sentence(f"There is {finding}.")[finding].status == "present"
    assert label_sentence(f"There is no {finding}.")[finding].status == "absent"


def test_cleaned_text_has_the_labels_of_the_original(studies: Sequence[Study]) -> None:
    """Scores over cleaned text and over original text mean the same."""
    assert [s.id for s in studies if label_report(s.findings) != label_report(r2gen.clean(s.findings))] == []


def test_labels_agree_with_the_human_codes_of_the_test_split(studies: Sequence[Study]) -> None:
    """Micro-F1 at least .88, macro-F1 at least .80, sides right nine times in ten."""
    coded = [study for study in studies if study.split == "test" and study.mesh]
    codes, labels = [label_mesh(s.mesh) for s in coded], [label_report(s.findings) for s in coded]
    counts = agreement.label_counts(codes, labels).sum(axis=0)
    judged, equal = agreement.side_counts(codes, labels).sum(axis=0)
    assert len(coded) == 565
    assert agreement.micro_f1(counts) >= 0.88
    assert agreement.macro_f1(counts) >= 0.80
    assert equal / judged >= 0.90


def test_labels_agree_with_what_was_drawn_in_a_phantom() -> None:
    """The reports of the generator name every drawn finding, on its side, and nothing else that can be drawn."""
    differing = []
    for seed in range(500):
        phantom = sample_phantom(np.random.default_rng(seed))
        findings, _ = write_report(phantom, np.random.default_rng(seed))
        said = {name: m for name, m in label_report(findings).items() if m.status == "present" and name in DRAWABLE}
        if said != label_mesh(mesh_codes(phantom)):
            differing.append(findings)
    assert len(differing) <= 5, differing[:3]


def test_the_command_prints_one_line_a_finding(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Support, precision, recall and F1 of each finding, and the averages."""
    parser = argparse.ArgumentParser()
    labeller_check.add_arguments(parser)
    assert labeller_check.run(parser.parse_args(["--data", str(data_dir / "iu_xray"), "--split", "val"])) == 0
    printed = capsys.readouterr().out
    assert all(finding in printed for finding in FINDINGS)
    assert "Micro-F1" in printed
