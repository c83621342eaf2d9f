"""What is seen in a study, as the API answers it: findings, where they lie, what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app import report as records
from app.api.boxes import Box
from app.images.decode import DecodedImage

_PLACE = "Place of the image in `images`, from 0."
EXAMPLE: Any = {
    "abnormal": {"probability": 0.86, "present": True},
    "findings": [
        {
            "name": "pleural effusion",
            "probability": 0.81,
            "present": True,
            "threshold": 0.31,
            "locations": [
                {
                    "image": 0,
                    "side": "left",
                    "zone": "lower",
                    "box": {"left": 1210.0, "top": 1630.0, "right": 1790.0, "bottom": 2110.0},
                }
            ],
        },
        {"name": "cardiomegaly", "probability": 0.08, "present": False, "threshold": 0.28},
    ],
    "measurements": [{"name": "cardiothoracic_ratio", "value": 0.47, "image": 0}],
}


class Abnormal(BaseModel):
    """The model's word on the study as a whole, calibrated, and the decision at its threshold."""

    model_config = ConfigDict(from_attributes=True)

    probability: float = Field(description="That there is anything to be found.")
    present: bool


class Location(BaseModel):
    """Where a finding lies in one image."""

    image: int = Field(ge=0, description=_PLACE)
    side: records.Side | None = Field(None, description="The patient's; absent where it is not known.")
    zone: records.Zone | None = Field(None, description="Which third of the lung; absent where it is not known.")
    box: Box = Field(description="Where the evidence lies.")


class Finding(BaseModel):
    """The model's word on one finding, calibrated, and the decision at its threshold."""

    name: str
    probability: float
    present: bool
    threshold: float = Field(description="The probability from which on it may be called present.")
    locations: list[Location] | None = Field(None, description="Of a finding that is present, as far as known.")

    @classmethod
    def of(cls, finding: records.Finding, images: Sequence[DecodedImage]) -> Finding:
        """A finding with its boxes in the pixels of the images."""
        locations = [
            Location(image=one.image, side=one.side, zone=one.zone, box=Box.over(images[one.image], one.box))
            for one in finding.locations
        ]
        return cls(
            name=finding.name,
            probability=finding.probability,
            present=finding.present,
            threshold=finding.threshold,
            locations=locations or None,
        )


class Measurement(BaseModel):
    """Something measured in one image."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["cardiothoracic_ratio"])
    value: float
    image: int = Field(ge=0, description=_PLACE)
