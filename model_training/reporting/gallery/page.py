"""The gallery's HTML: whole in one file, nothing fetched, everything that comes from data escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from itertools import groupby
from statistics import fmean
from string import Template

from app.report import DISCLAIMER
from app.text.tokenizer import join_words
from model_training.reporting.gallery.cards import Bar, Card, Looked, Picture, Sentence
from model_training.reporting.tables import number

PAGE, STYLE, SCRIPT = (
    resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")
    for name in ("page.html", "style.css", "script.js")
)
_SIGNS = {"hit": "✓", "missed": "−", "invented": "+"}


def render(cards: Sequence[Card], title: str, subtitle: str) -> str:
    """The page for cards in the order given."""
    normal = sum(card.normal for card in cards)
    tiles = {
        "label F1, mean": number(fmean(card.label_f1 for card in cards)),
        "all labels right": f"{fmean(card.label_f1 == 1 for card in cards):.0%}",
        "BLEU-4, mean": number(fmean(card.bleu for card in cards)),
        "normal": str(normal),
        "abnormal": str(len(cards) - normal),
    }
    return Template(PAGE).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        disclaimer=escape(DISCLAIMER),
        tiles="".join(f"<div><b>{escape(v)}</b><span>{escape(k)}</span></div>" for k, v in tiles.items()),
        cards="\n".join(map(_card, cards)),
        style=STYLE,
        script=SCRIPT,
    )


def _card(card: Card) -> str:
    kind = "normal" if card.normal else "abnormal"
    figures = (
        f"label F1 <b>{number(card.label_f1)}</b> · BLEU-4 <b>{number(card.bleu)}</b> · score <b>{card.score:.2f}</b>"
    )
    views = "".join(map(_view, card.pictures))
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in card.warnings)
    head = f'<h2>{escape(card.id)}</h2><span class="badge {kind}">{kind}</span>{_labels(card.labels)}'
    return (
        f'<article data-kind="{kind}" data-f1="{card.label_f1:.6f}" data-bleu="{card.bleu:.9f}"'
        f' data-score="{card.score:.6f}" data-id="{escape(card.id)}">'
        f'<header>{head}<span class="figures">{figures}</span></header>'
        f'<div class="views">{views}<p class="looked" aria-live="polite"></p></div>'
        f'<div class="text"><section class="reference"><h3>Reference</h3>{_sections(card.reference)}</section>'
        f'<section class="prediction"><h3>Prediction</h3>{_sections(card.prediction)}'
        f"{f'<ul>{warnings}</ul>' if warnings else ''}</section></div>"
        f'<div class="bars">{"".join(map(_bar, card.bars))}</div></article>'
    )


def _view(picture: Picture) -> str:
    left, top, right, bottom = picture.box
    across, down = (right - left) / picture.side, (bottom - top) / picture.side
    # One position more all round, as the script paints it: what is between the positions at the rim and its edge.
    box = (
        f"left:{left - across:.2%};top:{top - down:.2%}"
        f";width:{right - left + 2 * across:.2%};height:{bottom - top + 2 * down:.2%}"
    )
    wrong = "" if picture.guess == picture.view else ' class="wrong"'
    return (
        f'<figure><div class="picture" style="aspect-ratio:{picture.width}/{picture.height}">'
        f'<img src="{escape(picture.uri)}" alt="{escape(picture.view)}"><canvas style="{box}"></canvas></div>'
        f"<figcaption>{escape(picture.view)} · <span{wrong}>taken for {escape(picture.guess)}"
        f" {picture.probability:.0%}</span></figcaption></figure>"
    )


def _labels(labels: Mapping[str, str]) -> str:
    """What the labeller made of the report, beside the truth."""
    return "".join(
        f'<span class="label {kind}" title="{kind}">{_SIGNS[kind]} {escape(name)}</span>'
        for name, kind in labels.items()
    )


def _sections(sections: Mapping[str, Sequence[Sentence]]) -> str:
    parts = [
        f"<h4>{escape(name)}</h4><p>{' '.join(map(_sentence, sentences))}</p>" for name, sentences in sections.items()
    ]
    return "".join(parts) or '<p class="none">nothing</p>'


def _sentence(sentence: Sentence) -> str:
    """A sentence with the words marked that the other report does not say; a button where the model looked for it."""
    kind = "sentence telling" if sentence.telling else "sentence"
    return f'<span class="{kind}"{_looked(sentence.looked)}>{_marked(sentence)}</span>'


def _looked(looked: Looked | None) -> str:
    """What makes an element show where the model looked."""
    if looked is None:
        return ""
    maps = " ".join(view.hex() for view in looked.maps)
    return f' role="button" tabindex="0" data-maps="{maps}" data-note="{escape(looked.note)}"'


def _marked(sentence: Sentence) -> str:
    """The text escaped, runs of words that do not agree within `<mark>`; punctuation and enumeration never are."""
    text = sentence.text
    pieces: list[tuple[bool, int, int]] = []
    for i, (word, same) in enumerate(zip(sentence.words, sentence.agrees, strict=True)):
        end = len(join_words(sentence.words[: i + 1]))
        enumerates = i == 0 and word.isdigit() and sentence.words[1:2] == (".",)
        pieces.append((same or enumerates or not word[0].isalnum(), end - len(word), end))
    out, written = [], 0
    for same, run in groupby(pieces, key=lambda piece: piece[0]):
        spans = list(run)
        first, last = spans[0][1], spans[-1][2]
        inner = escape(text[first:last])
        out += [escape(text[written:first]), inner if same else f"<mark>{inner}</mark>"]
        written = last
    return "".join([*out, escape(text[written:])])


def _bar(bar: Bar) -> str:
    """Name, bar with its threshold, probability; a dot for what the study is labelled as."""
    present = bar.probability >= bar.threshold
    wrong = bar.truth is not None and bar.truth != present
    truth = {True: "labelled present", False: "labelled absent", None: "not labelled"}[bar.truth]
    dot = {True: "on", False: "off", None: "unknown"}[bar.truth]
    states = f"bar{' present' if present else ''}{' wrong' if wrong else ''}"
    title = f"{bar.name}: {bar.probability:.1%}, threshold {bar.threshold:.0%}, {truth}"
    return (
        f'<div class="{states}" title="{escape(title)}"{_looked(bar.looked)}>'
        f'<i class="{dot}"></i><span>{escape(bar.name.replace("_", " "))}</span><div class="track">'
        f'<div style="width:{bar.probability:.1%}"></div><s style="left:{bar.threshold:.1%}"></s></div>'
        f"<b>{bar.probability:.0%}</b></div>"
    )
