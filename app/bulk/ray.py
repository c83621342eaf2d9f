"""The models of a Ray cluster as one reporter: plain actors, and the run around them as it is.

Actors rather than Ray Data: a study is one line, written here when it is answered, so that what a lost node had under
way is asked of another one and nothing is there twice. Ray Data would repeat blocks of studies, and hand results over
block by block. Files are read here and sent: nodes need the program and the checkpoint, but no shared disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import AuthenticationError, RayActorError

from app.bulk.capacity import Capacity
from app.bulk.reporters import Reporter, model_here
from app.bulk.study import StopError
from app.service_client import ProblemError, UnreachableError
from app.settings import Settings

_PAUSE_SECONDS = 1.0
_MAX_CALLS = 1024
# Of one model; as many as there are add up.
_PER_MODEL = ("max_rows", "max_queue", "max_requests")


@dataclass(frozen=True, slots=True)
class _Said:
    """What came of a call: exceptions of ours do not survive Ray's pickling."""

    answer: Mapping[str, Any] | None = None
    problem: tuple[int, str, str] | None = None
    stop: str = ""

    def value(self) -> Mapping[str, Any]:
        """Raises `ProblemError` and `StopError`."""
        if self.problem:
            raise ProblemError(*self.problem)
        if self.answer is None:
            raise StopError(self.stop)
        return self.answer


class Model:
    """The actor: the model of the settings, in a process of the cluster."""

    def __init__(self, settings: Settings, options: Mapping[str, str]) -> None:
        self._settings, self._options = settings, options
        self._stack = AsyncExitStack()
        self._loading = asyncio.Lock()
        self._reporter: Reporter | None = None

    async def model(self) -> _Said:
        """What there is, loaded by the first call: an actor that was started again is asked this first."""
        try:
            return _Said(await (await self._loaded()).model())
        except StopError as error:
            return _Said(stop=str(error))

    async def report(self, files: Sequence[bytes], request_id: str) -> _Said:
        """One study."""
        try:
            return _Said(await (await self._loaded()).report(files, request_id))
        except ProblemError as error:
            return _Said(problem=(error.status, error.type, error.detail))
        except StopError as error:
            return _Said(stop=str(error))

    async def _loaded(self) -> Reporter:
        async with self._loading:
            if self._reporter is None:
                self._reporter = await self._stack.enter_async_context(model_here(self._settings, self._options))
        return self._reporter


@dataclass(slots=True)
class _Replica:
    actor: Any
    ready: bool = False
    in_flight: int = 0
    waking: asyncio.Task[None] | None = field(default=None, repr=False)


class ClusterReporter:
    """Studies go to the model with the fewest under way; one that died joins again once Ray has started it anew."""

    def __init__(self, actors: Sequence[Any], options: Mapping[str, str]) -> None:
        self._replicas = [_Replica(actor) for actor in actors]
        self._options = options
        self._described: Mapping[str, Any] = {}
        self._each = 1  # under way at one of them
        self._changed = asyncio.Condition()
        self._failed: StopError | None = None

    async def model(self) -> Mapping[str, Any]:
        """As one service would describe it that has room for what all of them take."""
        for replica in self._replicas:
            self._wake(replica)
        async with self._changed:
            await self._changed.wait_for(lambda: self._failed or any(one.ready for one in self._replicas))
        if self._failed:
            raise self._failed
        limits = self._described["limits"]
        many = {name: limits[name] * len(self._replicas) for name in _PER_MODEL}
        return {**self._described, "limits": {**limits, **many}}

    async def report(self, files: Sequence[bytes], request_id: str) -> Mapping[str, Any]:
        """The answer of one that has room, or of another if it dies. Raises `UnreachableError` when none is alive."""
        while True:
            replica = await self._free()
            try:
                said: _Said = await replica.actor.report.remote(files, request_id)
            except RayActorError:
                replica.ready = False
                self._wake(replica)
            else:
                return said.value()
            finally:
                async with self._changed:
                    replica.in_flight -= 1
                    self._changed.notify_all()

    def close(self) -> None:
        """Waits for none any longer."""
        for replica in self._replicas:
            if replica.waking:
                replica.waking.cancel()

    async def _free(self) -> _Replica:
        async with self._changed:
            while True:
                if self._failed:
                    raise self._failed
                ready = [one for one in self._replicas if one.ready]
                if not ready:
                    raise UnreachableError("no model in the cluster")
                best = min(ready, key=lambda one: one.in_flight)
                if best.in_flight < self._each:
                    best.in_flight += 1
                    return best
                await self._changed.wait()

    def _wake(self, replica: _Replica) -> None:
        if replica.waking is None or replica.waking.done():
            replica.waking = asyncio.create_task(self._until_ready(replica))

    async def _until_ready(self, replica: _Replica) -> None:
        while True:
            try:
                said: _Said = await replica.actor.model.remote()
                break
            except RayActorError:
                await asyncio.sleep(_PAUSE_SECONDS)
        async with self._changed:
            try:
                self._join(replica, said.value())
            except StopError as error:
                self._failed = error
            self._changed.notify_all()

    def _join(self, replica: _Replica, described: Mapping[str, Any]) -> None:
        if self._described and described["sha256"] != self._described["sha256"]:
            raise StopError("the nodes of the cluster have different checkpoints")
        self._described = described
        self._each = Capacity.of(described, self._options).in_flight
        replica.ready = True


@asynccontextmanager
async def models_of_cluster(
    settings: Settings, options: Mapping[str, str], replicas: int | None
) -> AsyncIterator[Reporter]:
    """The models at work in the cluster that `RAY_ADDRESS` names, or this machine is of, while the context lasts.

    Each has a GPU where there are any, else as many processors as the settings have threads; without `replicas` there
    are as many as find room on the nodes there are. Raises `StopError`.
    """
    try:
        ray.init(address="auto", log_to_driver=False, logging_level="error")
    except (ConnectionError, AuthenticationError) as error:
        raise StopError(f"no Ray cluster: {_first_line(error)}") from error
    try:
        need = "GPU" if "GPU" in ray.cluster_resources() else "CPU"
        each = 1 if need == "GPU" else settings.threads
        room = sum(int(node["Resources"].get(need, 0) // each) for node in ray.nodes() if node["Alive"])
        if not (replicas or room):
            raise StopError(
                f"no node of the cluster has {each} {need}; XRAY_REPORT_THREADS says how many a model takes"
            )
        actor = ray.remote(Model).options(
            **{f"num_{need.lower()}s": each},
            scheduling_strategy="SPREAD",
            max_restarts=-1,
            max_task_retries=0,  # studies are asked again here, of another one
            max_concurrency=_MAX_CALLS,
        )
        reporter = ClusterReporter([actor.remote(settings, options) for _ in range(replicas or room)], options)
        try:
            yield reporter
        finally:
            reporter.close()
    finally:
        ray.shutdown()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
