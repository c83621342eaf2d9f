"""The records every part of the service speaks in. Plain frozen dataclasses; this module imports nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

DISCLAIMER = "Research use only. Not for clinical use."

FinishReason = Literal["eos", "length"]
HeatmapSource = Literal["evidence", "attention"]
Side = Literal["left", "right", "both"]
Zone = Literal["upper", "middle", "lower"]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One report text the beam search arrived at.

    `score` is the sum of token log-probabilities divided by `tokens ** length_penalty`, where `tokens`
    counts what was generated, the end-of-sequence token included (as Hugging Face `generate` counts).
    """

    text: str
    sections: Mapping[str, str]
    score: float
    tokens: int
    finish_reason: FinishReason
    token_texts: tuple[str, ...]
    token_log_probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Location:
    """Where a finding lies in one image, `image` by its index in the study: side and zone (a third of the lung from top
    to bottom) of the patient, as far as known, and a box: left, top, right, bottom as fractions of the image."""

    image: int
    side: Side | None
    zone: Zone | None
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding head's word on one finding of the study: calibrated probability, the decision taken on it, the
    probability from which on it is present, where it lies if it is, and whether a report may deny it if it is not."""

    name: str
    probability: float
    present: bool
    threshold: float
    locations: tuple[Location, ...] = ()
    ruled_out: bool = False


@dataclass(frozen=True, slots=True)
class Abnormal:
    """The finding head's word on the whole study: calibrated probability that anything is found, and the decision."""

    probability: float
    present: bool


@dataclass(frozen=True, slots=True)
class Measurement:
    """Something measured in one image, `image` by its index in the study."""

    name: str
    value: float
    image: int


@dataclass(frozen=True, slots=True)
class ViewGuess:
    """The projection the model takes an image for, with the probability it gives it; `read` says whether it has learnt
    to read that one, and so did."""

    view: str
    probability: float
    read: bool


@dataclass(frozen=True, slots=True)
class ReportSentence:
    """A sentence of the best hypothesis: the findings of the head that it names, affirming or denying them, and those
    of the report's warnings that are about it."""

    section: str
    text: str
    findings: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Where the model looked in one image, `image` by its index in the study.

    `levels` are rows of 0 to 255, and a share of `scale` · level / 255 of what was looked for lies at each; `box` is
    what the grid covers of the image: left, top, right, bottom as fractions of it, which may lie beyond 0 and 1.
    """

    image: int
    levels: tuple[tuple[int, ...], ...]
    scale: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class FindingHeatmaps:
    """Where the evidence for a finding lies, image by image: the shares of each image sum to 1."""

    name: str
    maps: tuple[Heatmap, ...]


@dataclass(frozen=True, slots=True)
class SentenceHeatmaps:
    """Where the model looked for a sentence: at the evidence for the `findings` it names, or by attention.

    Attention sums to 1 over all images together with the findings that the decoder is conditioned on.
    """

    section: str
    text: str
    source: HeatmapSource
    findings: tuple[str, ...]
    maps: tuple[Heatmap, ...]


@dataclass(frozen=True, slots=True)
class Heatmaps:
    """Heatmaps of every finding, and of every sentence of the best hypothesis."""

    findings: tuple[FindingHeatmaps, ...]
    sentences: tuple[SentenceHeatmaps, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds spent by one study in each stage of the engine."""

    queue_ms: float
    encode_ms: float
    generate_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """What the model says of one study: hypotheses best first, findings, one view guess an image; `abnormal` and
    measurements as far as the checkpoint has a part for them; the sentences of the best hypothesis; heatmaps where they
    were asked for."""

    hypotheses: tuple[Hypothesis, ...]
    findings: tuple[Finding, ...]
    views: tuple[ViewGuess, ...]
    warnings: tuple[str, ...]
    timing: Timing
    abnormal: Abnormal | None = None
    measurements: tuple[Measurement, ...] = ()
    sentences: tuple[ReportSentence, ...] = ()
    heatmaps: Heatmaps | None = None
