"""What single sentences state of an image, which labels support that, and where they place it.

Labels name findings, not how large they are, and know nothing of what they leave out. So degrees are taken out of a
sentence ("Small left pleural effusion." becomes "Left pleural effusion."), and one that says more than labels and a
location do states nothing. Of a sentence with a location there is also one without ("Pleural effusion.").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.report import Side
from app.text.facts import DENIED, PASSED_OVER, Fact, consistent, stated
from app.text.findings import IMAGE_LABELS, LABEL_WORDS, MIDLINE, Mention
from app.text.labeller import label_sentence, says_normal
from model_training.data.labels import ImageLabels
from model_training.data.pairing.locations import (
    NOWHERE,
    Location,
    location_of,
    moved,
    names_location,
    without_degree,
    without_location,
)
from model_training.data.text.text_policy import sentences

# What says more than any label: bones, surgery, the patient, other examinations, advice.
_BEYOND = re.compile(
    r"""\b(?: bon[ey]\w* | osseous | skelet\w* | spin\w* | ribs? | vertebra\w* | kypho\w* | osteo\w* | thoracic
      | aort\w* | arter\w* | fissur\w* | lymph\w* | adenopathy | bowel | abdom\w* | soft | breast
      | surg\w* | post | status | trauma\w* | gunshot | metasta\w* | cancer | sarcoid\w* | tubercul\w* | infection
      | patient\w* | histor\w* | clinical\w* | symptom\w* | old | healed | prior | chronic | residual | underlying
      | ct | mri | exam\w* | stud(?:y|ies) | radiograph | view\w* | projection | technique | fluoro\w*
      | recommend\w* | correlat\w* | consider | suggest\w* | follow\w*
      | otherwise | however | specifically | additionally | also | typical\w* | other | poly | cardia
      | acute\ (?:cardio|pulm|disease|finding|abnorm)\w* )\b""",
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


# What is left of a sentence that said where and how large: nothing to read.
_BARE = re.compile(r"(?:opacit(?:y|ies)|densit(?:y|ies)|prominence|markings?)\.", re.IGNORECASE)
_NARROW = {
    group: frozenset(label for label, own in IMAGE_LABELS.items() if own == group and label in _WORDS)
    for group in IMAGE_LABELS.values()
}
# The lungs are not called clear beside a finding of theirs.
_CLEAR = re.compile(r"\bclear\b", re.IGNORECASE)
_OF_THE_LUNGS = frozenset(
    {"airspace opacity", "atelectasis", "nodule", "pulmonary edema", "hyperinflation", "increased markings", "scarring"}
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence that could be said of an image with the right labels; without mentions it is about normality.

    `location` is where it places the one finding it states.
    """

    text: str
    mentions: Mapping[str, Mention]
    location: Location = NOWHERE

    @property
    def present(self) -> frozenset[str]:
        """The findings it affirms."""
        return frozenset(name for name, mention in self.mentions.items() if mention.status == "present")

    @property
    def absent(self) -> frozenset[str]:
        """The findings it denies."""
        return frozenset(self.mentions) - self.present


@lru_cache(maxsize=65536)  # reports repeat their sentences
def statement_of(sentence: str) -> Statement | None:
    """The sentence without locations and degrees; None where no labels could support what it says.

    That is so of doubts, of what lies outside the labels of images, and of what cannot be said without a location.
    """
    if says_normal(sentence):
        return Statement(sentence, {})
    if any(mention.status == "present" for mention in label_sentence(sentence).values()):
        sentence = without_location(sentence)
    mentions = label_sentence(sentence)
    known = set(IMAGE_LABELS.values())
    if not mentions or not known.issuperset(mentions) or any(m.status == "uncertain" for m in mentions.values()):
        return None
    present = {name for name, mention in mentions.items() if mention.status == "present"}
    if _CLEAR.search(sentence) and present & _OF_THE_LUNGS:
        return None
    bare = present and _BARE.fullmatch(sentence)
    sided = any(mentions[name].sides for name in present)  # "of the diaphragms"
    return (
        None if bare or sided or names_location(sentence) or _BEYOND.search(sentence) else Statement(sentence, mentions)
    )


@lru_cache(maxsize=65536)
def located_statement_of(sentence: str) -> Statement | None:
    """The sentence without degrees, with the location of the one finding that it states; None where it states more,
    denies anything, or places nothing that `location_of` can tell."""
    location = location_of(sentence)
    plain = statement_of(sentence)
    if plain is None or location is None or location == NOWHERE or len(plain.mentions) != 1 or not plain.present:
        return None
    text = without_degree(sentence)
    (mention,) = plain.mentions.values()
    if mention.finding in MIDLINE or any(map(str.isdigit, text)):
        return None
    said = label_sentence(text)
    sides = frozenset({"left", "right"} if location.side == "both" else filter(None, {location.side}))
    if said.keys() != plain.mentions.keys() or said[mention.finding] != Mention(mention.finding, "present", sides):
        return None
    return Statement(text, said, location)


def moved_statements(statement: Statement) -> list[Statement]:
    """What a located statement would be elsewhere (`locations.moved`)."""
    return [
        Statement(text, label_sentence(text), location) for text, location in moved(statement.text, statement.location)
    ]


def supported(statement: Statement, labels: ImageLabels) -> bool:
    """Whether the labels say all that the statement says of findings."""
    if not statement.mentions:
        return labels.normal
    if any(labels.findings.get(name) is not (m.status == "present") for name, m in statement.mentions.items()):
        return False
    if _CLEAR.search(statement.text) and labels.present & _OF_THE_LUNGS:
        return False
    own, suited = _wording(statement.text)
    for name in statement.present:
        narrow = _NARROW.get(name, frozenset())
        # words that are none of one not there, and suit one that is
        if own & narrow - labels.present_labels or (narrow and not suited & narrow & labels.present_labels):
            return False
    return True


@lru_cache(maxsize=65536)
def _wording(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """The labels whose own words it uses, and those that its words suit."""
    own = frozenset(label for label, (pattern, _) in _WORDS.items() if pattern.search(text))
    return own, own | {label for label, (_, pattern) in _WORDS.items() if pattern.search(text)}


def facts_in(sections: Mapping[str, str], names: Sequence[str]) -> tuple[Fact, ...]:
    """The facts of the findings called `names` that a report says, by the rule labeller, and where it places them.

    Nothing is found where it denies findings, or calls all normal, and states none.
    """
    facts = [PASSED_OVER] * len(names)
    normal = False
    for sentence in (sentence for text in sections.values() for sentence in sentences(text)):
        mentions = label_sentence(sentence)
        normal = normal or says_normal(sentence)
        location = location_of(sentence) if len(mentions) == 1 else None
        for i, name in enumerate(names):
            mention = mentions.get(IMAGE_LABELS.get(name, name))
            if mention is None or facts[i].stated:
                continue
            if mention.status == "absent":
                facts[i] = DENIED
            elif location is not None:
                facts[i] = stated(*location)
            else:
                facts[i] = stated(_side(mention.sides))
    found = any(fact.stated for fact in facts)
    nothing = not found and (normal or any(fact.denied for fact in facts))
    return consistent([*facts, stated() if found else DENIED if nothing else PASSED_OVER], names)


def _side(sides: frozenset[str]) -> Side | None:
    if len(sides) == 2:
        return "both"
    return "left" if "left" in sides else "right" if "right" in sides else None
