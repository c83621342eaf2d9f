"""The gallery: attention that is the network's own, differences a reader would mark, one page that needs nothing."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from app.inference.checkpoint import Checkpoint, load_checkpoint
from app.inference.generator import Generator
from app.inference.options import DecodingOptions
from model_training.__main__ import main
from model_training.data import read_collection
from model_training.gallery import make_cards, sample
from model_training.gallery.attention import NoAttentionError, eager_model
from model_training.gallery.cards import (
    Bar,
    Card,
    Sentence,
)
from model_training.gallery.page import render
from model_training.generation import Written, generate

EVIL = "<script>alert(\"x\")</script> & 'quoted'"


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    """The tiny checkpoint, loaded."""
    return load_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="module")
def some_written(checkpoint: Checkpoint, phantoms: Path) -> list[Written]:
    """What the tiny model wrote of six phantoms."""
    generator = Generator(checkpoint, max_queue=128)
    try:
        studies = read_collection(phantoms).split("val")
        return generate(generator, studies, DecodingOptions(num_beams=1, max_new_tokens=12)).written
    finally:
        generator.close()


@pytest.mark.parametrize("config", [None, {"data": {"findings": ["x"]}}, {"model": {"encoder": "unheard of"}}])
def test_a_network_that_cannot_be_rebuilt_has_no_attention_but_a_gallery(
    config: object, checkpoint: Checkpoint, some_written: list[Written]
) -> None:
    """The page says so."""
    stranger = dataclasses.replace(checkpoint, manifest={**checkpoint.manifest, "config": config})
    with pytest.raises(NoAttentionError):
        eager_model(stranger)
    cards, lacking = make_cards(stranger, some_written)
    page = render(cards, "tiny", "", lacking)
    assert "No attention to show: the network cannot be rebuilt" in page
    assert "data-maps" not in page.partition("<script>")[0]


def card(name: str, f1: float = 1.0, **changes: object) -> Card:
    """A card of which every text is the name."""
    sentence = Sentence([name, "effusion", "."], [0, 1, 2], [False, True, True], maps=(bytes([0, 255, 3, 4]),))
    made = Card(
        id=name,
        normal=False,
        images=((name, "data:image/jpeg;base64,AAAA"),),
        reference={name: [sentence]},
        prediction={"findings": [sentence]},
        labels={name: "missed"},
        bars=(Bar(name, 0.8, 0.5, False),),
        label_f1=f1,
        bleu=0.1,
        score=-0.3,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


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
    page = Tags(render([card(EVIL)], EVIL, EVIL, EVIL))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert any(attributes.get("data-id") == EVIL for _, attributes in page.tags)
    seen = "".join(page.text)
    assert seen.count(EVIL) == seen.count("alert") > 8


def test_words_that_differ_are_marked_and_others_are_not() -> None:
    """Punctuation and enumeration never are."""
    sentence = Sentence(["2", ".", "small", "left", "effusion", "."], list(range(6)), [False] * 4 + [True, False])
    page = render([card("x", prediction={"findings": [sentence]})], "", "")
    assert ">2. <mark>Small left</mark> effusion.<" in page


def test_bars_show_decision_and_truth() -> None:
    """Present by threshold, wrong by label, or not labelled at all."""
    bars = (Bar("a", 0.8, 0.5, False), Bar("b", 0.2, 0.1, True), Bar("c", 0.2, 0.5, None))
    page = Tags(render([card("x", bars=bars)], "", ""))
    states = [a["class"] for tag, a in page.tags if tag == "div" and (a.get("class") or "").startswith("bar")]
    assert states == ["bars", "bar present wrong", "bar present", "bar"]
    assert [a["class"] for tag, a in page.tags if tag == "i"] == ["off", "on", "unknown"]


def test_the_sample_is_the_same_every_time() -> None:
    """Drawn at random, kept in order, and no more than there are."""
    studies = [card(str(i)) for i in range(50)]
    drawn = sample(studies, 10)  # type: ignore[type-var]
    assert drawn == sample(studies, 10)  # type: ignore[type-var]
    assert [int(c.id) for c in drawn] == sorted(int(c.id) for c in drawn)
    assert len(sample(studies, 100)) == 50  # type: ignore[type-var]


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
    """With its attention, one map a view."""
    tags = Tags(page).tags
    articles = [a for tag, a in tags if tag == "article"]
    assert len(articles) == 4
    order = [(float(a["data-f1"] or 0), float(a["data-bleu"] or 0)) for a in articles]
    assert order == sorted(order)
    maps = [a["data-maps"] or "" for _, a in tags if "data-maps" in a]
    assert maps
    assert all(re.fullmatch(r"[0-9a-f]{8}( [0-9a-f]{8})?", m) for m in maps)
    assert "Research use only" in page


def test_nothing_to_show_is_an_error(
    tiny_checkpoint: Path, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A split without studies, a checkpoint that is none."""
    out = ["--out", str(tmp_path / "g.html"), "--data", str(phantoms)]
    assert main(["gallery", str(tiny_checkpoint), *out, "--split", "external"]) == 2
    assert main(["gallery", str(tmp_path / "none.pt"), *out]) == 2
    assert "no external studies" in capsys.readouterr().out
    assert not (tmp_path / "g.html").exists()
