"""Where the findings of a phantom lie in its views: boxes around what they add to the picture, or take from it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from model_training.data.study import Box, View
from model_training.synthetic.phantom.body import Phantom
from model_training.synthetic.phantom.render import footprint

LOCATED = ("pleural effusion", "airspace opacity", "nodule", "pneumothorax")
"""The findings that lie somewhere in the lungs; the others are of the heart, a diaphragm, or run through the chest."""
SEEN = 0.25  # of what a finding adds at most, from which on a pixel belongs to it: it fades out
_SIZE = 96  # pixels a side that the boxes are measured at


def boxes(phantom: Phantom, view: View) -> Iterator[Box]:
    """The boxes of the findings that are `LOCATED`. Raises ValueError where the study has no such view."""
    for finding in phantom.findings:
        if finding.name in LOCATED:
            added = footprint(phantom, view, finding, _SIZE)
            seen = added >= SEEN * added.max()
            (top, bottom), (left, right) = (np.flatnonzero(seen.any(axis))[[0, -1]] for axis in (1, 0))
            width, height = (right + 1 - left) / _SIZE, (bottom + 1 - top) / _SIZE
            yield Box(finding.name, left / _SIZE + width / 2, top / _SIZE + height / 2, width, height)
