"""`python -m benchmarks.instant_server serve`: the service with an engine that answers at once.

The checkpoint makes one report, which is then the answer to every study. What is left is all that is not the engine:
connections, uploads, decoding, admission, answers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from app import cli, local_reports
from app.images.decode import decode_image
from app.inference.engine.observer import Observer
from app.inference.generator import Generator
from app.inference.options import DecodingOptions
from app.inference.served_model import Image, ServedModel
from app.report import Report
from app.settings import Settings

SAMPLE = Path(__file__).with_name("phantom-frontal.png")


_load = local_reports.load_generator


class InstantGenerator:
    """A `ReportGenerator` that knows one report."""

    ready, alive, queue_depth, turn_seconds = True, True, 0, 0.0
    decoder_name = "none"

    def __init__(self, generator: Generator) -> None:
        """Has it made by the generator, which is closed."""
        self.model: ServedModel = generator.model
        self._report = generator.submit([decode_image(SAMPLE.read_bytes()).pixels], self.model.default_options).result()
        generator.close()
        self.submitted = 0

    def retry_after(self) -> float:
        """Hardly any."""
        return 1e-6

    def warm_up(self) -> None:
        """Nothing to warm."""

    def submit(self, images: Sequence[Image], options: DecodingOptions, *_: object, **more: object) -> Future[Report]:
        """The report."""
        self.submitted += 1
        answer: Future[Report] = Future()
        answer.set_result(self._report)
        return answer

    def close(self, drain_seconds: float = 0.0) -> None:
        """Nothing to close."""


def instant_generator(settings: Settings, observer: Observer | None = None) -> InstantGenerator:
    """For the checkpoint that the settings name."""
    return InstantGenerator(_load(settings, observer))


if __name__ == "__main__":
    vars(local_reports)["load_generator"] = instant_generator
    sys.exit(cli.main())
