"""The parts of a gallery card: attention that is the network's own, sentences, and differences a reader would mark."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from app.inference.checkpoint import load_checkpoint
from app.inference.tokenizer import Tokenizer
from app.report import Hypothesis
from model_training.config import Config, config_from
from model_training.data import read_collection
from model_training.gallery.attention import Recorder, eager_model, word_attention
from model_training.gallery.cards import compare_labels, predicted_sentences, quantise, split
from model_training.gallery.differences import agreement
from model_training.model.build import build_model
from model_training.model.report_model import ReportModel


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


def test_attention_of_a_word_sums_to_one_over_views_and_findings(tiny_checkpoint: Path, phantoms: Path) -> None:
    """Four positions a view at 64 pixels, one more for the predicted findings."""
    images = next(study.images for study in read_collection(phantoms).studies if len(study.images) == 2)
    over_views, on_findings = word_attention(eager_model(load_checkpoint(tiny_checkpoint)), images, [5, 6, 7])
    assert over_views.shape == (3, 2, 4)
    torch.testing.assert_close(over_views.sum((1, 2)) + on_findings, torch.ones(3))


def test_the_rebuilt_network_is_the_one_exported(tiny_checkpoint: Path, tiny_model: ReportModel) -> None:
    """Weight by weight."""
    rebuilt = eager_model(load_checkpoint(tiny_checkpoint)).state_dict()
    for name, value in tiny_model.state_dict().items():
        torch.testing.assert_close(rebuilt[name], value)


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
