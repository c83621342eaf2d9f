"""What a study gets instead of a report, and the service instead of a model."""

from __future__ import annotations


class EngineFullError(Exception):
    """The queue is full. `retry_after` seconds from now there should be room, at the rate measured."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


class EngineStoppedError(Exception):
    """The engine is stopping, stopped or has failed."""


class DeadlineExceededError(Exception):
    """The study's deadline passed before its report was done."""


class GenerationError(Exception):
    """The engine failed at this study; others are not concerned."""


class StudyError(GenerationError):
    """This study's own options or data made it fail, in an engine that works."""


class NoUsableViewError(ValueError):
    """No image of the study shows a view that the model reads; the message may be shown to the client."""


class CheckpointError(Exception):
    """A checkpoint that must not be served; the message says what did not match."""


class UnsupportedDeviceError(ValueError):
    """The device or precision asked for is not to be had here."""
