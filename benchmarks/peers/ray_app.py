"""Ray Serve with `@serve.batch`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.reporter import BATCH_WAIT_SECONDS, MAX_BATCH, Job, Reporter


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class ReportDeployment:
    """One replica that owns the archive."""

    def __init__(self, checkpoint: str) -> None:
        self.reporter = Reporter(Path(checkpoint))

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_SECONDS)  # type: ignore[untyped-decorator]  # Ray has no types
    async def report(self, jobs: list[Job]) -> list[str]:
        """Reports on a batch."""
        import asyncio

        return await asyncio.to_thread(self.reporter.report, jobs)

    async def __call__(self, request: Request) -> dict[str, str]:
        """One request."""
        return {"text": await self.report(Job.from_json(await request.json()))}


if __name__ == "__main__":
    ray.init(include_dashboard=False, configure_logging=True, logging_level="ERROR", log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    deployment: Any = ReportDeployment  # what the decorator made of it
    serve.run(deployment.bind(sys.argv[1]), route_prefix="/report")
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()
