"""The parts of a gallery card: differences a reader would mark, where the model looked, in words."""

from __future__ import annotations

from app.report import Heatmap
from model_training.reporting.gallery.cards import Looked, compare_labels, looked
from model_training.reporting.gallery.differences import agreement


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


def test_labels_are_hit_missed_or_invented() -> None:
    """As the report and the truth have them."""
    assert compare_labels({"a", "b"}, {"b", "c"}) == {"a": "missed", "b": "hit", "c": "invented"}


def test_where_the_model_looked_is_said_in_words() -> None:
    """What it is a map of, and how much lies in one place at most."""
    maps = [Heatmap(i, ((0, 255), (7, 8)), 0.42, (0, 0, 1, 1)) for i in range(2)]
    evidence = looked(maps, "evidence", ["effusion", "pleural_thickening"])
    assert evidence == Looked(
        2 * (bytes([0, 255, 7, 8]),), "Evidence for effusion and pleural thickening: up to 42% in one place."
    )
    assert looked(maps, "attention", []).note.startswith("Attention while writing")
