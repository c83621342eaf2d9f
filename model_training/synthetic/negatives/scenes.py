"""Pictures of the everyday: scenes, textures, pages, charts, screens, and nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model_training.synthetic.negatives.canvas import Rng, blur, grid, noise, unit
from model_training.synthetic.phantom.geometry import Array, f32

SIZE = 256
_LETTERS = "etaoinshrdlcumwfgypbvk"


def _drawing(ground: float) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("L", (SIZE, SIZE), int(255 * ground))
    return picture, ImageDraw.Draw(picture)


def _grey(picture: Image.Image) -> Array:
    return f32(np.asarray(picture)) / 255


def _words(rng: Rng, count: int) -> str:
    lengths = rng.integers(1, 11, count)
    return " ".join("".join(rng.choice(list(_LETTERS), n)) for n in lengths)


def dead_leaves(rng: Rng) -> Array:
    """Discs and boxes that hide one another, as objects in a photograph do (Lee et al., IJCV 41:35, 2001)."""
    picture, draw = _drawing(rng.random())
    large = rng.uniform(10, 90)
    for radius in np.sort(rng.pareto(rng.uniform(1.0, 2.5), int(rng.integers(40, 400))) * large / 4 + 2)[::-1]:
        x, y = rng.uniform(0, SIZE, 2)
        r, grey = min(radius, SIZE), int(rng.integers(256))
        if rng.random() < 0.6:
            draw.ellipse((x - r, y - r * 0.8, x + r, y + r * 0.8), grey)
        else:
            draw.polygon([(x + r * np.cos(a), y + r * np.sin(a)) for a in np.sort(rng.uniform(0, 6.3, 4))], grey)
    shade = 1 + rng.uniform(0, 0.5) * noise(rng, SIZE, rng.uniform(1, 2.5))
    return unit(blur(f32(_grey(picture) * shade), rng.uniform(0, 2.5)))


def clouds(rng: Rng) -> Array:
    """Noise with the spectrum of natural scenes, or of none."""
    image = noise(rng, SIZE, rng.uniform(0, 2.6), rng.uniform(0.4, 2.5))
    return unit(f32(np.tanh(image * rng.uniform(0.3, 2.5)))) if rng.random() < 0.6 else unit(image)


def landscape(rng: Rng) -> Array:
    """A horizon, hills one behind the other, a sky, textures that get finer towards it."""
    _, y = grid(SIZE)
    image = rng.uniform(0.4, 1) - rng.uniform(-0.3, 0.3) * y + 0.1 * noise(rng, SIZE, 2)
    for depth in np.linspace(0, 1, int(rng.integers(1, 6))):
        rough = rng.uniform(1.3, 2.2)
        ridge = rng.uniform(-0.4, 0.3) + 0.6 * depth + 0.2 * noise(rng, SIZE, rough)[:1]
        image = np.where(y > ridge, rng.uniform(0.05, 0.8) + 0.15 * noise(rng, SIZE, rng.uniform(0.5, 1.5)), image)
    return unit(f32(image))


def shapes(rng: Rng) -> Array:
    """Shaded bodies on a table: spheres, boxes and their shadows."""
    x, y = grid(SIZE)
    light = rng.normal(size=3) * (1, 1, 0) + (0, 0, 1.2)
    light /= np.linalg.norm(light)
    image = f32(rng.uniform(0.2, 0.8) + rng.normal(0, 0.2) * x + rng.normal(0, 0.2) * y)
    for _ in range(int(rng.integers(1, 8))):
        cx, cy, r = rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), rng.uniform(0.1, 0.6)
        shadow = blur(f32(((x - cx - 0.4 * r) / 1.3) ** 2 + (y - cy - 0.5 * r) ** 2 < r * r), 8 * r * 4)
        image = image * (1 - 0.6 * shadow)
        square = ((x - cx) ** 2 + (y - cy) ** 2) / r**2
        height = np.sqrt(np.clip(1 - square, 0, None))
        shade = np.clip((x - cx) / r * light[0] + (y - cy) / r * light[1] + height * light[2], 0.05, 1)
        image = np.where(square < 1, rng.uniform(0.3, 1) * shade * (1 + 0.1 * noise(rng, SIZE, 1.2)), image)
    return unit(blur(f32(image), rng.uniform(0, 1.5)))


def texture(rng: Rng) -> Array:
    """Bricks, weave, stripes, grain or checks, straight or warped."""
    x, y = grid(SIZE)
    warp = rng.uniform(0, 0.15) * noise(rng, SIZE, 2)
    turn, rate = rng.uniform(0, 3.2), rng.uniform(4, 40)
    u, v = (x * np.cos(turn) + y * np.sin(turn) + warp) * rate, (y * np.cos(turn) - x * np.sin(turn) + warp) * rate
    kind = rng.integers(5)
    if kind == 0:
        row = np.floor(v)
        image = ((u + 0.5 * (row % 2)) / 2 % 1 > 0.06) & (v % 1 > 0.12)
    elif kind == 1:
        image = np.sin(u * np.pi) * np.sin(v * np.pi)
    elif kind == 2:
        image = np.sin(u * np.pi) + rng.uniform(0, 1) * noise(rng, SIZE, 1)
    elif kind == 3:
        image = (np.floor(u) + np.floor(v)) % 2
    else:
        image = np.sin(np.hypot(u - rng.uniform(-9, 9), v) * rng.uniform(0.5, 2))
    return unit(blur(f32(image + rng.uniform(0, 0.4) * noise(rng, SIZE, rng.uniform(0, 1.5))), rng.uniform(0, 2)))


def page(rng: Rng) -> Array:
    """A page of text or a table, printed, scanned or photographed askew."""
    dark = rng.random() < 0.2
    ground, ink = (rng.uniform(0, 0.2), 230) if dark else (rng.uniform(0.8, 1), int(rng.integers(0, 90)))
    picture, draw = _drawing(ground)
    points = rng.uniform(6, 26)
    font, left, y = ImageFont.load_default(points), rng.uniform(4, 40), rng.uniform(4, 40)
    table = rng.random() < 0.3
    while y < SIZE - points:
        if table:
            for x in np.arange(left, SIZE - 20, rng.uniform(40, 70)):
                draw.text((x, y), f"{rng.normal(0, 100):.{rng.integers(0, 3)}f}", ink, font)
            draw.line((left, y - 2, SIZE - left, y - 2), ink)
        elif rng.random() < 0.92:
            draw.text((left, y), _words(rng, int(rng.integers(2, 14))), ink, font)
        y += points * rng.uniform(1.1, 1.6)
    image = picture.rotate(rng.normal(0, 6), Image.Resampling.BICUBIC, fillcolor=int(255 * ground))
    return unit(blur(_grey(image) + 0.05 * noise(rng, SIZE, 1.8), rng.uniform(0, 1.8)))


def chart(rng: Rng) -> Array:
    """Curves, bars or points within axes; an electrocardiogram on its grid."""
    light = rng.random() < 0.8
    picture, draw = _drawing(0.98 if light else 0.05)
    ink = 20 if light else 230
    if rng.random() < 0.6:
        for place in np.arange(20, SIZE, rng.uniform(8, 40)):
            draw.line((20, place, SIZE, place), 200 if light else 70)
            draw.line((place, 0, place, SIZE - 20), 200 if light else 70)
    draw.line([(20, 10), (20, SIZE - 20), (SIZE - 8, SIZE - 20)], ink, 2)
    xs = np.linspace(22, SIZE - 10, int(rng.integers(6, 200)))
    for _ in range(int(rng.integers(1, 5))):
        rise = np.cumsum(rng.normal(0, 1, len(xs)))
        ys = (
            SIZE - 30 - (rise - rise.min()) / max(float(np.ptp(rise)), 1e-3) * rng.uniform(40, 190) - rng.uniform(0, 30)
        )
        kind = rng.integers(3)
        grey = int(rng.integers(0, 160)) if light else int(rng.integers(100, 256))
        for (x, y), (xx, yy) in zip(zip(xs, ys, strict=True), zip(xs[1:], ys[1:], strict=False), strict=False):
            if kind == 0:
                draw.line((x, y, xx, yy), grey, 2)
            elif kind == 1:
                draw.rectangle((x, y, x + 0.7 * (xx - x), SIZE - 20), grey)
            else:
                draw.ellipse((x - 3, y - 3, x + 3, y + 3), grey)
    for _ in range(5):
        draw.text(tuple(rng.uniform(0, SIZE - 30, 2)), _words(rng, 1), ink, ImageFont.load_default(11))
    return blur(_grey(picture), rng.uniform(0, 1.2))


def screen(rng: Rng) -> Array:
    """A screenshot: panes, bars, buttons and labels."""
    dark = rng.random() < 0.5
    picture, draw = _drawing(0.12 if dark else 0.94)
    font = ImageFont.load_default(rng.uniform(7, 13))
    for _ in range(int(rng.integers(6, 40))):
        x, y = rng.uniform(-20, SIZE, 2)
        w, h = rng.uniform(10, 150), rng.uniform(8, 90)
        draw.rectangle((x, y, x + w, y + h), int(rng.integers(256)), int(rng.integers(256)))
        draw.text((x + 3, y + 2), _words(rng, 2), 240 if dark else 20, font)
    return blur(_grey(picture), rng.uniform(0, 0.8))


def blank(rng: Rng) -> Array:
    """Nothing: one grey, a ramp, a spot or a frame, with little noise."""
    x, y = grid(SIZE)
    kind = rng.integers(4)
    image = np.zeros((SIZE, SIZE), np.float32) + rng.random()
    if kind == 1:
        image = image + rng.normal() * x + rng.normal() * y
    elif kind == 2:
        image = np.exp(-((x - rng.normal(0, 0.3)) ** 2 + (y - rng.normal(0, 0.3)) ** 2) / rng.uniform(0.05, 1))
    elif kind == 3:
        image = f32((np.abs(x) < rng.uniform(0.2, 1)) & (np.abs(y) < rng.uniform(0.2, 1))) * rng.random() + image * 0.5
    grain = 10 ** rng.uniform(-4, -0.8) * blur(noise(rng, SIZE, float(rng.choice((0, 1)))), rng.uniform(0, 1))
    return f32(np.clip(image + grain, 0, 1))


def sky(rng: Rng) -> Array:
    """Points and blobs of light on black."""
    image = 0.02 * rng.random((SIZE, SIZE)) + 0.0
    for _ in range(int(rng.integers(5, 300))):
        row, column = rng.integers(0, SIZE, 2)
        image[row, column] += rng.pareto(1.2)
    glow = blur(f32(image), rng.uniform(0.5, 2)) + rng.uniform(0, 0.5) * blur(f32(image), rng.uniform(3, 20))
    return unit(f32(np.log1p(20 * np.maximum(glow, 0)) + rng.uniform(0, 0.2) * noise(rng, SIZE, 1.8)))


SCENES: Mapping[str, Callable[[Rng], Array]] = {
    "dead leaves": dead_leaves,
    "clouds": clouds,
    "landscape": landscape,
    "shapes": shapes,
    "texture": texture,
    "page": page,
    "chart": chart,
    "screen": screen,
    "blank": blank,
    "sky": sky,
}
