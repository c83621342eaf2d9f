"""What the capacity model's curve is measured by, on a real server, and how it is held against what was foretold."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.capacity.costs import Job, Spent, measured_curve, steps_of
from benchmarks.capacity.fleet import Outcome
from benchmarks.capacity.measure import Check, Round, Sent
from benchmarks.client import Request
from tests.app.running_server import serving

pytestmark = pytest.mark.anyio
PHANTOM = Path(__file__).parents[2] / "benchmarks" / "phantom-frontal.png"


async def test_every_thread_is_known_for_what_it_does(tiny_checkpoint: Path) -> None:
    """Of a busy server decoding, encoding, steps and the rest all take time, and together no more than there was: were
    a thread called otherwise, its part would be missing and the rest be too large."""
    film = Request("POST", "/v1/report", "image/png", PHANTOM.read_bytes())
    with serving(tiny_checkpoint, "benchmarks.capacity.named_server", threads=1) as server:
        curve = await measured_curve(server, [Job("film", 1, film), Job("rare", 1, film, share=0.0)], 0.2, tokens=8)
    film_costs, rare = curve.kinds
    assert film_costs.decode_seconds > 1e-3  # a PNG of this size
    assert film_costs.serve_seconds > 3e-4
    assert curve.encode_seconds > 2e-5
    assert min(curve.step_seconds) > 2e-5
    assert curve.step_rows[0] < curve.step_rows[-1]
    assert film_costs.serve_seconds < film_costs.decode_seconds + curve.encode_seconds + 8 * max(curve.step_seconds)
    assert (film_costs.share, rare.share) == (1.0, 0.0)


def test_a_check_is_of_all_rounds_together() -> None:
    """Refused studies count in no latency; a p99 off by a fifth misses the goal, and its spread is over rounds."""

    def one(foretold: float, measured: float) -> Round:
        sent = [Sent(float(i), 0, measured) for i in range(10)] + [Sent(10.0, 0, math.inf)]
        return Round(sent, Outcome(np.array([foretold] * 10 + [math.inf])))

    rows = {row.name.partition(": ")[2]: row for row in Check(2, 0.5, [one(1.0, 1.0), one(1.3, 1.0)], 0.1).rows()}
    p99 = rows["p99, prediction off by"]
    assert p99.value == pytest.approx(30.0)
    assert p99.spread == pytest.approx((0.0, 30.0))
    assert p99.met is False
    assert "predicted 1.3, measured 1 s (1 to 1)" in p99.note
    assert rows["refused, prediction off by"].value == pytest.approx(0.0)
    assert rows["throughput, prediction off by"].met


def test_steps_of_the_same_beams_are_one() -> None:
    """Each load counts by its steps, and beams ascend."""

    def spent(beams: float, steps: float, seconds: float) -> Spent:
        return Spent(0.0, 0.0, seconds, 0.0, steps, beams * steps)

    found = steps_of([spent(8.0, 10, 0.05), spent(3.0, 10, 0.02), spent(3.0, 30, 0.1)])
    assert list(found) == [3.0, 8.0]
    assert list(found.values()) == pytest.approx([0.003, 0.005])
