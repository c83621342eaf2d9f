"""What is refused and what is warned of, by the logits of an intake."""

from __future__ import annotations

import pytest
import torch

from app.inference.network.encoder import Encoding
from app.inference.ood import Acceptance, Mode

MANIFEST = {"intake": {"thresholds": {"chest": 0.0, "inverted": 1.0, "turned": 2.0}}}
FILM = [4.0, -4.0, 5.0, 0.0, 0.0, 0.0]
PHOTOGRAPH = [-4.0, 4.0, 0.0, 9.0, 0.0, 0.0]
INVERTED = [4.0, 1.5, 5.0, 0.0, 0.0, 0.0]
TURNED = [4.0, -4.0, 0.0, 0.0, 3.0, 0.0]


def encoding(*said: list[float]) -> Encoding:
    return Encoding([], [[0.0, 0.0] for _ in said], list(said), torch.zeros(len(said), 1, 1), [])


def test_refusal() -> None:
    """A study with one image that is no chest X-ray is refused: which one, its score and the score that is needed."""
    refusal = Acceptance(MANIFEST, "refuse").refusal(encoding(FILM, PHOTOGRAPH))
    assert str(refusal) == "Image 2 does not look like a chest X-ray: score 0.018, accepted from 0.5."


@pytest.mark.parametrize("image", [FILM, INVERTED, TURNED])
def test_accepted(image: list[float]) -> None:
    """A chest X-ray is accepted, inverted and turned as well."""
    assert Acceptance(MANIFEST, "refuse").refusal(encoding(image)) is None


def test_warn() -> None:
    """With `warn` nothing is refused, and the same sentence stands among the warnings."""
    acceptance = Acceptance(MANIFEST, "warn")
    assert acceptance.refusal(encoding(PHOTOGRAPH)) is None
    assert acceptance.warnings(encoding(PHOTOGRAPH)) == [
        "Image 1 does not look like a chest X-ray: score 0.018, accepted from 0.5."
    ]


@pytest.mark.parametrize(
    ("image", "words"), [(INVERTED, "inverted"), (TURNED, "turned, likely by 180 degrees anticlockwise")]
)
def test_misplaced(image: list[float], words: str) -> None:
    """An inverted or turned image is named, with what to do; one as it should be is not."""
    (warning,) = Acceptance(MANIFEST, "refuse").warnings(encoding(FILM, image))
    assert warning.startswith(f"Image 2 looks {words}")
    assert "send it again" in warning


@pytest.mark.parametrize(("manifest", "mode"), [(MANIFEST, "off"), ({"intake": None}, "refuse"), ({}, "refuse")])
def test_off(manifest: dict[str, object], mode: Mode) -> None:
    """Switched off, or with a checkpoint that cannot tell, nothing is refused and nothing warned of."""
    acceptance = Acceptance(manifest, mode)
    assert acceptance.refusal(encoding(PHOTOGRAPH, TURNED)) is None
    assert acceptance.warnings(encoding(PHOTOGRAPH, TURNED)) == []
