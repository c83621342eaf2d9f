"""What happens to report text before a model learns from it: tidying, de-identification marks, earlier examinations."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from model_training.data.study import Study
from model_training.data.text.deidentification import holds_mark, restore, without_marks
from model_training.data.text.prior_exams import mentions_prior_exam, rewrite

_ENUMERATOR = re.compile(r"(?:^|(?<=\s))(\d{1,2})[.)]\s+(?=\w)")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\bDr\.)(?<!\b[ap]\.m\.)(?<!\bvs\.)\s+")
_TIDY = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"(?i:<br\s*/?>)|\[<?|>?\]", " "),  # left over from the source's mark-up
        (r"[‘’]", "'"),
        (r"[“”]", '"'),
        (r"\(\s*\)", " "),
        (r"(?<=\w)\s+/\s+(?=\w)", "/"),
        (r"(?<!\w)/|/(?!\w)", " "),  # what a mark taken out leaves
        (r"\s+(?=[.,;:?!)])", ""),  # "effusion ." and "effusion , no"
        (r"(?<=[a-z])\.(?=[A-Z][a-z])", ". "),  # "bilaterally.There"
        (r"([.,;:?!])(?:\s*[.,;:])+", r"\1"),  # "abnormality. ." and ".."
        (r"^[\s.,;:)/-]+", ""),
        (r"\s+", " "),
    ]
]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class TextPolicy:
    """How report text is cleaned. The defaults never let a mark through and keep what is certain.

    `xxxx`: "keep"; "drop-token" takes each mark out and may change what a sentence means; "drop-sentence" takes out
    sentences with a mark; "restore" first puts back the words that are certain.
    `prior_exams`: "keep"; "drop-sentence" takes out sentences that mention an earlier examination; "rewrite" keeps of
    them what the image shows.
    """

    xxxx: Literal["keep", "drop-token", "drop-sentence", "restore"] = "restore"
    prior_exams: Literal["keep", "drop-sentence", "rewrite"] = "rewrite"

    def clean(self, text: str) -> str:
        """The text on one line, sentences ended, enumeration gone; empty when no sentence is left.

        Cleaning cleaned text changes nothing.
        """
        cleaned = (self._clean_sentence(sentence) for sentence in sentences(text))
        return " ".join(sentence for sentence in cleaned if sentence)

    def apply(self, study: Study) -> Study:
        """The study with its texts cleaned.

        An indication is a question, not a report: it keeps what it says of earlier examinations, and loses single marks
        where a report would lose sentences ("XXXX-year-old female with chest pain").
        """
        lenient = TextPolicy("keep" if self.xxxx == "keep" else "drop-token", "keep")
        return replace(
            study,
            findings=self.clean(study.findings),
            impression=self.clean(study.impression),
            indication=lenient.clean(study.indication),
        )

    def _clean_sentence(self, sentence: str) -> str:
        if self.xxxx == "restore":
            sentence = restore(sentence)
        if self.prior_exams == "drop-sentence" and mentions_prior_exam(sentence):
            return ""
        if self.prior_exams == "rewrite":
            sentence = rewrite(sentence)
        if holds_mark(sentence) and self.xxxx != "keep":
            sentence = without_marks(sentence) if self.xxxx == "drop-token" else ""
        return _ended(_tidy(sentence))


def sentences(text: str) -> list[str]:
    """The sentences of a report, tidied and without enumeration."""
    return [s for part in _SENTENCE_END.split(_without_enumeration(_tidy(html.unescape(text)))) if (s := _ended(part))]


def _tidy(text: str) -> str:
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    return text.strip()


def _ended(sentence: str) -> str:
    """The sentence with a capital and a full stop; empty when it has no letter."""
    sentence = sentence.rstrip(" ,;:-")
    if not any(map(str.isalpha, sentence)):
        return ""
    return sentence[0].upper() + sentence[1:] + ("" if sentence[-1] in ".?!" else ".")


def _without_enumeration(text: str) -> str:
    """Ends sentences where a list goes on: "1. Emphysema 2. No effusion". A number out of sequence ("rib 4.") stays."""
    expected = 1

    def end_sentence(match: re.Match[str]) -> str:
        nonlocal expected
        if int(match[1]) not in (1, expected):
            return match[0]
        expected = int(match[1]) + 1
        before = text[: match.start()].rstrip()
        return "" if not before or before[-1] in ".?!:" else ". "

    return _tidy(_ENUMERATOR.sub(end_sentence, text))
