"""Two kinds of matter that a parallel beam crosses in closed form: stacked ellipses and beads on curves.

Axes in mm: x towards the patient's left, y up, z forward. Rays are horizontal, so each height y is a plane problem of
its own and a solid may take any profile along y: its rays still cross one ellipse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating[Any]]
Interval = tuple[Array, Array]
Vector = Sequence[float] | Array  # x, y, z

HEIGHTS: Array = np.arange(-360.0, 360.5, 0.5, dtype=np.float32)
"""The heights (mm) at which every solid tabulates its ellipse."""


def f32(values: ArrayLike) -> Array:
    """The values as f32."""
    return np.asarray(values, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Solid:
    """Points with (p - c)ᵀ M (p - c) < level in the horizontal plane of their height; level <= 0 where absent.

    `table` is f32[6, len(HEIGHTS)]: cx, cz (mm), Mxx, Mxz, Mzz (mm⁻²), level.
    """

    table: Array

    @classmethod
    def loft(
        cls,
        centre: tuple[Array | float, Array | float],
        semi: tuple[Array | float, Array | float],
        level: Array | float = 1.0,
    ) -> Solid:
        """Upright ellipses of `centre` (x, z) and semi-axes `semi` (x, z) in mm, each a number or one a height."""
        return cls(_rows(*centre, f32(semi[0]) ** -2, 0.0, f32(semi[1]) ** -2, level))

    @classmethod
    def spheroid(
        cls, centre: Vector, along: float, across: float, axis: Vector = (0, 1, 0), deep: float = 1.0
    ) -> Solid:
        """Semi-axis `along` on the direction `axis`, `across` on the others (mm); all stretched by `deep` in z."""
        x, y, z = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
        flat, tall = across**-2.0, along**-2.0 - across**-2.0
        plane = np.array([[flat + tall * x * x, tall * x * z], [tall * x * z, flat + tall * z * z]])
        lean = np.array([tall * x * y, tall * z * y])  # couples the plane to the height
        drift = -np.linalg.solve(plane, lean)
        dy = HEIGHTS - centre[1]
        level = 1 - (flat + tall * y * y + lean @ drift) * dy**2
        cx, cz = centre[0] + drift[0] * dy, centre[2] + deep * drift[1] * dy
        return cls(_rows(cx, cz, plane[0, 0], plane[0, 1] / deep, plane[1, 1] / deep**2, level))

    def shrunk(self, factor: Array | float, about: tuple[float, float]) -> Solid:
        """Drawn together at each height by `factor` (0..1) about the vertical line `about` (x, z)."""
        cx, cz, mxx, mxz, mzz, level = self.table
        cx, cz = about[0] + factor * (cx - about[0]), about[1] + factor * (cz - about[1])
        return Solid(_rows(cx, cz, mxx, mxz, mzz, level * factor**2))

    def above(self, height: float) -> Solid:
        """What of it lies above a height (mm)."""
        return Solid(_rows(*self.table[:5], np.where(HEIGHTS - height > 0, self.table[5], 0)))

    def interval(self, y: Array, u: Array, angle: float) -> Interval:
        """Where rays enter and leave, as depths in mm along the beam: two f32[len(y), len(u)], equal on a miss.

        The ray of column u (mm) is u·e + t·d with e = (cos angle, -sin angle), d = (sin angle, cos angle) in (x, z).
        """
        cx, cz, mxx, mxz, mzz, level = (f32(np.interp(y, HEIGHTS, row))[:, None] for row in self.table)
        ex, ez = float(np.cos(angle)), -float(np.sin(angle))
        dx, dz = -ez, ex
        dd = mxx * dx * dx + 2 * mxz * dx * dz + mzz * dz * dz
        de = mxx * dx * ex + mxz * (dx * ez + dz * ex) + mzz * dz * ez
        dc = mxx * dx * cx + mxz * (dx * cz + dz * cx) + mzz * dz * cz
        # Quadratic in t, with a discriminant that is quadratic in the column's distance from the centre; of its
        # leading coefficient only the determinant of M is left.
        offset = u - (cx * ex + cz * ez)
        square = level * dd - (mxx * mzz - mxz * mxz) * offset * offset
        half = np.sqrt(np.maximum(square, 0)) / dd
        middle = (dc - de * u) / dd
        return middle - half, middle + half

    def contains(self, points: Array) -> NDArray[np.bool_]:
        """Which of points f32[N, 3] (x, y, z) lie inside."""
        row = np.clip((points[:, 1] - HEIGHTS[0]) * 2 + 0.5, 0, len(HEIGHTS) - 1).astype(np.intp)
        cx, cz, mxx, mxz, mzz, level = self.table[:, row]
        x, z = points[:, 0] - cx, points[:, 2] - cz
        inside: NDArray[np.bool_] = mxx * x * x + 2 * mxz * x * z + mzz * z * z < level
        return inside


def _rows(*rows: Array | float) -> Array:
    return f32(np.stack([np.broadcast_to(row, HEIGHTS.shape) for row in rows]))


def common(intervals: Iterable[Interval]) -> Interval:
    """Where a ray is inside all of the convex solids; it leaves before it enters where it never is."""
    near, far = zip(*intervals, strict=True)
    return np.maximum.reduce(near), np.minimum.reduce(far)


def union_length(intervals: Iterable[Interval]) -> Array:
    """Length in mm that a ray spends inside at least one of the solids."""
    near, far = map(list, zip(*intervals, strict=True))
    for last in range(len(near) - 1, 0, -1):  # bubble sort by entry: few solids, many rays
        for i in range(last):
            swap = near[i] > near[i + 1]
            near[i], near[i + 1] = np.minimum(near[i], near[i + 1]), np.maximum(near[i], near[i + 1])
            far[i], far[i + 1] = np.where(swap, far[i + 1], far[i]), np.where(swap, far[i], far[i + 1])
    total: Array = np.maximum(far[0] - near[0], 0)
    reached = far[0]
    for enter, leave in zip(near[1:], far[1:], strict=True):
        total += np.maximum(leave - np.maximum(enter, reached), 0)
        reached = np.maximum(reached, leave)
    return total


@dataclass(frozen=True, eq=False)
class Beads:
    """Small ellipsoids of matter: centres `points` f32[N, 3] in mm and `amount` f32[N].

    `amount` is volume (mm³) times what a mm of the matter adds to what it displaces, in mm of water. `radii` are the
    semi-axes (x, y, z) in mm. `wall` > 0 is the thickness of a denser shell (mm), `core` the contrast within it as a
    share of the shell's.
    """

    points: Array
    amount: Array
    radii: tuple[float, float, float]
    wall: float = 0.0
    core: float = 0.0

    @classmethod
    def ball(cls, centres: ArrayLike, radius: float, contrast: ArrayLike) -> Beads:
        """Balls at centres [N, 3] of one radius (mm), each of its contrast."""
        points = f32(centres).reshape(-1, 3)
        amount = np.broadcast_to(f32(contrast) * f32(4 / 3 * np.pi * radius**3), len(points))
        return cls(points, amount, (radius, radius, radius))

    @classmethod
    def cloud(cls, points: Array, total: float, radii: tuple[float, float, float], wall: float = 0.0) -> Beads:
        """A total amount shared evenly among points [N, 3]."""
        return cls(f32(points), np.full(len(points), total / len(points), np.float32), radii, wall)

    def only(self, keep: NDArray[np.bool_]) -> Beads:
        """The beads for which keep bool[N] holds."""
        return replace(self, points=self.points[keep], amount=self.amount[keep])


def bezier(control: Sequence[Vector], spacing: float) -> Array:
    """Points f32[N, 3] about `spacing` mm apart on the Bézier curve of the control points [K, 3]."""
    knots = np.stack([f32(point) for point in control])
    length = float(np.linalg.norm(np.diff(knots, axis=0), axis=1).sum())
    t = np.linspace(0, 1, max(2, int(length / spacing)), dtype=np.float32)[:, None]
    degree = len(knots) - 1
    basis = np.concatenate([comb(degree, i) * t**i * (1 - t) ** (degree - i) for i in range(degree + 1)], axis=1)
    return f32(basis @ knots)


def tube(
    points: Array, radius: float | tuple[float, float, float], contrast: float, wall: float = 0.0, core: float = 0.0
) -> Beads:
    """Beads along a curve of points f32[N, 3] that add up to a tube of that radius (mm) and contrast."""
    rx, ry, rz = radius if isinstance(radius, tuple) else (radius, radius, radius)
    step = np.linalg.norm(np.diff(points, axis=0, append=2 * points[-1:] - points[-2:-1]), axis=1)
    section = rx * ry - (1 - core) * max(rx - wall, 0) * max(ry - wall, 0) * (wall > 0)
    return Beads(points, f32(step * np.pi * section * contrast), (rx, ry, rz), wall, core)
