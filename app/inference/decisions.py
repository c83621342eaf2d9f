"""What is decided of a study once it is encoded: what is present, where it lies, and what the report is to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from app.inference.anatomy import Anatomy, Cells
from app.inference.manifest import FindingDecision, Manifest
from app.inference.options import OperatingPoint
from app.report import Abnormal, Finding, Location, Measurement, Side, Zone
from app.text.facts import DENIED, PASSED_OVER, Fact, consistent, stated


@dataclass(frozen=True, slots=True)
class Decisions:
    """What is decided of one study; `facts` are what its report is told, of the findings and then of the whole."""

    findings: tuple[Finding, ...]
    abnormal: Abnormal | None
    measurements: tuple[Measurement, ...]
    facts: tuple[Fact, ...]


class Decider:
    """Decides by the thresholds of one checkpoint."""

    def __init__(self, manifest: Manifest, cells: Cells) -> None:
        """`cells` says where the positions of the evidence lie."""
        self._findings, self._abnormal = manifest.findings, manifest.abnormal
        self._names = tuple(finding.name for finding in manifest.findings)
        self._cells = cells

    def __call__(
        self, logits: Sequence[float], evidence: Tensor, anatomy: Tensor, mapped: Sequence[bool], point: OperatingPoint
    ) -> Decisions:
        """Of finding logits F+1 of the study; evidence f32[V,P,F+1] and anatomy f32[V,C,A,A] of its images. Those
        `mapped` are measured, and findings are located in them.

        A finding is present from its threshold on, in a study that is abnormal, which is never less probable than any
        of its findings. Nothing is denied that a threshold of its own does not allow.
        """
        odds = [one.probability(logits[i]) for i, one in enumerate(self._findings)]
        abnormal = None
        if self._abnormal:
            probability = max([self._abnormal.probability(logits[-1]), *odds])
            abnormal = Abnormal(probability, probability >= self._abnormal.thresholds[point].probability)
        maps = [Anatomy(anatomy[i], self._cells) if taken else None for i, taken in enumerate(mapped)]
        findings = []
        for i, decision in enumerate(self._findings):
            threshold = decision.thresholds[point].probability
            present = odds[i] >= threshold and (abnormal is None or abnormal.present)
            locations = _locations(decision, evidence[:, :, i], maps) if present else ()
            ruled_out = not present and decision.denied_below is not None and odds[i] < decision.denied_below
            findings.append(Finding(decision.name, odds[i], present, threshold, locations, ruled_out))
        measurements = [
            Measurement("cardiothoracic_ratio", ratio, i)
            for i, one in enumerate(maps)
            if one and (ratio := one.cardiothoracic_ratio()) is not None
        ]
        return Decisions(tuple(findings), abnormal, tuple(measurements), self._facts(findings, abnormal))

    def _facts(self, findings: Sequence[Finding], abnormal: Abnormal | None) -> tuple[Fact, ...]:
        facts = [
            stated(*_place(one.locations)) if one.present else DENIED if one.ruled_out else PASSED_OVER
            for one in findings
        ]
        nothing = not abnormal.present if abnormal else not any(finding.present for finding in findings)
        return consistent([*facts, DENIED if nothing else stated()], self._names)


def _locations(decision: FindingDecision, evidence: Tensor, maps: Sequence[Anatomy | None]) -> tuple[Location, ...]:
    """Where a finding lies in each image, by its evidence f32[V,P], as far as its side or zone is known."""
    found = []
    for i, one in enumerate(maps):
        if one and (place := one.locate(evidence[i], decision.side_from, decision.zone_from)):
            found.append(Location(i, place.side, place.zone, place.box))
    return tuple(found)


def _place(locations: Sequence[Location]) -> tuple[Side | None, Zone | None]:
    """Side and zone by all images together: what they do not agree on is not known."""
    sides = {location.side for location in locations if location.side}
    zones = {location.zone for location in locations if location.zone}
    return (sides.pop() if len(sides) == 1 else None), (zones.pop() if len(zones) == 1 else None)
