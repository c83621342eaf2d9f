"""Who is radiographed and how: the few numbers a phantom study is made of, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Side = Literal["left", "right"]
Zone = Literal["upper", "mid", "lower"]
Sex = Literal["female", "male"]

FINDINGS = (
    "cardiomegaly",
    "pleural effusion",
    "airspace opacity",
    "nodule",
    "pneumothorax",
    "elevated diaphragm",
    "device",
)
DEVICES = ("pacemaker", "port", "central line")
NORMAL_SHARE = 0.4
SECOND_SHARE, THIRD_SHARE = 0.35, 0.25  # of the abnormal studies; of those with two findings

# What `DrawnFinding.extent` measures, its range, and the words for it with the value each one ends at.
_EXTENTS: dict[str, tuple[float, float, dict[str, float]]] = {
    "cardiomegaly": (0.56, 0.70, {"mild": 0.60, "moderate": 0.65, "severe": 1}),  # cardiothoracic ratio
    "pleural effusion": (0.1, 1.0, {"small": 0.4, "moderate": 0.7, "large": 1}),  # 1: about half the lung
    "airspace opacity": (28, 46, {"small": 33, "moderate": 40, "large": 99}),  # radius, mm
    "nodule": (20, 30, {"small": 23, "moderate": 27, "large": 30}),  # diameter, mm
    "pneumothorax": (16, 52, {"small": 25, "moderate": 37, "large": 99}),  # width of the rim of air, mm
    "elevated diaphragm": (36, 62, {"mild": 44, "moderate": 53, "severe": 99}),  # height above the usual, mm
}
# Where the centre of an opacity or nodule may lie: outwards, up and forward of the middle of the lungs, mm.
_ZONES: dict[Zone, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "upper": ((50, 80), (55, 80), (-45, 35)),
    "mid": ((72, 100), (-8, 18), (10, 50)),
    "lower": ((78, 105), (-48, -34), (-50, 0)),
}
# Matter in the same place would hide or mimic the other finding, so a side takes one of these only.
_ONE_PER_SIDE = frozenset(FINDINGS) - {"cardiomegaly", "device"}


@dataclass(frozen=True, slots=True)
class DrawnFinding:
    """One finding as it is drawn, with the words its report must agree with.

    `side` is the patient's, None for the heart. `extent` is in the unit of the finding (ratio or mm), `size` its word.
    `position` is the centre (x, y, z) in mm of an opacity or nodule: towards the patient's left, up from the middle of
    the lungs, forward. `kind` names the device.
    """

    name: str
    side: Side | None = None
    size: str = ""
    extent: float = 0.0
    zone: Zone | None = None
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    kind: str = ""

    @property
    def lobe(self) -> str:
        """The lobe that zone and side stand for, "" where the finding has no zone."""
        if self.zone == "mid":
            return "middle lobe" if self.side == "right" else "lingula"
        return f"{self.zone} lobe" if self.zone else ""


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How one view was taken and displayed. Angles in degrees, lengths in mm, fractions of the image side.

    `rotation` turns the patient about the vertical axis, `roll` in the image plane; `field` is the image side at the
    patient; `dose` is photons per mm² before the patient; `collimation` is the shuttered fraction (left, top, right,
    bottom); `marker` is "L", "R" or "" and `marker_centre` its middle (across, down).
    """

    rotation: float
    roll: float
    shift: tuple[float, float]
    field: float
    dose: float
    contrast: float
    brightness: float
    marker: str
    marker_centre: tuple[float, float]
    collimation: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Phantom:
    """A body, the findings in it and the views taken of it. Lengths in mm; `seed` fixes its vessels and noise.

    `half_width` and `half_depth` are those of the rib cage at its widest, `lung_height` runs from apex to the lower
    edge of the cage, `inspiration` lowers both diaphragms, `heart_ratio` is heart width over cage width before any
    cardiomegaly, `lateral` is None where only a frontal view was taken.
    """

    seed: int
    sex: Sex
    half_width: float
    half_depth: float
    lung_height: float
    fat: float
    breast: float
    inspiration: float
    kyphosis: float
    scoliosis: float
    heart_ratio: float
    aorta: float
    stomach_gas: float
    frontal: Acquisition
    lateral: Acquisition | None
    findings: tuple[DrawnFinding, ...] = ()

    def drawn(self, name: str, side: Side | None = None) -> DrawnFinding | None:
        """The finding of that name, on that side where one is given; None where there is none."""
        return next((f for f in self.findings if f.name == name and side in (None, f.side)), None)


def sample_finding(rng: np.random.Generator, name: str, side: Side) -> DrawnFinding:
    """A finding of that name on that side (the heart has none), its place and size at random."""
    if name == "device":
        return DrawnFinding(name, side, kind=DEVICES[rng.integers(len(DEVICES))])
    low, high, words = _EXTENTS[name]
    extent = float(rng.uniform(low, high))
    size = next(word for word, end in words.items() if extent <= end)
    if name == "cardiomegaly":
        return DrawnFinding(name, None, size, extent)
    if name not in ("airspace opacity", "nodule"):
        return DrawnFinding(name, side, size, extent)
    zone = tuple(_ZONES)[rng.integers(len(_ZONES))]
    out, up, forward = (float(rng.uniform(*limits)) for limits in _ZONES[zone])
    return DrawnFinding(name, side, size, extent, zone, (out if side == "left" else -out, up, forward))


def _findings(rng: np.random.Generator) -> tuple[DrawnFinding, ...]:
    """No finding in NORMAL_SHARE of the studies, else one to three that do not hide each other."""
    if rng.random() < NORMAL_SHARE:
        return ()
    count = 1 + (rng.random() < SECOND_SHARE) * (1 + (rng.random() < THIRD_SHARE))
    chosen: list[DrawnFinding] = []
    for name in rng.permutation(np.array(FINDINGS))[:count]:
        side: Side = "left" if rng.random() < 0.5 else "right"
        if name in _ONE_PER_SIDE and any(f.name in _ONE_PER_SIDE and f.side == side for f in chosen):
            continue
        chosen.append(sample_finding(rng, str(name), side))
    return tuple(sorted(chosen, key=lambda f: FINDINGS.index(f.name)))


def _acquisition(rng: np.random.Generator, lateral: bool) -> Acquisition:
    """Pose, exposure and framing of one view, varied as a department varies."""
    shuttered = rng.random() < 0.3
    left, top, right, bottom = (rng.uniform(0, 0.07, 4) * shuttered).tolist()
    marker = ("L", "L", "" if lateral else "R", "")[rng.integers(4)]
    across = 0.09 if marker == "R" else 0.91
    return Acquisition(
        rotation=float(rng.normal(0, 2.5)),
        roll=float(rng.normal(0, 1.3)),
        shift=(float(rng.normal(0, 7)), float(rng.normal(0, 8))),
        field=float(rng.uniform(315, 375) if lateral else rng.uniform(320, 385)),
        dose=float(10 ** rng.uniform(4.8, 5.6)),
        contrast=float(rng.uniform(0.85, 1.2)),
        brightness=float(rng.normal(0, 0.05)),
        marker=marker,
        marker_centre=(float(across + rng.uniform(-0.025, 0.025)), float(rng.uniform(0.06, 0.16))),
        collimation=(left, top, right, bottom),
    )


def sample_phantom(rng: np.random.Generator | int, frontal_only_share: float = 0.1) -> Phantom:
    """A body with its findings and views, from a generator or a seed; the same seed gives the same phantom."""
    rng = np.random.default_rng(rng)
    sex: Sex = "female" if rng.random() < 0.5 else "male"
    small = 0.94 if sex == "female" else 1.0
    fat = float(np.clip(rng.gamma(5.0, 4.5), 10, 50))
    return Phantom(
        seed=int(rng.integers(2**62)),
        sex=sex,
        half_width=float(rng.normal(140, 6)) * small,
        half_depth=float(rng.normal(94, 5)) * small,
        lung_height=float(rng.normal(252, 9)) * small,
        fat=fat,
        breast=float(rng.uniform(0.5, 1.0)) * (0.7 + fat / 50) if sex == "female" else 0.0,
        inspiration=float(np.clip(rng.normal(0, 8), -16, 14)),
        kyphosis=float(rng.uniform(6, 22)),
        scoliosis=float(rng.normal(0, 3)),
        heart_ratio=float(np.clip(rng.normal(0.445, 0.025), 0.38, 0.49)),
        aorta=float(rng.uniform(0, 1)),
        stomach_gas=float(rng.uniform(0, 1)),
        frontal=_acquisition(rng, lateral=False),
        lateral=None if rng.random() < frontal_only_share else _acquisition(rng, lateral=True),
        findings=_findings(rng),
    )
