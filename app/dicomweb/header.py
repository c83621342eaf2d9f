"""What chooses an image of a study, read from the header of its file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom import dcmread

from app.dicomweb.chest_images import TAGS, Instance


def read_instance(file: bytes | Path) -> Instance | None:
    """The header of a DICOM file; None where it cannot be read, or lacks its identifiers."""
    try:
        source = BytesIO(file) if isinstance(file, bytes) else file
        header = dcmread(source, stop_before_pixels=True, specific_tags=[int(tag, 16) for tag in TAGS])
        return Instance.of(header.to_json_dict())
    except Exception:  # pydicom raises a dozen kinds, and a file that vanished is no file
        return None
