"""The tokenizer: reports to ids and back to readable text."""

from __future__ import annotations

import pytest

from app.text.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, TokenizerError

REPORTS = [
    {
        "findings": "The heart is normal. PA and lateral views; no T8-T9 change (stable).",
        "impression": "No acute disease.",
    },
    {"findings": "Heart size is normal. The lungs are clear.", "impression": "Normal chest, 2.5 cm hernia."},
]
SECTIONS = ("findings", "impression")


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.build(REPORTS, SECTIONS)


@pytest.mark.parametrize("report", REPORTS)
def test_decoding_gives_back_the_report_as_written(tokenizer: Tokenizer, report: dict[str, str]) -> None:
    """Casing, punctuation and sections survive the way to ids and back."""
    assert tokenizer.decode([BOS, *tokenizer.encode(report), EOS, PAD]) == report


def test_absent_sections_leave_no_trace(tokenizer: Tokenizer) -> None:
    """A report without findings has no findings marker and decodes to its impression alone."""
    ids = tokenizer.encode({"impression": "No acute disease."})
    assert tokenizer.decode(ids) == {"impression": "No acute disease."}


def test_words_below_the_minimum_count_are_unknown() -> None:
    """`min_count` bounds the vocabulary, and unseen words become <unk>."""
    tokenizer = Tokenizer.build(REPORTS, SECTIONS, min_count=2)
    assert UNK in tokenizer.encode({"findings": "hernia"})
    assert UNK not in tokenizer.encode({"findings": "normal heart"})


def test_json_round_trip(tokenizer: Tokenizer) -> None:
    """What is saved is what is loaded."""
    assert Tokenizer.from_json(tokenizer.to_json()).tokens == tokenizer.tokens


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"type": "bpe"}',
        b'{"type": "phrase", "vocabulary": ["a", "A"], "section_names": [], "merges": []}',
    ],
)
def test_foreign_files_are_refused(data: bytes) -> None:
    """Anything but our own format is an error, never a silent empty vocabulary."""
    with pytest.raises(TokenizerError):
        Tokenizer.from_json(data)


def test_phrases_are_tokens_of_their_own_within_sentences(tokenizer: Tokenizer) -> None:
    """Merges are tried in their order, reach over no full stop, and change nothing that is read."""
    the, lungs, are = (tokenizer.encode({"findings": word})[1] for word in ("the", "lungs", "are"))
    first = len(tokenizer)
    phrased = tokenizer.with_merges([(lungs, are), (the, first)])
    assert phrased.tokens[first:] == ("lungs are", "the lungs are")
    text = {"findings": "Heart size is normal. The lungs are clear."}
    assert first + 1 in phrased.encode(text)
    assert len(phrased.encode(text)) == len(tokenizer.encode(text)) - 2
    assert phrased.decode(phrased.encode(text)) == text
    assert Tokenizer.from_json(phrased.to_json()).encode(text) == phrased.encode(text)


def test_merges_of_tokens_that_are_not_there_are_refused(tokenizer: Tokenizer) -> None:
    """Of later ones, of special tokens, and twice the same."""
    first = len(tokenizer)
    for merges in ([(first, 9)], [(EOS, 9)], [(8, 9), (8, 9)]):
        with pytest.raises(TokenizerError):
            tokenizer.with_merges(merges)
