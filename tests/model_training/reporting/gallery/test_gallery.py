"""The gallery: one page that needs nothing, on which whatever comes from data stays text."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from model_training.__main__ import main
from model_training.data import Study
from model_training.reporting.gallery import sample
from model_training.reporting.gallery.cards import Bar, Card, Looked, Picture, Sentence
from model_training.reporting.gallery.page import render

EVIL = "<script>alert(\"x\")</script> & 'quoted'"


def card(name: str, f1: float = 1.0, **changes: Any) -> Card:
    """A card of which every text is the name."""
    looked = Looked((bytes([0, 255, 3, 4]),), name)
    sentence = Sentence((name, "effusion", "."), (False, True, True), looked=looked)
    made = Card(
        id=name,
        normal=False,
        pictures=(Picture("data:image/jpeg;base64,AAAA", 3, 4, name, name, 0.9, 2, (-0.1, 0.0, 0.9, 1.0)),),
        reference={name: [sentence]},
        prediction={"findings": [sentence]},
        warnings=(name,),
        labels={name: "missed"},
        bars=(Bar(name, 0.8, 0.5, True, False, looked),),
        label_f1=f1,
        bleu=0.1,
        score=-0.3,
    )
    return dataclasses.replace(made, **changes)


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps it."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keeps what a reader sees."""
        if self.tags[-1:] and self.tags[-1][0] not in ("script", "style"):
            self.text.append(data)


def test_whatever_comes_from_data_is_escaped() -> None:
    """Ids, texts, section and finding names, titles: none of them becomes a tag."""
    page = Tags(render([card(EVIL)], EVIL, EVIL))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert any(attributes.get("data-id") == EVIL for _, attributes in page.tags)
    seen = "".join(page.text)
    assert seen.count(EVIL) == seen.count("alert") > 8


def test_words_that_differ_are_marked_and_others_are_not() -> None:
    """Punctuation and enumeration never are."""
    sentence = Sentence(("2", ".", "small", "left", "effusion", "."), (False, False, False, False, True, False))
    page = render([card("x", prediction={"findings": [sentence]})], "", "")
    assert ">2. <mark>Small left</mark> effusion.<" in page


def test_bars_show_decision_and_truth() -> None:
    """Present by decision, wrong by label, or not labelled at all."""
    looked = Looked((), "")
    bars = (
        Bar("a", 0.8, 0.5, True, False, looked),
        Bar("b", 0.2, 0.1, True, True, looked),
        Bar("c", 0.8, 0.5, False, None, looked),
    )
    page = Tags(render([card("x", bars=bars)], "", ""))
    states = [a["class"] for tag, a in page.tags if tag == "div" and (a.get("class") or "").startswith("bar")]
    assert states == ["bars", "bar present wrong", "bar present", "bar"]
    assert [a["class"] for tag, a in page.tags if tag == "i"] == ["off", "on", "unknown"]


def test_the_sample_is_the_same_every_time() -> None:
    """Drawn at random, kept in order, and no more than there are."""
    studies = [Study(str(i), ()) for i in range(50)]
    drawn = sample(studies, 10)
    assert drawn == sample(studies, 10)
    assert [int(study.id) for study in drawn] == sorted(int(study.id) for study in drawn)
    assert len(sample(studies, 100)) == 50


@pytest.fixture(scope="module")
def page(tiny_checkpoint: Path, phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the command writes."""
    out = tmp_path_factory.mktemp("gallery") / "deep" / "gallery.html"
    arguments = ["--data", str(phantoms), "--split", "val", "--studies", "4", "--num-beams", "1"]
    assert main(["gallery", str(tiny_checkpoint), "--out", str(out), *arguments, "--max-new-tokens", "15"]) == 0
    return out.read_text(encoding="utf-8")


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    """No link, images within, and a policy that forbids the rest."""
    assert not re.search(r"https?:|//\w|url\(|@import", re.sub(r"base64,[\w+/=]*", "", page))
    tags = Tags(page).tags
    assert not [tag for tag, _ in tags if tag in ("link", "iframe", "object", "base")]
    sources = [a["src"] or "" for _, a in tags if "src" in a]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "default-src 'none'" in page


def test_the_page_shows_each_study_the_worst_first(page: str) -> None:
    """With where the model looked for each finding and sentence, one map a view, laid by its box."""
    tags = Tags(page).tags
    articles = [a for tag, a in tags if tag == "article"]
    assert len(articles) == 4
    order = [(float(a["data-f1"] or 0), float(a["data-bleu"] or 0)) for a in articles]
    assert order == sorted(order)
    maps = [a["data-maps"] or "" for _, a in tags if "data-maps" in a]
    assert sum(tag == "div" and "data-maps" in a for tag, a in tags) == 3 * len(articles)
    assert sum(tag == "span" and "data-maps" in a for tag, a in tags) >= len(articles)
    assert all(re.fullmatch(r"[0-9a-f]{8}( [0-9a-f]{8})?", m) for m in maps)
    boxes = {a["style"] for tag, a in tags if tag == "canvas"}
    # Two positions a side and one more all round; the picture's middle lies half a position, less half a pixel, off.
    assert boxes == {"left:-74.22%;top:-74.22%;width:200.00%;height:200.00%"}
    assert "Research use only" in page


def test_the_real_check_has_all_its_studies(tiny_checkpoint: Path, data_dir: Path, tmp_path: Path) -> None:
    """The Indiana images at hand belong to studies of the training split and of none; laterals stand with frontals."""
    out = tmp_path / "indiana.html"
    arguments = ["--data", str(data_dir / "iu_xray"), "--split", "all", "--num-beams", "1", "--max-new-tokens", "8"]
    assert main(["gallery", str(tiny_checkpoint), "--out", str(out), *arguments]) == 0
    tags = Tags(out.read_text(encoding="utf-8")).tags
    assert sum(tag == "article" for tag, _ in tags) == 11
    views = [a["alt"] for tag, a in tags if tag == "img"]
    # 22 files, two of which are the other form of two others.
    assert (views.count("frontal"), views.count("lateral"), len(views)) == (11, 9, 20)


def test_nothing_to_show_is_an_error(
    tiny_checkpoint: Path, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A split without studies, a checkpoint that is none."""
    out = ["--out", str(tmp_path / "g.html"), "--data", str(phantoms)]
    assert main(["gallery", str(tiny_checkpoint), *out, "--split", "external"]) == 2
    assert main(["gallery", str(tmp_path / "none.pt"), *out]) == 2
    assert "in the split external" in capsys.readouterr().err
    assert not (tmp_path / "g.html").exists()
