"""Whether what was sent is a chest radiograph, upright and not inverted: out-of-distribution (ood) detection, by what a
head of the network says of each image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

OodMode = Literal["refuse", "warn", "off"]
OodOutcome = Literal["accepted", "warned", "refused"]
OUTPUTS = ("chest", "inverted", "turned 0", "turned 90", "turned 180", "turned 270")
"""What the head says of an image: logits that it is a chest radiograph, that dark and bright are exchanged, and of how
many degrees it is turned anticlockwise."""
OodLogits = Sequence[float]  # of one image, as `OUTPUTS` has them
ADVICE = (
    "Send each film alone, upright and without surroundings, exported from the viewer as PNG rather than photographed "
    "or as a screenshot."
)
"""What helps where a film was refused: photographs of films and pictures of several are taken for something else."""
# What becomes of an image that is none.
_OF_STRANGE: Mapping[OodMode, OodOutcome] = {"refuse": "refused", "warn": "warned", "off": "accepted"}


class NotAChestXrayError(ValueError):
    """An image of the study does not look like a chest radiograph; the message may be shown to the client."""


@dataclass(frozen=True, slots=True)
class OodThresholds:
    """The logits from which on an image is accepted, and called inverted; the log odds from which on, turned."""

    chest: float
    inverted: float
    turned: float


class OodPolicy:
    """The rule by which images are refused or warned of; without fitted thresholds none ever is."""

    def __init__(self, thresholds: OodThresholds | None, mode: OodMode) -> None:
        self._thresholds = thresholds
        self._mode = mode

    def refusal(self, images: Sequence[OodLogits]) -> NotAChestXrayError | None:
        """Why no report is to be written of a study of these images, if so."""
        if self._thresholds is None or self._mode != "refuse":
            return None
        reasons = [_strange(i, logits, self._thresholds) for i, logits in enumerate(images, 1)]
        return NotAChestXrayError(" ".join(filter(None, [*reasons, ADVICE]))) if any(reasons) else None

    def outcomes(self, images: Sequence[OodLogits]) -> list[tuple[float, OodOutcome]]:
        """How far each image looks like a chest radiograph, 0 to 1, and what becomes of it; none without thresholds."""
        if self._thresholds is None:
            return []
        strange = _OF_STRANGE[self._mode]
        return [(sigmoid(one[0]), "accepted" if one[0] >= self._thresholds.chest else strange) for one in images]

    def warnings(self, images: Sequence[OodLogits]) -> list[str]:
        """What its reader must know of the images, one sentence or two each."""
        if self._thresholds is None or self._mode == "off":
            return []
        warnings = []
        for i, logits in enumerate(images, 1):
            if strange := _strange(i, logits, self._thresholds):
                warnings.append(f"{strange} {ADVICE}")
            else:
                warnings += _disoriented(i, logits, self._thresholds)
        return warnings


def _strange(number: int, logits: OodLogits, thresholds: OodThresholds) -> str:
    if logits[0] >= thresholds.chest:
        return ""
    return (
        f"Image {number} does not look like a chest X-ray: score {sigmoid(logits[0]):.2g}, "
        f"accepted from {sigmoid(thresholds.chest):.2g}."
    )


def _disoriented(number: int, logits: OodLogits, thresholds: OodThresholds) -> list[str]:
    warnings = []
    if logits[1] >= thresholds.inverted:
        warnings.append(
            f"Image {number} looks inverted, dark and bright exchanged (probability {sigmoid(logits[1]):.2g}): "
            "findings and text are unreliable; invert it (MONOCHROME1) and send it again."
        )
    upright, *turned = logits[2:]
    most = max(turned)
    if most - upright >= thresholds.turned:
        degrees = (90, 180, 270)[turned.index(most)]
        warnings.append(
            f"Image {number} looks turned, likely by {degrees} degrees anticlockwise (probability "
            f"{sigmoid(most - upright):.2g}): findings and sides are unreliable; turn it upright and send it again."
        )
    return warnings


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow."""
    return 0.5 * (1.0 + math.tanh(0.5 * logit))
