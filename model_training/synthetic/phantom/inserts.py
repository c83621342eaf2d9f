"""What lies in the lungs and on the chest wall: vessels, airways, opacities, nodules, devices, all as beads."""

from __future__ import annotations

import numpy as np

from model_training.synthetic.phantom.body import DrawnFinding, Side
from model_training.synthetic.phantom.bones import Cage
from model_training.synthetic.phantom.geometry import Array, Beads, Vector, bezier, f32, tube

LUNG_DENSITY = 0.25  # of water, inflated
_METAL, _CATHETER = 22.0, 13.0  # mm of water a mm adds: coiled lead; barium-loaded polymer
# Directions (outwards, up, forward) of the segmental arteries as they leave the hilum.
_TRUNKS = f32([
    (0.5, 1, -0.1), (0.9, 0.55, 0.5), (1, 0.1, -0.5), (0.9, -0.35, 0.6), (0.6, -0.9, 0.3), (0.7, -0.9, -0.6),
    (0.3, -1, -0.35), (0.25, 0.8, 0.6),
])  # fmt: skip


def sign(side: Side | None) -> int:
    """+1 for the patient's left (positive x), -1 for the right."""
    return 1 if side == "left" else -1


def vessels(rng: np.random.Generator, side: Side, hilum: Vector, spacing: float) -> list[Beads]:
    """Pulmonary vessels of one lung: trunks that fork six times, each time thinner and shorter."""
    heading = _TRUNKS * f32((sign(side), 1, 1)) + rng.normal(0, 0.15, _TRUNKS.shape)
    start = f32(hilum) + heading * (3, 11, 8) + rng.normal(0, 3, heading.shape)
    length, radius = 26.0, 4.8
    beads = []
    for _generation in range(7):
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        spans = length * rng.uniform(0.75, 1.25, (len(start), 1))
        bow = length * rng.normal(0, 0.1, heading.shape)
        t = np.linspace(0, 1, max(3, int(length / spacing)))[:, None, None]
        path = f32(start + heading * spans * t + bow * t * (1 - t))
        volume = np.tile(np.pi * radius**2 * spans[:, 0] / len(t), len(t))
        beads.append(Beads(path.reshape(-1, 3), f32(volume * (1 - LUNG_DENSITY)), (radius,) * 3))
        start = np.repeat(start + heading * spans, 2, axis=0)
        heading = np.repeat(heading, 2, axis=0) + rng.normal(0, 0.42, start.shape)
        length, radius = length * 0.81, radius * 0.7
    return beads


def airways(cage: Cage) -> list[Beads]:
    """Trachea and main bronchi: air where soft tissue was counted."""
    top = cage.top
    carina = (-4, top - 82, -22)
    trachea = bezier([(0, top + 110, 12), (-1, top + 30, 2), carina], 1.5)
    right = bezier([carina, (-20, top - 100, -20), (-34, top - 112, -20)], 1.5)
    left = bezier([carina, (18, top - 100, -24), (44, top - 114, -26)], 1.5)
    return [tube(trachea, 8.5, -0.95), tube(right, 6.0, -0.5), tube(left, 6.0, -0.45)]


def aorta(cage: Cage, unfolding: float, heart: Vector) -> list[Beads]:
    """Ascending aorta, arch and descending aorta; `unfolding` 0..1 brings the arch out to the left."""
    top, out, radius = cage.top, 20 + 8 * unfolding, 11.5 + 2 * unfolding
    arch = [(-14, heart[1] + 35, 12), (-30, top - 40, 20), (18, top - 28, 10), (out + 24, top - 38, -40)]
    descending = [(out, top - 72, -42), (out - 2, top - 130, -46), (8, top - 260, -42)]
    # About half of its length lies in water that is counted already.
    return [tube(bezier(arch, 2.0), radius, 0.55), tube(bezier(descending, 2.0), radius, 0.45)]


def bowel_gas(rng: np.random.Generator, dome: float) -> Beads:
    """Bubbles in the colon below a diaphragm dome at that height."""
    n = int(rng.integers(4, 12))
    centres = np.stack([rng.uniform(-110, 110, n), dome - rng.uniform(55, 150, n), rng.uniform(0, 60, n)], 1)
    return Beads.ball(centres, 11.0, -0.9 * rng.uniform(0.2, 1.0, n))


def opacity(rng: np.random.Generator, finding: DrawnFinding) -> list[Beads]:
    """Alveoli filled in patches: overlapping balls of several sizes, denser towards the middle.

    The amount is a volume poured in; how much lung there is to fill is for the projection to say.
    """
    beads = []
    for radius, share in ((11.0, 0.5), (6.0, 0.3), (3.0, 0.12)):
        count = int(share * (finding.extent / radius) ** 3) + 4
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        reach = finding.extent * rng.uniform(0, 1, (count, 1)) ** 0.7 * (1.15, 0.95, 1.0)
        beads.append(Beads.ball(finding.position + direction * reach, radius, 1.0))
    return beads


def nodule(rng: np.random.Generator, finding: DrawnFinding) -> list[Beads]:
    """A ball denser than soft tissue (partly calcified) with a slightly lobulated edge."""
    radius, density = finding.extent / 2, 1.75 - LUNG_DENSITY
    lumps = finding.position + rng.normal(0, 0.45 * radius, (6, 3))
    return [Beads.ball(finding.position, radius, 0.92 * density), Beads.ball(lumps, radius / 2, 0.3 * density)]


def device(rng: np.random.Generator, finding: DrawnFinding, cage: Cage, heart: Vector) -> list[Beads]:
    """A pacemaker with its lead, a port with its catheter, or a central line, entering from the finding's side."""
    s, top = sign(finding.side), cage.top
    vein = (s * 52.0, top - 14, 38)
    cava: list[Vector] = [(-10, top - 42, 15), (-27, top - 60, 12), (-27, top - 95, 10)]
    if finding.kind == "central line":
        jugular: list[Vector] = [(s * 42, top + 110, 20), (s * 36, top + 40, 25), (s * 30, top - 10, 25)]
        subclavian: list[Vector] = [cage.front(s * 100, top - 50, 14), (s * 92, top - 20, 45), vein]
        entry = jugular if rng.random() < 0.5 else subclavian
        return [tube(bezier([*entry, *cava], 0.5), 1.3, _CATHETER)]
    pocket = cage.front(s * rng.uniform(82, 98), top - rng.uniform(58, 74), 12)
    path = [pocket, (pocket[0], top - 8, pocket[2]), vein, *cava]
    if finding.kind == "port":
        ring = Beads(pocket[None], f32([15600]), (13.0, 14.0, 6.0), wall=3.0)
        return [ring, tube(bezier(path, 0.5), 1.3, _CATHETER)]
    apex = (heart[0] + 34, heart[1] - 26, heart[2] + 24)
    path += [(-52, heart[1] + 12, 15), (-30, heart[1] - 34, 25), apex]
    electrode = Beads(f32([apex]), f32([900]), (2.0, 4.0, 2.0))
    return [_generator(pocket, s), tube(bezier(path, 0.5), 1.1, _METAL), electrode]


def _generator(pocket: Array, s: int) -> Beads:
    """A pacemaker's can: a rounded plate, 40 by 36 by 7 mm, as dense as its battery."""
    u, v = (grid.ravel() for grid in np.meshgrid(np.linspace(-19, 19, 20), np.linspace(-17, 17, 18)))
    rounded = (u / 21) ** 4 + (v / 19) ** 4 < 1
    plate = np.stack([u, v, -0.25 * s * u], 1)[rounded]  # turned outwards as the chest wall is
    return Beads.cloud(plate + pocket, 40 * 36 * 7 * 12.0, (2.5, 2.5, 3.5))
