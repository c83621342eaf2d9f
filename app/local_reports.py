"""Reports without a server: the model of the settings in this process, options and answers as the API has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from app.api.options import ReportOptions, parse_options
from app.api.schemas import ReportResponse
from app.images.decode import DecodedImage
from app.inference.engine.observer import Observer
from app.inference.generator import Generator
from app.report import Report
from app.settings import Settings


def load_generator(settings: Settings, observer: Observer | None = None) -> Generator:
    """The model that the settings name, at work as they say. Raises `CheckpointError` and `UnsupportedDeviceError`."""
    return Generator.load(
        settings.checkpoint,
        sha256=settings.checkpoint_sha256,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        max_rows=settings.max_rows,
        max_queue=settings.max_queue,
        observer=observer,
        ood=settings.acceptance,
    )


class LocalReports:
    """One model, asked for the reports of decoded images."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.model = generator.model

    @classmethod
    @contextmanager
    def of(cls, settings: Settings) -> Iterator[LocalReports]:
        """While the context lasts. Raises `CheckpointError` and `UnsupportedDeviceError`."""
        generator = load_generator(settings)
        try:
            yield cls(generator)
        finally:
            generator.close()

    def options(self, given: Mapping[str, str]) -> ReportOptions:
        """The options of these values. Raises the problem `invalid-options`."""
        return parse_options(given.items(), [], self.model)

    def start(self, images: Sequence[DecodedImage], options: ReportOptions) -> Future[Report]:
        """Queues a study; raises as `Generator.submit`."""
        return self._generator.submit(
            [image.pixels for image in images],
            options.decoding,
            operating_point=options.operating_point,
            heatmaps="heatmaps" in options.include,
        )

    def answer(
        self, report: Report, images: Sequence[DecodedImage], options: ReportOptions, decode: float, total: float
    ) -> ReportResponse:
        """What the API would answer; `decode` and `total` in seconds."""
        return ReportResponse.of(report, images, options, self.model, decode_seconds=decode, total_seconds=total)
