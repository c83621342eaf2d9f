"""217 kinds of pictures that are no chest radiographs, none of them drawn as those the intake was fitted on.

Thirty-one drawers in seven settings each; `python -m tests.ood_pictures FILE` writes a contact sheet of all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Picture = NDArray[np.float32]
SIZE, SETTINGS = 240, 7
X, Y = np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE))
R, PHI = np.hypot(X, Y), np.arctan2(Y, X)


def canvas(ground: int = 0) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (SIZE, SIZE), ground)
    return image, ImageDraw.Draw(image)


def grey(image: Image.Image, blur: float = 0.0) -> Any:
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), np.float32) / 255


def value_noise(rng: np.random.Generator, octaves: int, first: int = 3) -> Any:
    """Random lattices, each finer than the one before, drawn between their knots."""
    total = np.zeros((SIZE, SIZE))
    for k in range(octaves):
        knots = Image.fromarray(rng.random((first * 2**k, first * 2**k)).astype(np.float32))
        total += np.asarray(knots.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) / 1.8**k
    return total / total.max()


def julia(rng: np.random.Generator, k: int) -> Any:
    z, count = 1.5 * (X + 1j * Y), np.zeros_like(X)
    for _ in range(40):
        alive = np.abs(z) < 4
        z = np.where(alive, z**2 + 0.7885 * np.exp(0.9j * k), z)
        count += alive
    return count / 40


def voronoi(rng: np.random.Generator, k: int) -> Any:
    points, shades = rng.uniform(-1, 1, (12 * (k + 1), 2)), rng.random(12 * (k + 1))
    distance = np.hypot(X[..., None] - points[:, 0], Y[..., None] - points[:, 1])
    near = np.sort(distance, -1)
    return shades[distance.argmin(-1)] if k % 2 else (near[..., 1] - near[..., 0]) * 4


def truchet(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas(255)
    step = 16 + 8 * k
    for x in range(0, SIZE, step):
        for y in range(0, SIZE, step):
            ends = ((x, y, x + step, y + step), (x + step, y, x, y + step))
            draw.line(ends[int(rng.integers(2))], 0, 2 + k)
    return grey(image, 0.5)


def random_walk(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas()
    for _ in range(k + 1):
        path = np.cumsum(rng.normal(0, 5 + k, (900, 2)), 0) % SIZE
        draw.point([tuple(p) for p in path], 255)
        draw.line([tuple(p) for p in path[:200]], 120 + 15 * k)
    return grey(image, 0.3 * k)


def interference(rng: np.random.Generator, k: int) -> Any:
    sources = rng.uniform(-1.5, 1.5, (k + 2, 2))
    return sum(np.sin((12 + 5 * k) * np.hypot(X - a, Y - b)) for a, b in sources)


def moire(rng: np.random.Generator, k: int) -> Any:
    return np.sin(40 * X * (1 + 0.02 * k)) * np.sin(40 * (X * np.cos(0.05 * (k + 1)) + Y * np.sin(0.05 * (k + 1))))


def tree(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas(230 if k % 2 else 10)

    def grow(x: float, y: float, angle: float, length: float, depth: int) -> None:
        ends = x + length * np.cos(angle), y - length * np.sin(angle)
        draw.line((x, y, *ends), 30 if k % 2 else 220, max(1, depth - 1))
        if depth:
            for turn in rng.normal((-0.5, 0.45), 0.15):
                grow(*ends, angle + turn, length * rng.uniform(0.65, 0.85), depth - 1)

    grow(SIZE / 2, SIZE, np.pi / 2, 40 + 4 * k, 8)
    return grey(image, 0.7)


def automaton(rng: np.random.Generator, k: int) -> Any:
    rule, side = (30, 90, 110, 54, 150, 22, 45)[k], 80
    rows = [(rng.random(side) < 0.5).astype(int) if k % 2 else (np.arange(side) == side // 2).astype(int)]
    for _ in range(side - 1):
        row = rows[-1]
        rows.append(rule >> (4 * np.roll(row, 1) + 2 * row + np.roll(row, -1)) & 1)
    return np.kron(np.stack(rows), np.ones((3, 3)))


def reaction(rng: np.random.Generator, k: int) -> Any:
    image = Image.fromarray((rng.random((SIZE, SIZE)) * 255).astype(np.uint8))
    for _ in range(9):
        near, far = grey(image, 2 + 0.5 * k), grey(image, 4 + k)
        image = Image.fromarray((255 * (near > far)).astype(np.uint8))
    return grey(image, 0.8)


def barcode(rng: np.random.Generator, k: int) -> Any:
    if k % 2:
        return np.tile(np.repeat(rng.integers(0, 2, SIZE // 3), 3), (SIZE, 1))
    return np.kron(rng.integers(0, 2, (15 + 5 * k, 15 + 5 * k)), np.ones((8, 8)))


def contours(rng: np.random.Generator, k: int) -> Any:
    return (value_noise(rng, 2 + k % 3) * (12 + 3 * k) % 1 < 0.15) * 0.8 + 0.1 * value_noise(rng, 4)


def marble(rng: np.random.Generator, k: int) -> Any:
    return np.sin((3 + 2 * k) * (X + Y * (k % 3)) + 9 * value_noise(rng, 5))


def fingerprint(rng: np.random.Generator, k: int) -> Any:
    ridges = np.sin(50 * np.hypot(X * (1 + 0.1 * k), Y + 0.3 * value_noise(rng, 2)) + 4 * value_noise(rng, 2))
    return np.clip(ridges, -0.5, 0.5) * (R < 0.9) + 0.1 * value_noise(rng, 5)


def face(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas(40 + 25 * k)
    skin = 230 - 20 * k
    draw.ellipse((50, 30, 190, 220), skin)
    for x in (85, 135):
        draw.ellipse((x, 90, x + 25, 108 + k), 250)
        draw.ellipse((x + 8, 92, x + 18, 104), 20)
    draw.polygon([(120, 110), (108, 150), (132, 150)], skin - 40)
    draw.arc((90, 140, 150, 190), 10 + 4 * k, 170 - 4 * k, 30, 5)
    draw.pieslice((45, 10, 195, 120), 180, 360, 20 + 10 * k)
    return grey(image, 1 + 0.4 * k) + 0.15 * value_noise(rng, 6) + 0.1 * X


def skyline(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas(200 - 25 * k)
    for x in range(0, SIZE, 18 + 3 * k):
        top, shade = int(rng.integers(40, 190)), int(rng.integers(20, 120))
        draw.rectangle((x, top, x + 16 + 3 * k, SIZE), shade)
        for wx in range(x + 2, x + 14, 5):
            for wy in range(top + 4, SIZE, 9):
                draw.rectangle((wx, wy, wx + 2, wy + 4), int(rng.choice((240, shade))))
    return grey(image, 0.2 * k)


def flower(rng: np.random.Generator, k: int) -> Any:
    petals = np.abs(np.cos((k + 2) / 2 * PHI)) * 0.8
    return np.where(petals > R, 0.5 + 0.5 * np.cos(6 * R) * petals, 0.3 * value_noise(rng, 5)) + 0.3 * (R < 0.15)


def spirograph(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas(250)
    t = np.linspace(0, 120, 4000)
    a, b = 0.55 + 0.04 * k, 0.23 + 0.05 * k
    x, y = a * np.cos(t) + b * np.cos(a / b * 3.1 * t), a * np.sin(t) - b * np.sin(a / b * 3.1 * t)
    draw.line([tuple(p) for p in np.stack([x, y], 1) * 110 + 120], 60)
    return grey(image, 0.4)


def sunburst(rng: np.random.Generator, k: int) -> Any:
    return (np.sin((5 + 3 * k) * PHI + k * R) > 0) * (0.4 + 0.6 * np.exp(-R * k / 2))


def scribble(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas(245)
    for row in range(25, SIZE, 30):
        x, t = 12.0, np.linspace(0, 2 * np.pi, 14)
        while x < SIZE - 20:
            high, wide = rng.uniform(3, 12), rng.uniform(4, 9)
            draw.line([(x + wide * a / 6 + wide / 3 * np.cos(a), row - high * np.sin(a)) for a in t], 40, 1 + k // 3)
            x += wide * rng.uniform(1, 1.5)
    return grey(image.rotate(3 * (k - 3), fillcolor=235), 0.6)


def puzzle(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas(250)
    cells = 6 + 2 * k
    step = SIZE // cells
    for i in range(cells):
        for j in range(cells):
            box = (i * step, j * step, (i + 1) * step, (j + 1) * step)
            black = (i + j) % 2 if k % 2 else rng.random() < 0.2
            draw.rectangle(box, 20 if black else 240, 60)
            if not black:
                draw.text((box[0] + 3, box[1] + 2), str(rng.integers(10)), 0, ImageFont.load_default(step * 0.6))
    return grey(image)


def diagram(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas(255)
    if k % 3 == 0:
        cuts = np.sort(rng.uniform(0, 360, 4 + k))
        for a, b in zip(cuts, np.roll(cuts, -1), strict=True):
            draw.pieslice((30, 30, 210, 210), a, b, int(rng.integers(30, 240)), 0)
    elif k % 3 == 1:
        draw.bitmap((0, 0), Image.fromarray((rng.random((12, 12)) * 255).astype(np.uint8)).resize((SIZE, SIZE), 0), 90)
    else:
        nodes = rng.uniform(20, 220, (9, 2))
        for a, b in rng.integers(9, size=(16, 2)):
            draw.line((*nodes[a], *nodes[b]), 80)
        for x, y in nodes:
            draw.rectangle((x - 14, y - 8, x + 14, y + 8), 200, 0)
            draw.text((x - 10, y - 6), "abc", 0)
    return grey(image)


def leaf(rng: np.random.Generator, k: int) -> Any:
    shape = np.abs(X) < 0.6 * np.cos(Y * 1.4) ** (1 + k / 3)
    veins = np.sin(30 * (Y - np.abs(X) * (0.5 + 0.2 * k))) ** 8 + np.exp(-200 * X**2)
    return shape * (0.3 + 0.4 * veins + 0.1 * value_noise(rng, 5))


def torus(rng: np.random.Generator, k: int) -> Any:
    tube = 0.12 + 0.04 * k
    height = np.sqrt(np.clip(tube**2 - (np.hypot(X, Y * (1 + 0.15 * k)) - 0.55) ** 2, 0, None))
    down, across = np.gradient(height, 2 / SIZE)
    shade = (1 - 0.6 * across - 0.4 * down) / np.sqrt(1 + across**2 + down**2)
    return np.where(height > 0, np.clip(shade, 0, 2), 0.4 + 0.2 * Y + 0.05 * value_noise(rng, 6))


def mesh(rng: np.random.Generator, k: int) -> Any:
    rate = 12 + 4 * k
    sheets = [np.cos(rate * (X * np.cos(a) + Y * np.sin(a))) for a in (0, np.pi / 3, 2 * np.pi / 3)]
    return sum(sheets) * (1 + 0.4 * value_noise(rng, 3))


def star_trails(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas(5)
    for _ in range(90):
        r, a = rng.uniform(10, 200), rng.uniform(0, 360)
        draw.arc((120 - r, 150 - r, 120 + r, 150 + r), a, a + 12 * (k + 1), int(rng.integers(80, 255)))
    return grey(image, 0.5) + 0.3 * (Y - 0.1 * np.sin(9 * X) > 0.7)


def hot_spots(rng: np.random.Generator, k: int) -> Any:
    body = np.exp(-((X / 0.35) ** 4) - (Y / 0.9) ** 6) * (0.2 + 0.1 * value_noise(rng, 4))
    for x, y, s in rng.uniform((-0.3, -0.8, 0.02), (0.3, 0.8, 0.12), (4 + k, 3)):
        body += np.exp(-((X - x) ** 2 + (Y - y) ** 2) / s**2)
    return -body if k % 2 else body


def angiogram(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas(190)
    for _ in range(2 + k):
        x, y, angle = rng.uniform(60, 180), 0.0, np.pi / 2
        for width in np.linspace(9, 1, 40):
            angle += rng.normal(0, 0.25)
            ends = x + 8 * np.cos(angle), y + 8 * np.sin(angle)
            draw.line((x, y, *ends), 40, int(width))
            x, y = ends
    return grey(image, 1.2) + 0.15 * value_noise(rng, 5)


def layers(rng: np.random.Generator, k: int) -> Any:
    depth = Y + 0.15 * np.sin(2 * X + k) + 0.2 * np.exp(-20 * X**2) * (k % 3 - 1)
    places = zip(rng.uniform(-0.5, 0.4, 6), [0.02, 0.05] * 3, strict=True)
    bands = sum(np.exp(-(((depth - place) / wide) ** 2)) for place, wide in places)
    return np.log1p((0.1 + bands) * rng.exponential(1, X.shape))


def spectrogram(rng: np.random.Generator, k: int) -> Any:
    pitch = 0.15 + 0.05 * np.cumsum(rng.normal(0, 0.3, SIZE)) / 10
    lines = np.cos(2 * np.pi * (1 - Y) / np.abs(pitch + 0.02 * k)) ** 6 * np.exp(-(1 - Y))
    return lines * (0.3 + value_noise(rng, 4)) + 0.1 * rng.random(X.shape)


def fish(rng: np.random.Generator, k: int) -> Any:
    image, draw = canvas(15)
    draw.ellipse((20, 60 + 3 * k, 200, 180 - 3 * k), 90)
    draw.polygon([(190, 120), (235, 80), (235, 160)], 70)
    draw.line((40, 120, 225, 120), 230, 4)
    for x in range(60, 195, 9):
        high = (45 - 3 * k) * np.sqrt(1 - ((x - 110) / 95) ** 2)
        draw.line((x, 120, x + 14, 120 - high), 170, 2)
        draw.line((x, 120, x + 14, 120 + high), 170, 2)
    draw.ellipse((30, 95, 60, 140), 150, 220)
    return grey(image.rotate(25 * k), 1.2) + 0.06 * rng.standard_normal(X.shape)


def bokeh(rng: np.random.Generator, k: int) -> Any:
    image = np.zeros_like(X)
    for x, y, r, light in rng.uniform((-1, -1, 0.05, 0.1), (1, 1, 0.12 + 0.05 * k, 0.8), (25, 4)):
        image += light * (np.hypot(X - x, Y - y) < r)
    return image / (1 + image) + 0.1 * value_noise(rng, 3)


DRAWERS: tuple[Callable[[np.random.Generator, int], Any], ...] = (
    julia, voronoi, truchet, random_walk, interference, moire, tree, automaton, reaction, barcode, contours, marble,
    fingerprint, face, skyline, flower, spirograph, sunburst, scribble, puzzle, diagram, leaf, torus, mesh, star_trails,
    hot_spots, angiogram, layers, spectrogram, fish, bokeh,
)  # fmt: skip


def pictures() -> Iterator[tuple[str, Picture]]:
    """Every kind by its name, f32[240,240] in 0..1; every third negative, every fourth unsharp, every fifth grainy."""
    for number, draw in enumerate(DRAWERS):
        for k in range(SETTINGS):
            index = number * SETTINGS + k
            rng = np.random.default_rng(index)
            image = np.asarray(draw(rng, k), np.float32)
            image = (image - image.min()) / max(float(np.ptp(image)), 1e-6)
            image = 1 - image if index % 3 == 0 else image
            if index % 4 == 0:
                image = grey(Image.fromarray((image * 255).astype(np.uint8)), 1.5)
            if index % 5 == 0:
                image = np.clip(image + 0.06 * rng.standard_normal(image.shape), 0, 1)
            yield f"{draw.__name__} {k}", image.astype(np.float32)


if __name__ == "__main__":
    sheet = Image.new("L", (SETTINGS * 80 * 2, 80 * (len(DRAWERS) + 1) // 2 + 80))
    for i, (_, picture) in enumerate(pictures()):
        row, k = divmod(i, SETTINGS)
        small = Image.fromarray((picture * 255).astype(np.uint8)).resize((80, 80))
        sheet.paste(small, ((row % 2 * SETTINGS + k) * 80, row // 2 * 80))
    sheet.save(sys.argv[1])
