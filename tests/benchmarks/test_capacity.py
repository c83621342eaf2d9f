"""The capacity model beside queueing theory, and what its gateway, its failures and its autoscaling do."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.capacity import __main__ as command
from benchmarks.capacity import tables
from benchmarks.capacity.arrivals import DAY, bursts, department_day, peak_rate, poisson, read_times
from benchmarks.capacity.clients import closed_loop, most_reports
from benchmarks.capacity.curve import Curve, Kind, read_curve
from benchmarks.capacity.fleet import Autoscaling, Failures, Fleet, Outcome
from benchmarks.capacity.planning import Plan
from benchmarks.capacity.replica import Replica, Study

ENDLESS = 10**9
# A report is one step of one second, and nothing else costs anything.
SECOND = Curve(
    (Kind("second", 1, 1, 1.0, 0.0),), 0.0, (1.0,), (1.0,), max_rows=1, max_queue=ENDLESS, max_requests=ENDLESS
)
# The same in steps that are short beside it, so that who joins hardly waits for one.
STEPS = replace(SECOND, kinds=(Kind("second", 1, 1, 25.0, 0.0),), step_seconds=(0.04,))
REAL = Curve(
    (Kind("film", 1, 3, 14.0, 0.008, 0.004), Kind("DICOM", 2, 3, 14.0, 0.15, 0.02, share=0.0)),
    encode_seconds=0.011,
    step_rows=(3.0, 6.0, 12.0),
    step_seconds=(0.0017, 0.0023, 0.0034),
)


def simulated(curve: Curve, rate: float, seconds: float, replicas: int = 1, seed: int = 1) -> Outcome:
    rng = np.random.default_rng(seed)
    return Fleet(curve, replicas, rng).run(poisson(rate, seconds, rng))


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_row_waits_as_m_d_1(load: float) -> None:
    """Equal studies one after the other: a mean wait of load / (2 (1 - load)) services (Pollaczek and Khinchine), and
    busy as long as there is load."""
    outcome = simulated(SECOND, load, 20_000.0)
    assert outcome.seconds.mean() - 1.0 == pytest.approx(load / (2 * (1 - load)), rel=0.1)
    assert outcome.utilisation == pytest.approx(load, rel=0.02)


@pytest.mark.parametrize(("rows", "load"), [(2, 0.6), (5, 0.8)])
def test_rows_that_do_not_slow_each_other_wait_as_m_m_c(rows: int, load: float) -> None:
    """Reports of exponential length in c rows of constant pace: Erlang's C over c - load, of a mean report. All are as
    many whole steps as the next one makes them, and who comes in between waits for half of one."""
    rng, step = np.random.default_rng(2), STEPS.step_seconds[0]
    times = poisson(rows * load, 10_000.0, rng)
    lengths = np.maximum(1.0, np.round(rng.exponential(1.0 / step, len(times)))).tolist()
    kinds = tuple(Kind(str(i), 1, 1, steps, 0.0) for i, steps in enumerate(lengths))
    outcome = Fleet(replace(STEPS, kinds=kinds, max_rows=rows), 1, rng).run(times, np.arange(len(times)))
    offered = rows * load
    waiting = offered**rows / math.factorial(rows) / (1 - load)
    erlang_c = waiting / (sum(offered**k / math.factorial(k) for k in range(rows)) + waiting)
    waited = outcome.seconds.mean() - step * (np.mean(lengths) + 0.5)
    assert waited == pytest.approx(erlang_c / (rows - offered), rel=0.1)


def test_steps_that_cost_by_the_beam_are_shared_as_by_processor_sharing() -> None:
    """Where a step takes as long as it has beams, a study takes 1 / (1 - load) services however long it is."""
    curve = replace(STEPS, step_rows=(1.0, 2.0), step_seconds=(0.04, 0.08), max_rows=4_000)
    assert simulated(curve, 0.7, 10_000.0).seconds.mean() == pytest.approx(1 / 0.3, rel=0.1)


def test_decode_workers_wait_as_m_d_1_too() -> None:
    """One worker of a replica with processors to spare, and nothing behind it."""
    curve = replace(SECOND, kinds=(Kind("second", 1, 1, 1.0, 1.0),), step_seconds=(1e-3,), decode_workers=1, cores=8.0)
    assert simulated(curve, 0.5, 20_000.0).seconds.mean() == pytest.approx(1.5, rel=0.1)


def test_fewest_outstanding_lies_between_one_line_and_two() -> None:
    """Two replicas behind the gateway wait no less than two rows with one line, where who joins waits for half of a
    step, and much less than two left alone."""
    both = simulated(STEPS, 1.6, 5_000.0, replicas=2).seconds.mean()
    assert simulated(replace(STEPS, max_rows=2), 1.6, 5_000.0).seconds.mean() <= both + 0.02
    assert both < 0.8 * simulated(STEPS, 0.8, 5_000.0).seconds.mean()


def test_a_processor_is_shared_by_all_that_is_at_work() -> None:
    """Two studies decoded at once on one processor take as long as one after the other; with two they do not."""
    for cores, seconds in ((1.0, 2.0), (2.0, 1.0)):
        curve = replace(SECOND, kinds=(Kind("x", 1, 1, 1.0, 1.0),), step_seconds=(1e-6,), cores=cores, max_rows=8)
        outcome = Fleet(curve, 1, np.random.default_rng()).run(np.zeros(2))
        assert outcome.seconds.max() == pytest.approx(seconds, rel=1e-4)


def test_no_load_makes_more_than_the_most_reports() -> None:
    """Twice as much as a replica can do leaves it always busy, doing nearly that much."""
    most = most_reports(REAL)
    outcome = simulated(REAL, 2 * most, 60.0)
    done = np.isfinite(outcome.seconds).sum() / outcome.replica_seconds
    assert outcome.refused > 0
    assert 0.9 * most < done <= 1.02 * most


def test_the_same_seed_is_the_same_simulation() -> None:
    """Failures and autoscaling included, to the last digit; another seed is another one."""

    def run(seed: int) -> Outcome:
        rng = np.random.default_rng(seed)
        return Fleet(REAL, 2, rng, Autoscaling(2, 9), Failures(60.0, 10.0)).run(poisson(50.0, 60.0, rng))

    assert run(1).seconds.tobytes() == run(1).seconds.tobytes()
    assert run(1).replica_seconds == run(1).replica_seconds
    assert run(1).seconds.tobytes() != run(2).seconds.tobytes()


def test_studies_of_a_failed_replica_begin_again_elsewhere() -> None:
    """Nobody is lost while another replica is there; with the only one gone, those who come are refused."""
    rng = np.random.default_rng(3)
    times = poisson(20.0, 600.0, rng)
    outcome = Fleet(replace(REAL, start_seconds=2.0), 3, rng, failures=Failures(60.0, 5.0)).run(times)
    assert outcome.repeated > 0
    assert outcome.refused == 0
    alone = Fleet(replace(REAL, start_seconds=30.0), 1, rng, failures=Failures(200.0, 5.0)).run(poisson(2.0, 2e3, rng))
    assert 0 < alone.refused < len(alone.seconds) / 2
    assert np.isinf(alone.seconds).sum() == alone.refused


def test_replicas_follow_the_load() -> None:
    """A crowd brings more replicas after they have started; they go once the window has passed, and are paid for until
    then."""
    rng = np.random.default_rng(4)
    crowd = poisson(100.0, 200.0, rng) + 600.0
    times = np.sort(np.concatenate([poisson(2.0, 3_600.0, rng), crowd]))
    outcome = Fleet(REAL, 1, rng, Autoscaling(1, 20, processor=0.7)).run(times)
    assert outcome.most_replicas > 4
    late = outcome.seconds[times > 2_400.0]
    assert late.max() < 1.0
    assert 3_600.0 < outcome.replica_seconds < 3_600.0 + outcome.most_replicas * (300.0 + 300.0 + 120.0)


def test_the_queue_does_not_see_what_waits_for_decoding() -> None:
    """Files that cost more to decode than to read fill no queue of the engine: only processor time tells."""
    rng = np.random.default_rng(5)
    times = poisson(6.0, 1_800.0, rng)
    blind, seeing = (
        Fleet(REAL.of("DICOM"), 1, np.random.default_rng(0), Autoscaling(1, 20, processor=share)).run(times)
        for share in (math.inf, 0.7)
    )
    assert blind.most_replicas == 1
    assert blind.refused > len(times) / 4
    assert seeing.refused < blind.refused / 4


def test_the_fewest_replicas_that_hold() -> None:
    """One replica fewer would miss the target or be more than 95 % busy; more load and less patience need more."""

    def plan(rate: float) -> Plan:
        return Plan(REAL, lambda rng: poisson(rate, 30.0, rng), seeds=2)

    held = plan(40.0)
    count = held.replicas(0.3)
    assert held.p99(count).upper <= 0.3
    assert held.p99(count - 1).upper > 0.3
    assert 40.0 / most_reports(REAL) <= plan(40.0).replicas(10.0) <= count <= plan(80.0).replicas(0.3)
    with pytest.raises(ValueError, match="no number of replicas"):
        plan(1.0).replicas(0.01)


def test_clients_that_wait_for_their_answers() -> None:
    """One client gets a report after all its parts, later on a slower machine; many get as many as the busiest part
    lets through, and each waits by Little's law."""
    curve = replace(REAL, cores=8.0)
    alone = closed_loop(curve, 1, np.random.default_rng(0))
    parts = 0.004 + 0.008 + 0.011 + 14 * 0.0017
    assert alone.seconds == pytest.approx(parts)
    assert alone.rate == pytest.approx(1 / parts, rel=0.01)
    slow = closed_loop(curve.slowed(1.25), 1, np.random.default_rng(0))
    assert slow.seconds == pytest.approx(1.25 * parts)
    crowd = closed_loop(curve, 24, np.random.default_rng(0))
    assert crowd.rate == pytest.approx(1 / 0.011, rel=0.02)  # encoding, one study after the other
    assert crowd.rate * crowd.seconds.mean() == pytest.approx(24, rel=0.02)


def test_what_is_refused_costs_the_event_loop() -> None:
    """A study that finds no room leaves when the event loop has come to it, and its half of the serving is spent."""
    replica = Replica(replace(REAL, max_requests=1))
    for number in range(2):
        replica.submit(Study(0.0, REAL.kinds[0], number))
    left: list[Study] = []
    while not left:
        left = replica.advance(replica.next_event())
    assert [study.number for study in left] == [1]
    assert left[0].finished == math.inf
    assert replica.now > 0.004


def test_one_replica_is_filled_as_the_engine_fills_it() -> None:
    """Rows are never overdrawn, who joins waits for the step at work, and studies of a kind leave in the order in which
    they came."""
    replica = Replica(replace(REAL, max_rows=8))
    studies = [Study(0.0, REAL.kinds[0], number) for number in range(20)]
    for study in studies:
        replica.submit(study)
    finished = replica.advance(0.0)
    while (time := replica.next_event()) < math.inf:
        finished += replica.advance(time)
        assert replica.rows <= 8
    assert [study.number for study in finished] == list(range(20))
    assert replica.outstanding == 0


def test_arrivals_are_as_many_as_asked_for() -> None:
    """A day, and bursts, within what chance allows; the busiest hour has the rate that it is said to have."""
    rng = np.random.default_rng(6)
    day = department_day(50_000.0, rng)
    assert len(day) == pytest.approx(50_000, rel=0.02)
    assert 0 <= day[0] < day[-1] < DAY
    busiest = np.histogram(day, 24, (0, DAY))[0].max() / 3_600.0
    assert busiest == pytest.approx(peak_rate(50_000.0), rel=0.05)
    assert len(bursts(1.0, 50_000.0, 20.0, 0.5, rng)) == pytest.approx(50_000, rel=0.1)
    assert (np.diff(bursts(1.0, 50_000.0, 20.0, 0.5, rng)) >= 0).all()


def test_times_are_read_from_a_file(tmp_path: Path) -> None:
    """Seconds, or times of day, in any order, counted from the first; what is neither is named by its line."""
    file = tmp_path / "times.csv"
    file.write_text("arrived,modality\n2026-03-01T08:00:10,DX\n2026-03-01T08:00:00,CR\n\n")
    assert read_times(file).tolist() == [0.0, 10.0]
    file.write_text("5\n2.5\n")
    assert read_times(file).tolist() == [0.0, 2.5]
    for wrong, said in (("1\nsoon\n", "line 2"), ("time\n", "no times"), ("1\nnan\n", "no number")):
        file.write_text(wrong)
        with pytest.raises(ValueError, match=said):
            read_times(file)


def test_the_curve_is_read_as_it_was_written(tmp_path: Path) -> None:
    """And a file that is none is named."""
    file = tmp_path / "curve.json"
    file.write_text(REAL.to_json())
    assert read_curve(file) == REAL
    for wrong in ("{}", "[]", REAL.to_json().replace("0.0017", "0"), REAL.to_json().replace("12.0", "1.0")):
        file.write_text(wrong)
        with pytest.raises(ValueError, match=r"curve\.json is not what"):
            read_curve(file)


def test_the_command_answers_in_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By loads of a day or times of a file; what is wrong is one line and status 2."""
    curve, times = tmp_path / "curve.json", tmp_path / "times.csv"
    curve.write_text(REAL.to_json())
    times.write_text("\n".join(str(i / 10) for i in range(600)))
    assert command.main(["--curve", str(curve), "--arrivals", str(times), "--p99", "2", "--seeds", "1"]) == 0
    assert "| times.csv | 1 (" in capsys.readouterr().out
    assert command.main(["--curve", str(curve), "--loads", "200", "--autoscale", "1", "4", "--seeds", "1"]) == 0
    assert "| 200 |" in capsys.readouterr().out
    assert command.main(["--curve", str(curve), "--kind", "CT"]) == 2
    assert "no studies 'CT'; known: film, DICOM" in capsys.readouterr().err


def test_tables_go_to_their_places(tmp_path: Path) -> None:
    """Between two comments, as often as they are written; a page without them is an error."""
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x -->\n\n<!-- end -->\nb\n")
    for content in ("| 1 |", "| 2 |"):
        tables.fill(page, {"x": content})
        assert page.read_text() == f"a\n<!-- x -->\n{content}\n<!-- end -->\nb\n"
    with pytest.raises(ValueError, match="no place for the table 'y'"):
        tables.fill(page, {"y": ""})


def test_no_step_is_quicker_for_more_beams_than_were_measured() -> None:
    """Though the last two measured ones were the wrong way round."""
    curve = Curve((Kind("film", 1, 3, 10, 1e-3, 1e-3),), 1e-2, (3.0, 3.1), (3e-4, 2.5e-4))
    assert curve.step(3.05) == pytest.approx(2.75e-4)
    assert curve.step(64) == 2.5e-4
