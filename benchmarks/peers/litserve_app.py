"""LitServe with its batching."""

from __future__ import annotations

import sys
from pathlib import Path

import litserve

from benchmarks.peers.reporter import BATCH_WAIT_SECONDS, MAX_BATCH, Job, Reporter


class ReportAPI(litserve.LitAPI):  # type: ignore[misc]  # LitServe has no types
    """Images are prepared as requests come, reports are written batch by batch."""

    def setup(self, device: str) -> None:
        """Loads the archive in the worker."""
        self.reporter = Reporter(Path(sys.argv[1]))

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # no annotation: LitServe then gives the JSON body
        """The job of a JSON body."""
        return Job.from_json(request)

    def predict(self, inputs: list[Job]) -> list[str]:
        """Reports on a batch."""
        return self.reporter.report(inputs)

    def encode_response(self, output: str) -> dict[str, str]:
        """The answer's body."""
        return {"text": output}


if __name__ == "__main__":
    api = ReportAPI(max_batch_size=MAX_BATCH, batch_timeout=BATCH_WAIT_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", timeout=120)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
