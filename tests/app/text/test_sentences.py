"""The sentences of a report, with the positions of their words among the tokens."""

from __future__ import annotations

from app.text.sentences import sentences_of, split


def test_sentences_keep_the_number_that_counts_them() -> None:
    """An enumerator is no sentence, and each word knows its position."""
    words = ["1", ".", "left", "effusion", ".", "2", ".", "normal", "heart", ".", "end"]
    sentences = split("findings", enumerate(words))
    assert [s.text for s in sentences] == ["1. Left effusion.", "2. Normal heart.", "End"]
    assert sentences[1].positions == (5, 6, 7, 8, 9)
    assert sentences[1].spoken == (5, 7, 8)


def test_generated_tokens_fall_into_their_sections() -> None:
    """Markers and special tokens are no words, but count as positions."""
    tokens = ("<findings>", "clear", ".", "<impression>", "normal", ".", "<eos>")
    sentences = sentences_of(tokens, ("findings", "impression"))
    assert [(s.section, s.words, s.positions) for s in sentences] == [
        ("findings", ("clear", "."), (1, 2)),
        ("impression", ("normal", "."), (4, 5)),
    ]


def test_punctuation_alone_is_a_sentence_with_a_place() -> None:
    """Whatever an untrained network writes."""
    assert [s.spoken for s in split("findings", [(3, "."), (4, ".")])] == [(3, 4)]
