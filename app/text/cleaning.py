"""Report text as R2Gen cleans it: what published scores and the rule labeller read.

Source: Chen et al., EMNLP 2020, arXiv 2010.16056, and the tokenizer of its code, followed to the letter: a period glued
to the next word is removed with the others, hyphens stay.
"""

from __future__ import annotations

import re

_ENUMERATION = ("1. ", ""), *((f". {n}. ", ". ") for n in range(2, 6)), *((f" {n}. ", ". ") for n in range(2, 6))
# `:-[` is a range in the original expression: it takes `;<=>?@` along.
_PUNCTUATION = re.compile(r"[.,?*!%^&_+():-\[\]{}\"/\\']")


def clean(report: str) -> str:
    """Lower-case report with sentences joined by ` . `; cleaning a clean report changes nothing."""
    text = report
    for _ in range(3):
        text = text.replace("..", ".")
    for mark, replacement in _ENUMERATION:
        text = text.replace(mark, replacement)
    sentences = (_PUNCTUATION.sub("", sentence.strip()) for sentence in text.strip().lower().split(". "))
    return " ".join([*" . ".join(sentences).split(), "."])
