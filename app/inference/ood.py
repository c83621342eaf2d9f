"""Whether what was sent is a chest radiograph, upright and not inverted, by what the archive's intake says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from app.inference.network.encoder import Encoding

Mode = Literal["refuse", "warn", "off"]
OUTPUTS = ("chest", "inverted", "turned 0", "turned 90", "turned 180", "turned 270")
"""What an intake says of an image: logits that it is a chest radiograph, that dark and bright are exchanged, and
of how many degrees it is turned anticlockwise."""


class NotAChestXrayError(ValueError):
    """An image of the study does not look like a chest radiograph; the message may be shown to the client."""


class Acceptance:
    """The rule by which images are refused or warned of; without a fitted intake none ever is."""

    def __init__(self, manifest: Mapping[str, Any], mode: Mode) -> None:
        """`manifest` is the checkpoint's: its `intake` holds the thresholds, or is null."""
        fitted = manifest.get("intake")
        self.mode: Mode = mode if fitted else "off"
        self._thresholds: Mapping[str, float] = fitted["thresholds"] if fitted else {}

    def refusal(self, encoding: Encoding) -> NotAChestXrayError | None:
        """Why no report is to be written of a study, if so."""
        if self.mode != "refuse":
            return None
        reasons = [self._strange(i, said) for i, said in enumerate(encoding.intake, 1)]
        return NotAChestXrayError(" ".join(filter(None, reasons))) if any(reasons) else None

    def warnings(self, encoding: Encoding) -> list[str]:
        """What its reader must know of the images, one sentence or two each."""
        if self.mode == "off":
            return []
        warnings = []
        for i, said in enumerate(encoding.intake, 1):
            if strange := self._strange(i, said):
                warnings.append(strange)
            else:
                warnings += self._misplaced(i, said)
        return warnings

    def _strange(self, number: int, said: Sequence[float]) -> str:
        threshold = self._thresholds["chest"]
        if said[0] >= threshold:
            return ""
        return (
            f"Image {number} does not look like a chest X-ray: score {sigmoid(said[0]):.2g}, "
            f"accepted from {sigmoid(threshold):.2g}."
        )

    def _misplaced(self, number: int, said: Sequence[float]) -> list[str]:
        warnings = []
        if said[1] >= self._thresholds["inverted"]:
            warnings.append(
                f"Image {number} looks inverted, dark and bright exchanged (probability {sigmoid(said[1]):.2g}): "
                "findings and text are unreliable; invert it (MONOCHROME1) and send it again."
            )
        upright, *turned = said[2:]
        most = max(turned)
        if most - upright >= self._thresholds["turned"]:
            degrees = (90, 180, 270)[turned.index(most)]
            warnings.append(
                f"Image {number} looks turned, likely by {degrees} degrees anticlockwise (probability "
                f"{sigmoid(most - upright):.2g}): findings and sides are unreliable; turn it upright and send it again."
            )
        return warnings


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), without overflow."""
    return 0.5 * (1.0 + math.tanh(0.5 * logit))
