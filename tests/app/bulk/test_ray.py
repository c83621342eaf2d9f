"""Studies by the models of a Ray cluster: whatever happens to a model, each study has one answer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.bulk.capacity import Capacity
from app.bulk.study import StopError
from app.service_client import ProblemError, UnreachableError
from tests.app.bulk.test_results import ANSWER
from tests.app.bulk.test_run import DESCRIBED, Ran
from tests.app.pictures import phantom, png
from tests.app.server.ray_cluster import PATIENCE_SECONDS, Cluster, environment
from tests.app.server.ray_cluster import cluster as cluster_of
from tests.app.server.ray_ports import family, name

pytest.importorskip("ray", reason="ray is not installed (the extra ray)")

from ray.exceptions import RayActorError

from app.bulk import ray as cluster
from app.bulk.ray import ClusterReporter, Model

pytestmark = pytest.mark.anyio
MODEL = {**DESCRIBED, "sha256": "0" * 64}
NAMES = ("model", "report")
STUDIES = 300


class Method:
    """What Ray makes of an actor's method."""

    def __init__(self, actor: Actor, name: str) -> None:
        self.actor, self.name = actor, name

    async def remote(self, *given: Any) -> Any:
        self.actor.calls[self.name] += 1
        if self.name == "report" and self.actor.dies_at == self.actor.calls["report"]:
            self.actor.dead = self.actor.returns
        if self.actor.dead:
            self.actor.dead -= self.name == "model"
            raise RayActorError
        await asyncio.sleep(0.001)
        return await getattr(self.actor.of, self.name)(*given)


class Actor:
    """A model in the cluster. It dies at its `dies_at`-th report, and is there again when asked `returns` times."""

    def __init__(self, of: Any, dies_at: int = 0, returns: int = 3, dead: int = 0) -> None:
        self.of, self.dies_at, self.returns, self.dead = of, dies_at, returns, dead
        self.calls: Counter[str] = Counter()
        self.model, self.report = (Method(self, name) for name in NAMES)


class Answers:
    """In place of what loads a model."""

    def __init__(self, model: Mapping[str, Any] = MODEL, error: Exception | None = None) -> None:
        self._model, self._error = model, error

    async def model(self) -> Mapping[str, Any]:
        return self._model

    async def report(self, files: Sequence[bytes], request_id: str) -> Mapping[str, Any]:
        if self._error:
            raise self._error
        return ANSWER


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("app.retry._FIRST_SECONDS", 0.01)

    @asynccontextmanager
    async def given(settings: Any, options: Any) -> AsyncIterator[Any]:
        yield settings

    monkeypatch.setattr(cluster, "model_here", given)


def model(answers: Answers | None = None) -> Any:
    return Model(answers or Answers(), {})  # type: ignore[arg-type]  # see `given`


async def test_described_as_one() -> None:
    """To the run they are one service with room for what all of them take together."""
    reporter = ClusterReporter([Actor(model()) for _ in range(3)], {})
    described = await reporter.model()
    assert described["limits"]["max_rows"] == 3 * DESCRIBED["limits"]["max_rows"]
    assert described["limits"]["max_images"] == DESCRIBED["limits"]["max_images"]
    assert Capacity.of(described, {}).in_flight > 2 * Capacity.of(DESCRIBED, {}).in_flight
    reporter.close()


async def test_each_has_its_share() -> None:
    """Studies go to whoever has the fewest under way."""
    actors = [Actor(model()) for _ in range(3)]
    reporter = ClusterReporter(actors, {})
    await reporter.model()
    await asyncio.sleep(0.05)
    await asyncio.gather(*(reporter.report([b""], str(number)) for number in range(30)))
    assert [actor.calls["report"] for actor in actors] == [10, 10, 10]
    reporter.close()


@pytest.mark.parametrize("others", [0, 2])
async def test_a_model_that_dies(tmp_path: Path, others: int) -> None:
    """Its studies are asked of the others, or again once it is back; every study has one line."""
    dying = Actor(model(), dies_at=3)
    reporter = ClusterReporter([dying, *(Actor(model()) for _ in range(others))], {})
    await reporter.model()
    ran = Ran(tmp_path, reporter, count=40)  # type: ignore[arg-type]  # a reporter like another
    await ran.work()
    assert (ran.run.finished, dict(ran.run.problems)) == (40, {})
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 40
    assert dying.calls["report"] >= 3
    assert others or dying.calls["model"] > 3  # with others there is not the time for it to come back
    reporter.close()


async def test_none_alive() -> None:
    """That is for the run's patience to decide."""
    reporter = ClusterReporter([Actor(model(), dies_at=1, returns=1000)], {})
    await reporter.model()
    with pytest.raises(UnreachableError, match="no model in the cluster"):
        await reporter.report([b""], "id")
    reporter.close()


async def test_problems_of_a_study() -> None:
    """What a model says of a study arrives as it was said, though Ray pickles no exceptions of ours."""
    problem = ProblemError(422, "corrupt-image", "damaged")
    reporter = ClusterReporter([Actor(model(Answers(error=problem)))], {})
    await reporter.model()
    with pytest.raises(ProblemError) as caught:
        await reporter.report([b""], "id")
    assert (caught.value.status, caught.value.type, caught.value.detail) == (422, "corrupt-image", "damaged")
    reporter.close()


async def test_another_checkpoint() -> None:
    """Nodes that would answer with different models are found out."""
    other = Answers({**MODEL, "sha256": "1" * 64})
    reporter = ClusterReporter([Actor(model()), Actor(model(other), dead=2)], {})
    await reporter.model()
    await asyncio.sleep(0.1)  # for the other one to have said what it is
    with pytest.raises(StopError, match="different checkpoints"):
        await reporter.report([b""], "id")
    reporter.close()


def test_on_a_cluster(long: bool, tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Three nodes: a model is killed, then a whole node, and every study has the line that the model here writes."""
    if not long:
        pytest.skip("a Ray cluster takes a minute to start: --long")
    films = tmp_path / "films"
    films.mkdir()
    for number in range(STUDIES):
        (films / f"{number}.png").write_bytes(png(phantom(shift=number)))
    settings = {"checkpoint": tiny_checkpoint, "device": "cpu", "threads": 1, "decode_workers": 1}
    given = {f"XRAY_REPORT_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-W", "ignore", "-m", "app.cli", "bulk", str(films), "--out"]
    with cluster_of(3) as nodes:
        out = tmp_path / "cluster.jsonl"
        known = {"RAY_ADDRESS": nodes.said["address"]}
        run = subprocess.Popen([*command, str(out), "--ray", "--in-flight", "6"], env=environment() | given | known)  # noqa: S603  # our own
        until_lines(out, STUDIES // 10)
        os.kill(models(nodes)[0], signal.SIGKILL)
        until_lines(out, STUDIES // 2)
        nodes.do("end 2")
        assert run.wait(PATIENCE_SECONDS) == 0
    here = tmp_path / "here.jsonl"
    subprocess.run([*command, str(here)], env=environment() | given, check=True)  # noqa: S603  # our own
    assert texts(out) == texts(here)


def until_lines(path: Path, count: int) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < until, "no lines"
        time.sleep(0.05)


def models(nodes: Cluster) -> list[int]:
    """The processes of the actors."""
    return [pid for pid in family(nodes.process.pid) if name(pid) == "Model"]


def texts(path: Path) -> list[tuple[str, str]]:
    """Studies and their reports, in order; a study that had two lines would be there twice."""
    lines = map(json.loads, path.read_text().splitlines())
    return sorted((line["study"], line["answer"]["report"]["text"]) for line in lines)
