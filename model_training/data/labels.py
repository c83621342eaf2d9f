"""Which findings a study has: by the labels of its source, else by human codes, else by what its text says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.text.findings import IMAGE_LABELS, POSITIVE, Mention
from app.text.labeller import label_report
from model_training.data.mesh import label_mesh
from model_training.data.study import ATTRIBUTES, Study


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """What labels say of an image: finding of `findings.FINDINGS` to present or not, as far as known; the labels that
    are present; and whether the whole image is called normal."""

    findings: Mapping[str, bool]
    present_labels: frozenset[str]
    normal: bool

    @classmethod
    def of(cls, study: Study) -> ImageLabels:
        """Those of a study's labels.

        Where several labels make a finding, one present is enough, and absent it is only when all of them are: a label
        that is not given is never an absence.
        """
        labels = dict(study.labels)
        groups: dict[str, list[bool | None]] = {}
        for label, group in IMAGE_LABELS.items():
            groups.setdefault(group, []).append(labels.get(label))
        known = {name: True in values for name, values in groups.items() if True in values or None not in values}
        return cls(known, frozenset(name for name in IMAGE_LABELS if labels.get(name)), bool(labels.get("normal")))

    @property
    def present(self) -> frozenset[str]:
        """The findings that are there."""
        return frozenset(name for name, there in self.findings.items() if there)


def mentions_of(study: Study, text: str) -> dict[str, Mention]:
    """The findings that human codes name; of a study without codes, those that the rule labeller reads in `text`."""
    return label_mesh(study.mesh) if study.mesh else label_report(text)


def affirmed_findings(study: Study) -> frozenset[str]:
    """The findings that human codes or the text affirm: either misses some that the other has."""
    read = label_report(f"{study.findings} {study.impression}")
    said = (name for name, mention in read.items() if mention.status in POSITIVE)
    return frozenset(label_mesh(study.mesh)).union(said)


def labels_of(study: Study, findings: Sequence[str]) -> list[float]:
    """1 present, 0 absent, NaN not labelled: from the source's labels, else its MeSH codes, else its text.

    Codes and text are those of the source: what the text policy takes out is still to be seen in the image.
    """
    if study.labels:
        given = dict(study.labels)
        return [float("nan") if given.get(name) is None else float(bool(given[name])) for name in findings]
    text = f"{study.findings} {study.impression}".strip()
    if not (study.mesh or text):
        return [math.nan] * len(findings)
    mentions = mentions_of(study, text)
    return [float(name in mentions and mentions[name].status != "absent") for name in findings]


def attributes_of(study: Study) -> list[float]:
    """`ATTRIBUTES` of a study, the age in units of 20 years from 50; NaN where unknown."""
    given = dict(study.attributes)
    age, *others = (given.get(name, math.nan) for name in ATTRIBUTES)
    return [(age - 50.0) / 20.0, *others]


def abnormal_of(study: Study) -> float:
    """1 where anything was found in the study, 0 where it is called normal, NaN where nobody says: from the source's
    labels, else its MeSH codes, else its text, of which a study without any finding is normal."""
    if study.labels:
        labels = dict(study.labels)
        normal = labels.get("normal")
        if normal is not None:
            return float(not normal)
        return 1.0 if True in labels.values() else math.nan
    text = f"{study.findings} {study.impression}".strip()
    if not (study.mesh or text):
        return math.nan
    return float(any(mention.status != "absent" for mention in mentions_of(study, text).values()))
