"""The gallery's HTML: whole in one file, nothing fetched, everything that comes from data escaped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.report import DISCLAIMER
from app.text.tokenizer import join_words
from model_training.reporting.gallery.cards import Card, Looked, Picture, Sentence
from model_training.reporting.tables import number

TEMPLATES = Path(__file__).with_name("templates")


def render(cards: Sequence[Card], title: str, subtitle: str) -> str:
    """The page for cards in the order given."""
    normal = sum(card.normal for card in cards)
    tiles = {
        "label F1, mean": number(fmean(card.label_f1 for card in cards)),
        "all labels right": percent(fmean(card.label_f1 == 1 for card in cards)),
        "BLEU-4, mean": number(fmean(card.bleu for card in cards)),
        "normal": str(normal),
        "abnormal": str(len(cards) - normal),
    }
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"maps": maps, "number": number, "percent": percent, "place": place, "runs": runs}
    return environment.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        disclaimer=DISCLAIMER,
        tiles=tiles,
        cards=cards,
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "script.js").read_text(encoding="utf-8"),
    )


def percent(share: float, decimals: int = 0) -> str:
    """A share in percent."""
    return f"{share:.{decimals}%}"


def maps(looked: Looked) -> str:
    """Two digits a position, images apart by blanks, as the script reads them."""
    return " ".join(view.hex() for view in looked.maps)


def place(picture: Picture) -> str:
    """Where the heatmap lies over the picture, in CSS."""
    left, top, right, bottom = picture.box
    across, down = (right - left) / picture.side, (bottom - top) / picture.side
    # One position more all round, as the script paints it: what is between the positions at the rim and its edge.
    return (
        f"left:{left - across:.2%};top:{top - down:.2%}"
        f";width:{right - left + 2 * across:.2%};height:{bottom - top + 2 * down:.2%}"
    )


def runs(sentence: Sentence) -> list[tuple[str, bool]]:
    """The text in runs of words that agree or do not, and what stands between; punctuation and enumeration agree."""
    text = sentence.text
    pieces: list[tuple[bool, int, int]] = []
    for i, (word, same) in enumerate(zip(sentence.words, sentence.agrees, strict=True)):
        end = len(join_words(sentence.words[: i + 1]))
        enumerates = i == 0 and word.isdigit() and sentence.words[1:2] == (".",)
        pieces.append((same or enumerates or not word[0].isalnum(), end - len(word), end))
    found, behind = [], 0
    for same, run in groupby(pieces, key=lambda piece: piece[0]):
        spans = list(run)
        first, last = spans[0][1], spans[-1][2]
        found += [(text[behind:first], True), (text[first:last], same)]
        behind = last
    return [*found, (text[behind:], True)]
