"""The gallery: attention that is the network's own, differences a reader would mark, one page that needs nothing."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.inference.checkpoint import Checkpoint, load_checkpoint
from app.inference.generator import Generator
from app.inference.options import DecodingOptions
from app.inference.tokenizer import Tokenizer
from app.report import Hypothesis
from model_training.__main__ import main
from model_training.config import Config, config_from
from model_training.data import read_collection
from model_training.gallery import make_cards, sample
from model_training.gallery.attention import NoAttentionError, Recorder, eager_model, word_attention
from model_training.gallery.cards import (
    Bar,
    Card,
    Sentence,
    compare_labels,
    predicted_sentences,
    quantise,
    split,
)
from model_training.gallery.differences import agreement
from model_training.gallery.page import render
from model_training.generation import Written, generate
from model_training.model.build import build_model
from model_training.model.report_model import ReportModel

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


@pytest.fixture(params=["transformer", "lstm"])
def model(request: pytest.FixtureRequest, tiny_config: Config, tiny_tokenizer: Tokenizer) -> ReportModel:
    """A network with each decoder."""
    content = tiny_config.as_dict()
    content["model"] |= {"decoder": request.param}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return build_model(config_from(content), len(tiny_tokenizer)).eval()


def test_the_recorded_attention_is_the_one_the_network_used(
    model: ReportModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are those that PyTorch's own attention is given the queries, keys and mask for."""
    used: list[Tensor] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def spy(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor) -> Tensor:
        if key.shape[2] == 9:  # the memory, not the words
            eye = torch.eye(9).expand(*key.shape[:2], 9, 9)
            used.append(original(query, key, eye, attn_mask=attn_mask)[0])
        return original(query, key, value, attn_mask=attn_mask)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    images, mask = torch.rand(2, 1, 64, 64), torch.ones(1, 2, dtype=torch.bool)
    with torch.inference_mode(), Recorder(model.decoder) as weights:
        model(images, mask, torch.tensor([[1, 6, 7, 8]]))
    recorded = weights()
    # A recurrent decoder attends word by word.
    expected = torch.stack(used) if used[0].shape[1] > 1 else torch.cat(used, 1)[None]
    torch.testing.assert_close(recorded, expected)


def test_attention_of_a_word_sums_to_one_over_views_and_findings(
    checkpoint: Checkpoint, some_written: list[Written]
) -> None:
    """Four positions a view at 64 pixels, one more for the predicted findings."""
    one = next(w for w in some_written if len(w.images) == 2)
    over_views, on_findings = word_attention(eager_model(checkpoint), one.images, [5, 6, 7])
    assert over_views.shape == (3, 2, 4)
    torch.testing.assert_close(over_views.sum((1, 2)) + on_findings, torch.ones(3))


def test_the_rebuilt_network_is_the_one_exported(checkpoint: Checkpoint, tiny_model: ReportModel) -> None:
    """Weight by weight."""
    rebuilt = eager_model(checkpoint).state_dict()
    for name, value in tiny_model.state_dict().items():
        torch.testing.assert_close(rebuilt[name], value)


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


def words(text: str) -> list[list[str]]:
    """Sentences of words."""
    return [sentence.split() for sentence in text.split(" . ")]


def test_a_moved_sentence_agrees_and_a_changed_word_does_not() -> None:
    """Order means nothing, case neither; what only one of them says stands out."""
    reference = words("The heart is normal in size . small left effusion . no pneumothorax")
    prediction = words("small right effusion . the heart is normal in size . lungs are clear")
    ours, theirs = agreement(reference, prediction)
    assert ours == [[True] * 6, [True, False, True], [False, False]]
    assert theirs == [[True, False, True], [True] * 6, [False] * 3]


def test_little_words_alone_make_no_pair() -> None:
    """That both say "is in the" is no agreement."""
    ours, _ = agreement(words("the catheter is in the heart"), words("the effusion is on the left"))
    assert not any(ours[0])
    assert agreement([], words("a b")) == ([], [[False, False]])


def test_sentences_keep_the_number_that_counts_them() -> None:
    """An enumerator is no sentence, and each word knows its place."""
    sentences = split(enumerate(["1", ".", "left", "effusion", ".", "2", ".", "normal", "heart", ".", "end"]))
    assert [s.words for s in sentences] == [
        ["1", ".", "left", "effusion", "."], ["2", ".", "normal", "heart", "."], ["end"],
    ]  # fmt: skip
    assert sentences[1].places == [5, 6, 7, 8, 9]


def test_generated_tokens_fall_into_their_sections() -> None:
    """Markers and special tokens are no words, but count as places."""
    tokens = ("<findings>", "clear", ".", "<impression>", "normal", ".", "<eos>")
    hypothesis = Hypothesis("", {}, 0, 7, "eos", tokens, (0.0,) * 7)
    parts = predicted_sentences(hypothesis, ("findings", "impression"))
    assert {name: [(s.words, s.places) for s in part] for name, part in parts.items()} == {
        "findings": [(["clear", "."], [1, 2])],
        "impression": [(["normal", "."], [4, 5])],
    }


def test_attention_is_scaled_over_all_views_together() -> None:
    """The most attended position is 255 wherever it is, the least 0."""
    assert quantise(torch.tensor([[0.0, 0.1], [0.2, 0.4]])) == (bytes([0, 64]), bytes([128, 255]))
    assert quantise(torch.full((1, 2), 0.5)) == (bytes(2),)


def test_labels_are_hit_missed_or_invented() -> None:
    """As the report and the truth have them."""
    assert compare_labels({"a", "b"}, {"b", "c"}) == {"a": "missed", "b": "hit", "c": "invented"}


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
