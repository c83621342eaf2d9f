"""Line integrals of attenuation through a phantom: what a noiseless detector without scatter would measure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from model_training.data.study import View
from model_training.synthetic.phantom.anatomy import Lung, build
from model_training.synthetic.phantom.body import Acquisition, Phantom
from model_training.synthetic.phantom.geometry import Array, Beads, Interval, Solid, common, f32, union_length
from model_training.synthetic.phantom.inserts import LUNG_DENSITY

Shape = tuple[tuple[float, float, float], float, float]  # radii, wall and core of beads


def acquisition(phantom: Phantom, view: View) -> Acquisition:
    """How the view was taken. Raises ValueError where the study has no such view."""
    shot = phantom.frontal if view == "frontal" else phantom.lateral
    if shot is None:
        raise ValueError(f"this phantom has no {view} view")
    return shot


def attenuation(phantom: Phantom, view: View, size: int, margin: float = 1.0) -> Array:
    """Line integrals over the view's field widened by `margin`, f32[size, size], in mm of water.

    Rows run from the head down. The patient's left is on the right of the frontal view, the front on the left of the
    lateral one. The beam is parallel; the roll in the image plane is not applied.
    Raises ValueError where the study has no such view.
    """
    rays = _beam(phantom, view, size, margin)
    body = build(phantom, spacing=min(max(0.6 * rays.pixel, 0.5), 1.5))
    water = union_length(rays.cross(body.trunk[view]))
    if body.stomach_gas:
        near, far = common(rays.cross([body.stomach_gas]))
        water -= far - near
    core = rays.cross((*body.heart, *body.mediastinum))
    for lung in body.lungs.values():
        water -= _missing(lung, [*core, *rays.cross([lung.diaphragm])], rays)
    water += rays.thickness(body.beads[view])
    return np.maximum(water, 0)


def silhouettes(phantom: Phantom, view: View, size: int, margin: float = 1.0) -> dict[str, NDArray[np.bool_]]:
    """What "heart", "right lung" and "left lung" cover in the grid of `attenuation`, bool[size, size] each.

    A lung is its whole cavity, fluid and gas around it included, as far as no heart, mediastinum or dome of the
    diaphragm lies before it or behind. Raises ValueError where the study has no such view.
    """
    rays = _beam(phantom, view, size, margin)
    body = build(phantom, spacing=1.5)

    def covered(*solids: Solid) -> NDArray[np.bool_]:
        hit: NDArray[np.bool_] = np.any([far > near for near, far in rays.cross(solids)], axis=0)
        return hit

    heart = covered(*body.heart)
    hidden = heart | covered(*body.mediastinum)
    found: dict[str, NDArray[np.bool_]] = {"heart": heart}
    for side, lung in body.lungs.items():
        near, far = common(rays.cross(lung.cavity))
        found[f"{side} lung"] = (far > near) & ~hidden & ~covered(lung.diaphragm)
    return found


def _beam(phantom: Phantom, view: View, size: int, margin: float) -> Rays:
    """The rays of a view, one a pixel of its field widened by `margin`."""
    shot = acquisition(phantom, view)
    axis = f32((np.arange(size) - (size - 1) / 2) * shot.field * margin / size)
    below = 12 if view == "frontal" else 5  # mm the field's centre lies below the middle of the lungs
    return Rays(y=-axis - shot.shift[1] - below, u=axis - shot.shift[0], view=view, rotation=shot.rotation)


def _missing(lung: Lung, water: Sequence[Interval], rays: Rays) -> Array:
    """How many mm of water one side of the chest has less than a solid trunk, given what is water in it."""

    def length(solids: Sequence[Solid]) -> Array:
        near, far = common(rays.cross(solids))
        total = np.maximum(far - near, 0)
        rows, columns = (np.flatnonzero(total.any(axis)) for axis in (1, 0))
        if rows.size:
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            inside = near[box], far[box]
            total[box] -= union_length(common([inside, (w[0][box], w[1][box])]) for w in water)
        return total

    inflated = length(lung.lung)
    missing = inflated * (1 - LUNG_DENSITY)
    if lung.rim_is_gas:
        missing += length(lung.cavity) - inflated
    if lung.film:
        missing -= inflated - length(lung.film)  # the pleura is soft tissue
    if lung.opacity:
        poured = np.maximum(rays.thickness(lung.opacity), 0) / np.maximum(inflated, 1)
        # Balls overlap at random: the free part of a ray decays with what is poured in (Boolean model).
        missing -= 0.9 * (1 - LUNG_DENSITY) * inflated * (1 - np.exp(-poured))
    return missing


class Rays:
    """A parallel beam on a grid of heights `y` and columns `u` (mm), evenly spaced, y falling and u rising."""

    def __init__(self, y: Array, u: Array, view: View, rotation: float) -> None:
        self.y, self.u = y, u
        self.angle = float(np.radians(rotation + (90 if view == "lateral" else 0)))
        self.pixel = float(u[1] - u[0])
        self._across = (np.cos(self.angle), -np.sin(self.angle))  # direction of u in (x, z)
        self._fu = f32(2 * np.pi * np.fft.rfftfreq(len(u), self.pixel))
        self._fy = f32(2 * np.pi * np.fft.fftfreq(len(y), self.pixel))[:, None]

    def cross(self, solids: Iterable[Solid]) -> list[Interval]:
        """Where the rays enter and leave each solid, f32[len(y), len(u)]."""
        return [solid.interval(self.y, self.u, self.angle) for solid in solids]

    def thickness(self, beads: Iterable[Beads]) -> Array:
        """What beads add along each ray in mm of water, f32[len(y), len(u)].

        A ball's projection is known in closed form in the frequency domain, so one convolution serves all beads of a
        shape. It wraps round: keep what matters off the edges.
        """
        shapes: dict[Shape, list[Beads]] = defaultdict(list)
        dot: Shape = ((0.5 * self.pixel,) * 3, 0.0, 0.0)
        for b in beads:  # all beads well below a pixel look the same
            shapes[dot if max(b.radii) < self.pixel else (b.radii, b.wall, b.core)].append(b)
        total = np.zeros((len(self.y), len(self._fu)), dtype=np.complex64)
        for shape, members in shapes.items():
            total += np.fft.rfft2(self._splat(members)) * self._transform(*shape)
        return f32(np.fft.irfft2(total, s=(len(self.y), len(self.u))))

    def _splat(self, beads: Sequence[Beads]) -> Array:
        """The amount of beads per pixel area, each bead's shared among the four pixels about its centre."""
        points = np.concatenate([b.points for b in beads])
        amount = np.concatenate([b.amount for b in beads]) / self.pixel**2
        across = (points[:, 0] * self._across[0] + points[:, 2] * self._across[1] - self.u[0]) / self.pixel
        down = (self.y[0] - points[:, 1]) / self.pixel
        rows, columns = len(self.y), len(self.u)
        keep = (across >= 0) & (across < columns - 1) & (down >= 0) & (down < rows - 1)
        across, down, amount = across[keep], down[keep], amount[keep]
        cell = down.astype(np.intp) * columns + across.astype(np.intp)
        right, low = across % 1, down % 1
        shares = ((1 - right) * (1 - low), right * (1 - low), (1 - right) * low, right * low)
        cells = np.concatenate([cell, cell + 1, cell + columns, cell + columns + 1])
        image = np.bincount(cells, np.concatenate([amount * share for share in shares]), rows * columns)
        return f32(image.reshape(rows, columns))

    def _transform(self, radii: tuple[float, float, float], wall: float, core: float) -> Array:
        """Transform of an ellipsoid or shell of unit volume seen along the beam (projection-slice theorem)."""
        if not wall:
            return self._ellipsoid(radii)
        inner = (radii[0] - wall, radii[1] - wall, radii[2] - wall)
        full, empty = float(np.prod(radii)), (1 - core) * float(np.prod(inner))
        return np.asarray((full * self._ellipsoid(radii) - empty * self._ellipsoid(inner)) / (full - empty))

    def _ellipsoid(self, radii: tuple[float, float, float]) -> Array:
        across = float(np.hypot(self._across[0] * radii[0], self._across[1] * radii[2]))
        q = np.maximum(np.hypot(self._fu * across, self._fy * radii[1]), 0.02)  # the formula loses its digits at 0
        return np.asarray(3 * (np.sin(q) - q * np.cos(q)) / q**3)
