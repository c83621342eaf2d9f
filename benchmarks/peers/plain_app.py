"""FastAPI alone: one request at a time."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from benchmarks.peers.reporter import Job, Reporter

app = FastAPI()
reporter = Reporter(Path(sys.argv[1]))
turn = threading.Lock()


@app.post("/report")
def report(body: dict[str, Any]) -> dict[str, str]:
    """One report; the others wait."""
    job = Job.from_json(body)
    with turn:
        return {"text": reporter.report([job])[0]}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
