"""Why there is nothing to be had from the DICOMweb server. No message holds what it sent, or whose study it was."""

from __future__ import annotations


class DicomWebError(Exception):
    """The server is away, or answers something else than DICOMweb. The message says what, in our own words."""


class DicomWebTimeoutError(DicomWebError):
    """The server took too long."""

    def __init__(self) -> None:
        super().__init__("the DICOMweb server took too long")


class DicomWebBusyError(DicomWebError):
    """The server asks to come back, after `retry_after` seconds where it says when."""

    def __init__(self, retry_after: float | None) -> None:
        super().__init__("the DICOMweb server is busy")
        self.retry_after = retry_after


class RefusedByServerError(DicomWebError):
    """The server does not take or give this one object; another one may fare better."""


class NoSuchStudyError(Exception):
    """The server does not have what was asked for."""

    def __init__(self) -> None:
        super().__init__("the DICOMweb server does not have this study or series")


class NoChestImagesError(Exception):
    """The study holds no image that a chest report could be written of."""

    def __init__(self) -> None:
        super().__init__("the study holds no single-frame CR or DX image of the chest")


class StudyTooLargeError(Exception):
    """The study, or an image of it, has more bytes than may be held."""
