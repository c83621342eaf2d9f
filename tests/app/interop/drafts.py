"""Drafts of made-up studies, as the writers of `app.interop` take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from app.interop.draft import Draft, Finding, Place, SourceImage
from app.interop.source import Source
from app.report import DISCLAIMER, Measurement
from tests.app.dicom_phantoms import describe
from tests.app.pictures import film

BOXES = {"effusion": (1200.0, 1500.0, 1790.0, 2110.0), "mass": (-20.0, 80.0, 500.0, 420.0)}
SECTIONS = {
    "findings": "The heart is normal in size. There is a left pleural effusion.",
    "impression": "Left effusion.",
}
LABELS = (
    *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax"),
    *("consolidation", "edema", "emphysema", "fibrosis", "pleural_thickening", "hernia"),
)


def image(
    number: int = 1, *, view: str = "frontal", read: bool = True, shape: tuple[int, int] = (156, 128)
) -> SourceImage:
    """The `number`th of a phantom's images, decoded at a sixteenth of its file's size."""
    height, width = shape
    return SourceImage(
        pixels=film(height, width, seed=number),
        region=(0, 0, 16 * width, 16 * height),
        width=16 * width,
        height=16 * height,
        format="DICOM",
        sha256=f"{number:064x}",
        identity=str(describe(1, number, Modality="DX").SOPInstanceUID),
        view=view,
        view_probability=0.97,
        read=read,
    )


def draft(
    *images: SourceImage,
    sections: Mapping[str, str] = SECTIONS,
    warnings: Sequence[str] = (),
    present: Sequence[str] = ("effusion",),
    **changes: Any,
) -> Draft:
    """A draft in which these findings are present, in the first image if they have a box."""
    findings = tuple(
        Finding(
            name,
            (0.6 if name in present else 0.05) + 0.0123456789 * i,
            name in present,
            0.31,
            (Place(0, "left", "lower", BOXES[name]),) if name in present and name in BOXES else (),
        )
        for i, name in enumerate(LABELS)
    )
    values: dict[str, Any] = {
        "id": "0b9c7f0e-3f6f-4b1e-9d0c-2f9a0d7f4c11",
        "created": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "model_name": "phantom-model",
        "model_version": "1.2.3",
        "model_sha256": "9c" * 32,
        "abnormal": Finding("abnormal", 0.794, True),
        "measurements": (Measurement("cardiothoracic_ratio", 0.47, 0),),
        "options": {"num_beams": 3, "operating_point": "balanced"},
        "disclaimer": DISCLAIMER,
    }
    return Draft(
        images=images or (image(),), findings=findings, sections=sections, warnings=tuple(warnings), **values | changes
    )


def source(images: int = 1, modality: str = "DX", **tags: Any) -> Source:
    """The study of a phantom's first images."""
    made = Source.of([describe(1, i, Modality=modality, Rows=2496, Columns=2048, **tags) for i in range(1, images + 1)])
    assert made
    return made
