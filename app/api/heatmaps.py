"""Heatmaps as the API answers them: small grids, and the boxes that lay them on the images as they were sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field

from app import report as records
from app.api.boxes import Box
from app.api.options import ReportOptions
from app.images.decode import DecodedImage

_MAP = {
    "image": 0,
    "levels": [[3, 9, 4], [21, 255, 90], [12, 160, 48]],
    "scale": 0.42,
    "box": {"left": -395.1, "top": -172.7, "right": 2098.1, "bottom": 2323.3},
}
EXAMPLE: Any = {
    "findings": [{"name": "cardiomegaly", "maps": [_MAP]}],
    "sentences": [
        {
            "section": "findings",
            "text": "The heart is normal in size.",
            "source": "evidence",
            "findings": ["cardiomegaly"],
            "maps": [_MAP],
        }
    ],
}


class Heatmap(BaseModel):
    """Where the model looked in one image: a grid whose cells divide the box evenly."""

    image: int = Field(ge=0, description="Place of the image in `images`, from 0.")
    levels: list[list[Annotated[int, Field(ge=0, le=255)]]] = Field(
        description="Rows from the top, from left to right."
    )
    scale: float = Field(description="The share that level 255 stands for; 255 is the highest of all images.")
    box: Box = Field(description="What the grid covers.")

    @classmethod
    def all_of(cls, maps: Iterable[records.Heatmap], images: Sequence[DecodedImage]) -> list[Heatmap]:
        """Heatmaps with their boxes in the pixels of the images."""
        return [
            cls(
                image=one.image,
                levels=[list(row) for row in one.levels],
                scale=one.scale,
                box=Box.over(images[one.image], one.box),
            )
            for one in maps
        ]


class FindingHeatmaps(BaseModel):
    """Where the evidence for a finding lies: shares that sum to 1 over each image. Nearly even ones say nothing."""

    name: str
    maps: list[Heatmap]


class SentenceHeatmaps(BaseModel):
    """Where the model looked for a sentence: the evidence for the findings it names, or else the decoder's attention,
    as shares of all attention."""

    section: str
    text: str
    source: records.HeatmapSource
    findings: list[str]
    maps: list[Heatmap]


class Heatmaps(BaseModel):
    """Heatmaps of every finding and of every sentence of the report."""

    findings: list[FindingHeatmaps]
    sentences: list[SentenceHeatmaps]

    @classmethod
    def of(cls, heatmaps: records.Heatmaps, images: Sequence[DecodedImage], options: ReportOptions) -> Heatmaps:
        """Those of the chosen sections."""
        return cls(
            findings=[
                FindingHeatmaps(name=one.name, maps=Heatmap.all_of(one.maps, images)) for one in heatmaps.findings
            ],
            sentences=[
                SentenceHeatmaps(
                    section=one.section,
                    text=one.text,
                    source=one.source,
                    findings=list(one.findings),
                    maps=Heatmap.all_of(one.maps, images),
                )
                for one in heatmaps.sentences
                if one.section in options.sections
            ],
        )
