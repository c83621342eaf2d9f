"""The report of a phantom: what was drawn, said in the ways radiologists say it, and what was not drawn denied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_training.synthetic.phantom import wording
from model_training.synthetic.phantom.body import DrawnFinding, Phantom


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _location(rng: np.random.Generator, finding: DrawnFinding) -> str:
    """The lobe or zone with its side: "right middle lobe", "left mid lung"."""
    zone = {"upper": "upper lung zone", "mid": "mid lung", "lower": "lung base"}.get(finding.zone or "", "")
    return f"{finding.side} {finding.lobe if rng.random() < 0.7 else zone}"


def _say(rng: np.random.Generator, templates: Sequence[str], finding: DrawnFinding) -> str:
    """One of the templates with the finding's words in it, as a sentence."""
    text = _pick(rng, templates).format(
        size="" if finding.name == "nodule" and finding.size == "moderate" else finding.size,
        side=finding.side,
        adverb=wording.ADVERB.get(finding.size, ""),
        look=_pick(rng, wording.LOOKS.get(finding.size, ("",))),
        location=_location(rng, finding),
        measure=round(finding.extent / 10),
    )
    text = " ".join(text.split())  # a blank word leaves two spaces
    return text[0].upper() + text[1:]


def _key(finding: DrawnFinding) -> str:
    """What the tables of wording know the finding by."""
    return finding.kind or finding.name


def _denials(rng: np.random.Generator, names: set[str]) -> list[str]:
    """Sentences that deny what was not drawn; now and then one of them is left unsaid."""
    absent = [name for name in wording.DENIED if name not in names and rng.random() < 0.92]
    nouns = [_pick(rng, wording.DENIED[name]) for name in rng.permutation(np.array(absent, dtype=object))]
    if len(nouns) > 1 and rng.random() < 0.3:
        sentences = [_pick(rng, wording.DENIALS).format(list=noun) for noun in nouns]
    elif nouns:
        last = ", or " if len(nouns) > 2 else " or "
        joined = ", ".join(nouns[:-1]) + (last if len(nouns) > 1 else "") + nouns[-1]
        sentences = [_pick(rng, wording.DENIALS).format(list=joined)]
    else:
        sentences = []
    return sentences + [s for name, s in wording.OTHER_DENIALS.items() if name not in names and rng.random() < 0.15]


def write_report(phantom: Phantom, rng: np.random.Generator) -> tuple[str, str]:
    """The `findings` and `impression` sections of a phantom.

    Every drawn finding is stated in both, with its side where it has one; the others are denied or left out.
    """
    names = {f.name for f in phantom.findings}
    said = {f.name: _say(rng, wording.PRESENT[_key(f)], f) for f in phantom.findings}
    heart = [said.pop("cardiomegaly")] if "cardiomegaly" in said else [_pick(rng, wording.HEART_NORMAL)]
    if rng.random() < 0.7:
        heart.append(_pick(rng, wording.MEDIASTINUM))
    devices = [said.pop("device")] if "device" in said else []
    lungs = [str(sentence) for sentence in rng.permutation(np.array(list(said.values()), dtype=object))]
    if not names - {"cardiomegaly", "device"} and rng.random() < 0.65:
        lungs.append(_pick(rng, wording.LUNGS_CLEAR))
    bones = [_pick(rng, wording.BONES)] if rng.random() < 0.7 else []
    denials = _denials(rng, names)
    orders = (
        [devices, heart, lungs, denials, bones],
        [heart, lungs, denials, bones, devices],
        [lungs, denials, heart, devices, bones],
    )
    groups = orders[int(rng.choice(3, p=(0.4, 0.4, 0.2)))]
    return " ".join(sentence for group in groups for sentence in group), _impression(rng, phantom)


def _impression(rng: np.random.Generator, phantom: Phantom) -> str:
    if not phantom.findings:
        return _pick(rng, wording.NORMAL_IMPRESSION)
    ranked = sorted(phantom.findings, key=lambda f: list(wording.IMPRESSION).index(_key(f)))
    lines = [_say(rng, wording.IMPRESSION[_key(f)], f) for f in ranked]
    if {f.name for f in ranked} <= {"cardiomegaly", "elevated diaphragm", "device"} and rng.random() < 0.7:
        lines.append(_pick(rng, wording.NOT_ACUTE))
    if len(lines) > 1 and rng.random() < 0.5:
        return " ".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
    return " ".join(lines)


def mesh_codes(phantom: Phantom) -> tuple[str, ...]:
    """Codes of a phantom as Open-i spells them, ("normal",) where nothing was drawn."""
    codes = (wording.CODES[_key(f)].format(side=f.side, size=f.size, lobe=f.lobe) for f in phantom.findings)
    return tuple(codes) or ("normal",)


def indication(rng: np.random.Generator) -> str:
    """Why the study was ordered; it says nothing of what will be found."""
    return _pick(rng, wording.INDICATIONS)
