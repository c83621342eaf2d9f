"""X-ray films of what is not a chest: limbs, skull, pelvis, abdomen, breast, teeth, metal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from model_training.synthetic.negatives.canvas import Rng, ball, blur, bone, ellipse, grid, noise, rod, unit
from model_training.synthetic.phantom.geometry import Array, f32
from model_training.synthetic.phantom.render import expose

SIZE = 256


def film(rng: Rng, soft: Array, hard: Array, millimetres: float) -> Array:
    """The radiograph of soft tissue and bone f32[S,S], thickness in units of half the field of that many mm."""
    size = len(soft)
    tissue = soft * (1 + 0.06 * noise(rng, size, rng.uniform(1.0, 1.6)))
    water = (tissue + rng.uniform(1.2, 2.4) * hard) * millimetres / 2
    depth = expose(f32(np.maximum(water, 0)), millimetres / size, 10 ** rng.uniform(4.2, 5.6), rng)
    lifted = depth + rng.uniform(0, 1) * (depth - blur(depth, rng.uniform(4, 14)))
    return unit(lifted) ** f32(rng.uniform(0.5, 1.3))


def hand(rng: Rng) -> Array:
    """A hand or a foot: five rays of phalanges, carpal bones, the ends of the forearm."""
    soft, hard = np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.float32)
    spread, length = rng.uniform(0.12, 0.4), rng.uniform(0.75, 1.1)
    for finger in range(5):
        angle = (finger - 2) * spread + rng.normal(0, 0.05)
        base = np.array([(finger - 2) * 0.13, 0.3])
        way = np.array([np.sin(angle), -np.cos(angle)])
        reach = length * (1.0, 1.2, 1.28, 1.2, 0.95)[finger] * 0.95
        tip = base + way * reach
        soft = np.maximum(soft, rod(SIZE, [base, tip], [0.13, 0.075]))
        start = base
        for share, thick in ((0.4, 0.042), (0.28, 0.04), (0.19, 0.034), (0.13, 0.03)):
            end = start + way * reach * share * 0.86
            hard += bone(SIZE, [start, start + 0.5 * (end - start), end], [thick, thick * 0.7, thick * 0.95])
            start = start + way * reach * share
    soft = np.maximum(soft, rod(SIZE, [(0, 0.3), (0, 1.4)], [0.36, 0.24]))
    for _ in range(8):
        centre = (rng.uniform(-0.22, 0.22), rng.uniform(0.32, 0.5))
        hard += 0.1 * ball(SIZE, centre, rng.uniform(0.05, 0.1, 2), rng.uniform(0, 3))
    hard += bone(SIZE, [(-0.13, 0.56), (-0.11, 1.4)], [0.12, 0.07]) + bone(
        SIZE, [(0.12, 0.58), (0.1, 1.4)], [0.08, 0.06]
    )
    return film(rng, soft, hard, rng.uniform(180, 260))


def limb(rng: Rng) -> Array:
    """A knee, elbow or ankle, or the shaft of a long bone, one or two of them, at times with a plate and screws."""
    soft, hard = np.zeros((SIZE, SIZE), np.float32), np.zeros((SIZE, SIZE), np.float32)
    places = (0.0,) if rng.random() < 0.6 else (-0.48, 0.48)
    bend, joint = rng.normal(0, 0.25), rng.uniform(-0.4, 0.4)
    wide = rng.uniform(0.2, 0.42) / (1 if len(places) == 1 else 1.6)
    thick = wide * rng.uniform(0.28, 0.45)
    for x in places:
        above, below = (x + bend, -1.5), (x - bend * rng.uniform(-1, 1), 1.5)
        soft = np.maximum(soft, rod(SIZE, [above, (x, joint), below], [wide * 1.2, wide, wide * 0.9]))
        top, low = (x, joint - 0.02), (x, joint + 0.05)
        mid = np.array(above) * 0.4 + np.array(top) * 0.6
        hard += bone(SIZE, [above, mid, top], [thick, thick * 0.8, thick * 1.5])
        hard += bone(SIZE, [low, (x, joint + 0.4), below], [thick * 1.5, thick * 0.7, thick * 0.65])
        if rng.random() < 0.6:
            hard += bone(SIZE, [(x + wide * 0.6, joint + 0.2), (below[0] + wide * 0.5, 1.5)], thick * 0.4)
        if rng.random() < 0.5:
            hard += 0.15 * ball(SIZE, (x, joint - thick), (thick * 0.8, thick))
        if rng.random() < 0.25:
            hard += 3 * rod(SIZE, [(x + thick, joint - 0.7), (x + thick, joint - 0.1)], 0.02)
            for y in np.arange(joint - 0.65, joint - 0.1, 0.12):
                hard += 3 * rod(SIZE, [(x - thick, y), (x + thick, y)], 0.012)
    return film(rng, soft, hard, rng.uniform(200, 380))


def skull(rng: Rng) -> Array:
    """A head, from the front or the side: vault, orbits, sinuses, jaw and neck."""
    side = rng.random() < 0.5
    wide = rng.uniform(0.75, 0.9) if side else rng.uniform(0.58, 0.7)
    centre = (rng.normal(0, 0.05), -0.25)
    head, inner = ball(SIZE, centre, (wide, 0.68)), ball(SIZE, centre, (wide - 0.05, 0.63))
    soft = head * 0.8 + rod(SIZE, [(0.1 * side, 0.2), (0.15 * side, 1.4)], 0.3)
    hard = 0.9 * (head - 0.97 * inner * (wide - 0.02) / wide)
    if side:
        soft = soft + 0.5 * ball(SIZE, (-wide * 0.6, 0.35), (0.35, 0.4))
        hard += bone(SIZE, [(-0.1, 0.2), (-0.1, 0.5), (-wide * 0.8, 0.65)], [0.07, 0.08, 0.09])
        soft -= 0.5 * ball(SIZE, (-wide * 0.75, 0.12), (0.14, 0.12))
    else:
        for s in (-1, 1):
            hard += 0.4 * (ball(SIZE, (s * 0.25, 0.08), (0.2, 0.17)) - ball(SIZE, (s * 0.25, 0.08), (0.17, 0.14)))
            soft -= 0.25 * ball(SIZE, (s * 0.25, 0.08), (0.16, 0.13)) + 0.3 * ball(SIZE, (s * 0.22, 0.3), (0.12, 0.13))
            hard += bone(SIZE, [(s * 0.45, 0.2), (s * 0.42, 0.5), (0, 0.7)], 0.07)
    for x in np.linspace(-0.25, 0.25, 9) - 0.45 * side:
        for y in (0.46, 0.56):
            hard += 0.25 * ball(SIZE, (x, y), (0.028, 0.05))
    for y in np.arange(0.55, 1.2, 0.14):
        hard += 0.12 * ball(SIZE, (0.12 * side, y), (0.13, 0.06))
    return film(rng, np.maximum(soft, 0), np.maximum(hard, 0), rng.uniform(240, 320))


def trunk(rng: Rng) -> Array:
    """A pelvis or an abdomen: spine, iliac wings, femora, bowel gas, now and then an artificial hip."""
    wide, low = rng.uniform(0.8, 1.15), rng.uniform(-0.2, 0.8)
    soft = 0.7 * np.sqrt(np.clip(1 - (grid(SIZE)[0] / wide) ** 2, 0, None)) * np.ones((SIZE, 1), np.float32)
    hard = np.zeros((SIZE, SIZE), np.float32)
    bend = rng.normal(0, 0.08)
    for y in np.arange(low - 0.1, -1.2, -rng.uniform(0.2, 0.28)):
        x = bend * np.sin(2 * y)
        hard += 0.16 * (ball(SIZE, (x, y), (0.14, 0.11)) ** 0.3) + 0.08 * ball(SIZE, (x, y), (0.28, 0.03))
    for s in (-1, 1):
        wing = ellipse(SIZE, (s * 0.42, low + 0.1), (0.4, 0.26), s * 0.9)
        hard += 0.1 * (wing < 1) + 0.1 * ((wing < 1) & (wing > 0.8))
        ring = ellipse(SIZE, (s * 0.2, low + 0.72), (0.2, 0.17), -s * 0.6)
        hard += 0.16 * ((ring < 1) & (ring > 0.35))
        head = (s * 0.52, low + 0.52)
        metal = 4.0 if rng.random() < 0.15 else 1.0
        hard += metal * 0.25 * ball(SIZE, head, (0.14, 0.14))
        hard += metal * bone(SIZE, [head, (s * 0.72, low + 0.68), (s * 0.66, 2)], [0.08, 0.11, 0.09])
    for _ in range(int(rng.integers(3, 30))):
        centre = (rng.uniform(-0.7, 0.7), rng.uniform(-1, low + 0.3))
        soft -= rng.uniform(0.05, 0.25) * ball(SIZE, centre, rng.uniform(0.05, 0.18, 2), rng.uniform(0, 3))
    return film(rng, blur(f32(np.maximum(soft, 0)), 1.5), blur(f32(hard), 1.0), rng.uniform(340, 440))


def spine(rng: Rng) -> Array:
    """A cervical or lumbar spine from the side."""
    curve, x0 = rng.uniform(-0.35, 0.35), rng.uniform(-0.2, 0.3)
    soft = ball(SIZE, (x0 - 0.1, 0), (rng.uniform(0.5, 1.2), 1.8)) * rng.uniform(0.4, 0.9)
    hard = np.zeros((SIZE, SIZE), np.float32)
    step = rng.uniform(0.24, 0.42)
    for y in np.arange(-1.1, 1.2, step):
        x, turn = x0 + curve * np.cos(1.5 * y), -1.5 * curve * np.sin(1.5 * y)
        box = np.maximum(ellipse(SIZE, (x, y), (0.55 * step, 9), turn), ellipse(SIZE, (x, y), (9, 0.4 * step), turn))
        hard += 0.22 * (box < 1) + 0.1 * ((box < 1) & (box > 0.75))
        hard += bone(SIZE, [(x + 0.6 * step, y), (x + 1.3 * step, y + 0.3 * step)], 0.12 * step)
    return film(rng, soft, blur(f32(hard), 1.2), rng.uniform(200, 400))


def breast(rng: Rng) -> Array:
    """A mammogram: a half disc with glandular strands, at times the chest muscle."""
    side, deep = rng.choice((-1, 1)), rng.uniform(0.7, 1.5)
    shape = ellipse(SIZE, (side * 1.02, rng.normal(0, 0.1)), (deep, rng.uniform(0.7, 1.0)))
    body = np.clip(1 - shape, 0, None) ** 0.25
    strands = np.clip(noise(rng, SIZE, rng.uniform(1.2, 2.0)), 0, None) * np.exp(-2.5 * np.clip(shape, 0, 3))
    image = body * (0.35 + rng.uniform(0.1, 0.35) * strands)
    if rng.random() < 0.5:
        x, y = grid(SIZE)
        image = image + 0.3 * blur(f32(side * x > 0.2 + rng.uniform(0.4, 0.8) * (y + 1)), 3) * (shape < 1)
    return unit(f32(image + 0.01 * noise(rng, SIZE, 0)))


def teeth(rng: Rng) -> Array:
    """A dental film: a row of teeth with roots, fillings and the jaw."""
    soft = 0.5 + 0.1 * noise(rng, SIZE, 1.4)
    hard = np.zeros((SIZE, SIZE), np.float32)
    wide = rng.uniform(0.12, 0.35)
    bow = rng.uniform(-0.2, 0.2)
    for s in (-1, 1):
        for x in np.arange(-1.1, 1.2, 2 * wide):
            crown, root = (
                (x, s * 0.12 + bow * x * x),
                (x + rng.normal(0, 0.05), s * rng.uniform(0.6, 0.8) + bow * x * x),
            )
            hard += bone(SIZE, [crown, root], [wide * 0.9, wide * 0.3], 0.35)
            if rng.random() < 0.25:
                hard += 3 * ball(SIZE, crown, (wide * 0.5, wide * 0.3))
    return film(rng, f32(soft * (np.abs(grid(SIZE)[1]) > 0.03)), blur(f32(hard), 1.0), rng.uniform(40, 200))


def hardware(rng: Rng) -> Array:
    """Tubes, wires, screws and parcels as a luggage scanner or a bench shows them."""
    soft = np.zeros((SIZE, SIZE), np.float32) + rng.uniform(0, 0.2)
    for _ in range(int(rng.integers(3, 25))):
        kind, centre = rng.random(), rng.uniform(-1, 1, 2)
        if kind < 0.4:
            soft += rng.uniform(0.1, 2) * rod(
                SIZE, list(rng.uniform(-1.2, 1.2, (int(rng.integers(2, 5)), 2))), rng.uniform(0.01, 0.1)
            )
        elif kind < 0.7:
            soft += rng.uniform(0.05, 0.8) * ball(SIZE, centre, rng.uniform(0.03, 0.5, 2), rng.uniform(0, 3))
        else:
            x, y = grid(SIZE)
            w, h = rng.uniform(0.03, 0.5, 2)
            soft += rng.uniform(0.05, 0.6) * ((np.abs(x - centre[0]) < w) & (np.abs(y - centre[1]) < h))
    return film(rng, blur(f32(soft), rng.uniform(0, 2)), np.zeros_like(soft), rng.uniform(100, 400))


BODIES: Mapping[str, Callable[[Rng], Array]] = {
    "hand": hand,
    "limb": limb,
    "skull": skull,
    "trunk": trunk,
    "spine": spine,
    "breast": breast,
    "teeth": teeth,
    "hardware": hardware,
}
