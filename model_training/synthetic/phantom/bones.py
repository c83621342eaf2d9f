"""The rib cage as a surface, and the skeleton on it as beads: ribs, spine, sternum, shoulder girdle, upper arms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from model_training.synthetic.phantom.geometry import HEIGHTS, Array, Beads, Vector, bezier, f32, tube

# What a mm of bone adds to the mm of soft tissue it displaces, in mm of water at 60 keV (NIST XCOM: cortical bone
# 0.604/cm, water 0.206/cm; spongy bone of 1.18 g/cm³ about 0.27/cm).
CORTEX, SPONGE = 1.9, 0.35
CORE = SPONGE / CORTEX
LEVELS = 12  # thoracic vertebrae
# How far round the cage each rib reaches, in degrees from the spine; cartilage, which hardly shows, does the rest.
_RIB_ENDS = (150, 150, 150, 148, 146, 144, 140, 132, 122, 110, 78, 55)


@dataclass(frozen=True, eq=False)
class Cage:
    """The rib cage as an ellipse a height, in mm over HEIGHTS: semi-axes, centre z, sideways sway of the spine.

    `top` is the height of the lung apices.
    """

    top: float
    half_width: Array
    half_depth: Array
    centre: Array
    sway: Array

    def at(self, curve: Array, y: ArrayLike) -> Array:
        """One of its curves at heights y, smoothly between the tabulated ones."""
        return np.asarray(np.interp(f32(y), HEIGHTS, curve))

    def wall(self, y: ArrayLike, phi: ArrayLike, outside: float = 0.0) -> Array:
        """Points f32[N, 3] `outside` mm beyond the wall; phi in radians: 0 behind, pi/2 at the patient's left."""
        y, phi = np.broadcast_arrays(f32(y), f32(phi))
        a, b, c = (self.at(curve, y) for curve in (self.half_width, self.half_depth, self.centre))
        return f32(np.stack([(a + outside) * np.sin(phi), y, c - (b + outside) * np.cos(phi)], -1))

    def front(self, x: float, y: float, outside: float) -> Array:
        """The point f32[3] at x and y, `outside` mm before the front wall."""
        turn = np.pi - np.arcsin(np.clip(x / self.at(self.half_width, y), -0.95, 0.95))
        return self.wall(y, turn) * f32((0, 1, 1)) + f32((x, 0, outside))

    def spine(self, y: ArrayLike) -> Array:
        """Centres f32[N, 3] of the vertebral column at heights y[N]."""
        x, b, c = (self.at(curve, y) for curve in (self.sway, self.half_depth, self.centre))
        return f32(np.stack([x, f32(y), c - b + 33], -1))

    def vertebra(self, level: ArrayLike) -> Array:
        """Heights of the thoracic vertebrae, counted from 0: each is taller than the one above."""
        return self.top + 12 - 21.0 * f32(level) - 0.27 * f32(level) ** 2


def skeleton(cage: Cage, spacing: float) -> list[Beads]:
    """The bones that both views share, with beads about `spacing` mm apart."""
    sternum = cage.wall(np.arange(cage.top - 185, cage.top - 48, spacing), np.pi, outside=4.0)
    return [
        *_ribs(cage, spacing),
        *_spine(cage),
        *_girdle(cage, -1, spacing),
        *_girdle(cage, 1, spacing),
        tube(sternum, (14.0, 5.0, 5.0), 0.6 * CORTEX, wall=1.2, core=CORE),
    ]


def _ribs(cage: Cage, spacing: float) -> list[Beads]:
    ribs = []
    for level, last in enumerate(_RIB_ENDS):
        phi = np.arange(np.radians(16), np.radians(last), spacing / 110)
        tilt = min(46 + 10 * level, 112)  # mm from back to front, in a plane: upper ribs lie flatter
        y = cage.vertebra(level) + 8 - tilt * (1 - np.cos(phi)) / 2 - 7 * phi
        path = cage.wall(y, phi, outside=4.0)
        radii = (2.8, 5.4, 2.8) if level else (2.8, 4.2, 4.0)
        for side in (-1, 1):
            mirrored = path * f32((side, 1, 1)) + f32((0, 2.5 * side, 0))  # no chest is symmetric
            ribs.append(tube(mirrored, radii, CORTEX, wall=0.65, core=CORE))
    return ribs


def _vertebra_template() -> dict[str, Array]:
    """Points f32[N, 3] of one vertebra: its body in a unit cylinder, its arch in mm from the body's back."""
    n = np.arange(90)
    radius, turn = np.sqrt((n + 0.5) / len(n)), n * np.pi * (3 - np.sqrt(5))  # an even disc: Vogel's sunflower
    disc = np.stack([radius * np.cos(turn), 0 * n, radius * np.sin(turn)], 1)
    turn, height = (grid.ravel() for grid in np.meshgrid(np.arange(20) * np.pi / 10, np.linspace(-0.9, 0.9, 7)))
    waist = 0.88 + 0.12 * height**2
    lines = [[(s * x, y, z) for x, y, z in line] for s in (-1, 1) for line in (((11, 2, -4), (32, 6, -14)),
             ((11, 0, -4), (0, -4, -13)))]  # fmt: skip
    up = f32((0, 1, 0))
    return {
        "plates": f32(np.concatenate([disc + up, disc - up])),
        "wall": f32(np.stack([waist * np.cos(turn), height, waist * np.sin(turn)], 1)),
        "inside": f32(0.85 * disc + 0.93 * np.sin(1.7 * n)[:, None] * up),
        "arch": np.concatenate([bezier(line, 1.5) for line in [*lines, [(0, -1, -14), (0, -20, -34)]]]),
        "pedicles": f32([(-11, 3, -3), (11, 3, -3)]),
    }


_VERTEBRA = _vertebra_template()


def _spine(cage: Cage) -> list[Beads]:
    """The vertebrae in view, each level a copy of the template in its own size, place and tilt."""
    level = np.arange(-4, LEVELS + 4)
    y = cage.vertebra(level)
    centre, slope = cage.spine(y), (cage.spine(y + 12) - cage.spine(y - 12)) / 24
    half = f32(np.stack([14.5 + 0.45 * level, 0.39 * (y - cage.vertebra(level + 1)), 11.0 + 0.35 * level], 1))
    # A shear is as good as a rotation at these angles and keeps the endplates square to the column.
    turn = np.tile(np.eye(3, dtype=np.float32), (len(level), 1, 1))
    turn[:, 1, 0], turn[:, 0, 1] = slope[:, 0], -slope[:, 0]
    turn[:, 1, 2], turn[:, 2, 1] = slope[:, 2], -slope[:, 2]

    def part(name: str, volume: Array, radii: tuple[float, float, float], wall: float = 0.0) -> Beads:
        template = _VERTEBRA[name]
        behind = f32((0, 0, -1)) * half[:, None]
        local = template + behind if name in ("arch", "pedicles") else template * half[:, None]
        points = (local @ turn + centre[:, None]).reshape(-1, 3)
        return Beads(f32(points), f32(np.repeat(volume / len(template), len(template))), radii, wall)

    w, h, d = half.T
    area, girth = np.pi * w * d, np.pi * (w + d)
    return [
        part("plates", 2 * area * 0.6 * CORTEX, (1.5, 1.5, 1.5)),
        part("wall", girth * 2 * h * 0.45 * CORTEX, (1.5, 1.5, 1.5)),
        part("inside", area * 2 * h * 0.6 * SPONGE, (4.0, 4.0, 4.0)),
        part("arch", np.full(len(level), 1700 * CORTEX), (3.0, 5.0, 4.0), wall=1.1),
        part("pedicles", np.full(len(level), 300 * CORTEX), (3.8, 5.5, 5.5), wall=1.3),
    ]


def _girdle(cage: Cage, side: int, spacing: float) -> list[Beads]:
    """Clavicle and scapula of one side."""
    wide = float(cage.half_width.max()) / 140

    def curve(*points: Vector) -> Array:
        return bezier([(side * wide * x, cage.top + y, z) for x, y, z in points], spacing)

    clavicle = curve((13, -33, 42), (45, -38, 62), (95, 22, 25), (120, 8, -10), (158, 6, -18))
    medial = curve((130, -14, -55), (100, 2, -70), (98, -20, -82), (106, -70, -108), (108, -128, -112))
    lateral = curve((108, -128, -112), (120, -80, -95), (140, -62, -70), (160, -38, -40))
    spine = curve((100, -30, -100), (125, -18, -100), (150, 4, -70), (172, -2, -25))
    n = np.arange(220)
    across, down = (0.618 * n[:, None]) % 1, n / len(n)  # an even sheet between the two borders
    inner, outer = (border[(down * (len(border) - 1)).astype(np.intp)] for border in (medial, lateral[::-1]))
    return [
        tube(clavicle, (4.5, 5.5, 5.5), CORTEX, wall=1.4, core=CORE),
        tube(medial, 1.5, 0.7 * CORTEX),
        tube(lateral, 3.5, 0.75 * CORTEX, wall=1.3),
        tube(spine, 3.5, CORTEX, wall=1.3),
        Beads.cloud(inner + across * (outer - inner), 7800.0, (7.0, 7.0, 4.0)),
    ]


def arms(cage: Cage, raised: bool, spacing: float) -> list[Beads]:
    """Upper arms: hanging for the frontal view, raised before the face for the lateral one."""
    beads = []
    for side in (-1, 1):
        head = f32((side * 135, cage.top + 14, 12) if raised else (side * 182, cage.top - 38, -22))
        elbow = head + f32((side * -25, 190, 128) if raised else (side * 46, -260, 12))
        contrast = (0.3 if raised else 0.8) * CORTEX
        beads += [
            Beads(head[None], f32([6500 * CORTEX]), (22.0, 25.0, 22.0), wall=1.0, core=0.15),
            tube(bezier([head, elbow], spacing), 11.0, contrast, wall=3.0),
        ]
    return beads
