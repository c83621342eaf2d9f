"""What single sentences state of an image, and which statements its labels support.

Labels name findings, not where they lie nor how large they are, and know nothing of what they leave out. So locations
and degrees are taken out of a sentence ("Small left pleural effusion." becomes "Pleural effusion."), and a sentence
that says more than the labels do is not supported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from app.text.findings import IMAGE_LABELS, LABEL_WORDS, Mention
from app.text.labeller import label_sentence
from model_training.data.labels import ImageLabels
from model_training.data.pairing.locations import names_location, without_location

# What says more than any label: bones, surgery, the patient, other examinations, advice.
_BEYOND = re.compile(
    r"""\b(?: bon[ey]\w* | osseous | skelet\w* | spin\w* | ribs? | vertebra\w* | kypho\w* | osteo\w* | thoracic
      | aort\w* | arter\w* | fissur\w* | lymph\w* | adenopathy | bowel | abdom\w* | soft | breast
      | surg\w* | post | status | trauma\w* | gunshot | metasta\w* | cancer | sarcoid\w* | tubercul\w* | infection
      | patient\w* | histor\w* | clinical\w* | symptom\w* | old | healed | prior | chronic | residual | underlying
      | ct | mri | exam\w* | stud(?:y|ies) | radiograph | view\w* | projection | technique | fluoro\w*
      | recommend\w* | correlat\w* | consider | suggest\w* | follow\w*
      | otherwise | acute\ (?:cardio|pulm|disease|finding|abnorm)\w* )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_NORMALITY = re.compile(
    r"""(?: (?:there\ (?:is|are)\ )? (?:no|negative\ for|without)
            (?:\ (?:radiographic\ |convincing\ )?evidence\ (?:of|for))?\s
            (?:(?:acute|active|significant|radiographic|focal|or|and|visible|,)[\s/]*)+
            (?:(?:cardio-?pulmonary|pulmonary|cardiac|intrathoracic|cardiothoracic|chest|lung|disease)[\s/]*)*
            (?:abnormalit(?:y|ies)|findings?|process(?:es)?|disease)?
            (?:\ (?:is\ |are\ )?(?:identified|seen|noted|demonstrated))?
          | (?:normal|negative|unremarkable) (?:\ (?:chest|lungs))? (?:\ x-ray|\ radiographs?)? )\.""",
    re.IGNORECASE | re.VERBOSE,
)
_OPACITY = "opaci|air ?space|densit"
# Words that suit a label as well as those that are its own.
_ALSO = {
    "infiltration": _OPACITY,
    "pneumonia": _OPACITY,
    "consolidation": _OPACITY,
    "emphysema": "hyper|flatten|over",
    "fibrosis": "interstiti|reticul|marking",
}
_WORDS = {
    label: (re.compile(own, re.IGNORECASE), re.compile(_ALSO.get(label, own), re.IGNORECASE))
    for label, own in LABEL_WORDS.items()
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence that could be said of an image with the right labels; without mentions it is about normality."""

    text: str
    mentions: Mapping[str, Mention]

    @property
    def present(self) -> frozenset[str]:
        """The findings it affirms."""
        return frozenset(name for name, mention in self.mentions.items() if mention.status == "present")


@lru_cache(maxsize=65536)  # reports repeat their sentences
def statement_of(sentence: str) -> Statement | None:
    """The sentence without locations and degrees; None where no labels could support what it says.

    That is so of doubts, of what lies outside the labels of images, and of what cannot be said without a location.
    """
    if _NORMALITY.fullmatch(sentence) and not label_sentence(sentence):
        return Statement(sentence, {})
    if any(mention.status == "present" for mention in label_sentence(sentence).values()):
        sentence = without_location(sentence)
    mentions = label_sentence(sentence)
    known = set(IMAGE_LABELS.values())
    if not mentions or not known.issuperset(mentions) or any(m.status == "uncertain" for m in mentions.values()):
        return None
    clear = "airspace opacity" in mentions and mentions["airspace opacity"].status == "present" and " clear" in sentence
    return None if clear or names_location(sentence) or _BEYOND.search(sentence) else Statement(sentence, mentions)


def supported(statement: Statement, labels: ImageLabels) -> bool:
    """Whether the labels say all that the statement says."""
    if not statement.mentions:
        return labels.normal
    if any(labels.findings.get(name) is not (m.status == "present") for name, m in statement.mentions.items()):
        return False
    return all(_worded(statement.text, name, labels.present_labels) for name in statement.present)


def _worded(text: str, finding: str, present: frozenset[str]) -> bool:
    """Whether the words for the finding suit a label that is present, and are none of one that is not."""
    labels = [label for label, group in IMAGE_LABELS.items() if group == finding and label in _WORDS]
    if any(label not in present and _WORDS[label][0].search(text) for label in labels):
        return False
    return not labels or any(pattern.search(text) for label in labels if label in present for pattern in _WORDS[label])
