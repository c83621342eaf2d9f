"""What is refused and what is warned of, by the logits of the out-of-distribution head."""

from __future__ import annotations

import pytest

from app.inference.ood import ADVICE, OodMode, OodPolicy, OodThresholds

THRESHOLDS = OodThresholds(chest=0.0, inverted=1.0, turned=2.0)
FILM = [4.0, -4.0, 5.0, 0.0, 0.0, 0.0]
PHOTOGRAPH = [-4.0, 4.0, 0.0, 9.0, 0.0, 0.0]
INVERTED = [4.0, 1.5, 5.0, 0.0, 0.0, 0.0]
TURNED = [4.0, -4.0, 0.0, 0.0, 3.0, 0.0]


def test_refusal() -> None:
    """A study with an image that is no chest X-ray is refused: which one, its score, the score needed, what helps."""
    refusal = OodPolicy(THRESHOLDS, "refuse").refusal([FILM, PHOTOGRAPH])
    assert str(refusal) == f"Image 2 does not look like a chest X-ray: score 0.018, accepted from 0.5. {ADVICE}"
    both = str(OodPolicy(THRESHOLDS, "refuse").refusal([PHOTOGRAPH, PHOTOGRAPH]))
    assert both.startswith("Image 1 does not")
    assert both.count(ADVICE) == 1


@pytest.mark.parametrize("image", [FILM, INVERTED, TURNED])
def test_accepted(image: list[float]) -> None:
    """A chest X-ray is accepted, inverted and turned as well."""
    assert OodPolicy(THRESHOLDS, "refuse").refusal([image]) is None


def test_warn() -> None:
    """With `warn` nothing is refused, and the same sentence stands among the warnings."""
    policy = OodPolicy(THRESHOLDS, "warn")
    assert policy.refusal([PHOTOGRAPH]) is None
    assert policy.warnings([PHOTOGRAPH]) == [
        f"Image 1 does not look like a chest X-ray: score 0.018, accepted from 0.5. {ADVICE}"
    ]


@pytest.mark.parametrize(
    ("image", "words"), [(INVERTED, "inverted"), (TURNED, "turned, likely by 180 degrees anticlockwise")]
)
def test_disoriented(image: list[float], words: str) -> None:
    """An inverted or turned image is named, with what to do; one as it should be is not."""
    (warning,) = OodPolicy(THRESHOLDS, "refuse").warnings([FILM, image])
    assert warning.startswith(f"Image 2 looks {words}")
    assert "send it again" in warning


@pytest.mark.parametrize(("mode", "outcome"), [("refuse", "refused"), ("warn", "warned"), ("off", "accepted")])
def test_outcomes(mode: OodMode, outcome: str) -> None:
    """Each image has its score and what becomes of it, whatever becomes of the study."""
    scores, outcomes = zip(*OodPolicy(THRESHOLDS, mode).outcomes([FILM, PHOTOGRAPH]), strict=True)
    assert scores == pytest.approx((0.982, 0.018), abs=1e-3)
    assert outcomes == ("accepted", outcome)
    assert OodPolicy(None, mode).outcomes([FILM]) == []


@pytest.mark.parametrize(("thresholds", "mode"), [(THRESHOLDS, "off"), (None, "refuse")])
def test_off(thresholds: OodThresholds | None, mode: OodMode) -> None:
    """Switched off, or with a checkpoint that cannot tell, nothing is refused and nothing warned of."""
    policy = OodPolicy(thresholds, mode)
    assert policy.refusal([PHOTOGRAPH, TURNED]) is None
    assert policy.warnings([PHOTOGRAPH, TURNED]) == []
