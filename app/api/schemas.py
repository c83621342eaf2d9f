"""What the API answers, as pydantic models: the contract, its documentation and its examples."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app import report as records
from app.api import problems
from app.api.findings import EXAMPLE as FINDINGS_EXAMPLE
from app.api.findings import Abnormal, Finding, Measurement
from app.api.heatmaps import EXAMPLE as HEATMAPS_EXAMPLE
from app.api.heatmaps import Heatmaps
from app.api.options import ReportOptions
from app.images.decode import DecodedImage
from app.inference.served_model import ServedModel

OptionValues = dict[str, bool | int | float | str | list[str]]


class Health(BaseModel):
    """It is well; otherwise there is a problem document."""

    status: Literal["ok"]


class ProblemDocument(BaseModel):
    """An error, by RFC 9457."""

    type: str = Field(examples=["invalid-options"])
    title: str = Field(examples=["An option is not valid."])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["num_beams must be from 1 to 8"])
    instance: str = Field(examples=["/v1/report"])
    request_id: str = Field(examples=["6f1c2f0a5d1b4a0e9f1f3e8a7c2b1d00"])


def problem_responses(*types: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route that may answer with these problems, in the table's order."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for name in sorted(types, key=list(problems.TABLE).index):
        status = problems.TABLE[name][0]
        content = {problems.MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}}
        entry = by_status.setdefault(status, {"description": "", "content": content})
        entry["description"] = ", ".join(filter(None, (entry["description"], name)))
    return by_status


class ModelIdentity(BaseModel):
    """Which checkpoint wrote a report."""

    name: str
    version: str
    sha256: str


class Hypothesis(BaseModel):
    """One report text. With include=tokens, also what its score is made of."""

    text: str = Field(description="The chosen sections, one after the other.")
    sections: dict[str, str]
    score: float = Field(description="Sum of the tokens' log probabilities / tokens ** length_penalty.")
    tokens: int = Field(description="Tokens generated, the end of sequence included.")
    finish_reason: records.FinishReason
    token_texts: list[str] | None = Field(None, description="Of the whole hypothesis, every section.")
    token_log_probabilities: list[float] | None = None

    @classmethod
    def of(cls, hypothesis: records.Hypothesis, options: ReportOptions) -> Hypothesis:
        """The chosen sections of a hypothesis."""
        sections = {name: hypothesis.sections[name] for name in options.sections if name in hypothesis.sections}
        with_tokens = "tokens" in options.include
        return cls(
            text="\n\n".join(sections.values()),
            sections=sections,
            score=hypothesis.score,
            tokens=hypothesis.tokens,
            finish_reason=hypothesis.finish_reason,
            token_texts=list(hypothesis.token_texts) if with_tokens else None,
            token_log_probabilities=list(hypothesis.token_log_probabilities) if with_tokens else None,
        )


class Sentence(BaseModel):
    """One sentence of the report, and what it is about."""

    model_config = ConfigDict(from_attributes=True)

    section: str
    text: str
    findings: list[str] = Field(description="Those of `findings` that it names, affirming or denying them.")
    warnings: list[str] = Field(description="Those of `warnings` that are about it.")


class Image(BaseModel):
    """One image as it was read. Width and height are the file's, upright."""

    format: str
    width: int
    height: int
    view: str = Field(description="The projection the model takes it for.")
    view_probability: float
    read: bool = Field(description="Whether the model has learnt that view: what it has not, it does not read.")
    sha256: str


class Timing(BaseModel):
    """Milliseconds; the total runs from the last byte of the request."""

    decode_ms: float
    queue_ms: float
    encode_ms: float
    generate_ms: float
    total_ms: float


class ReportResponse(BaseModel):
    """A draft report of one study."""

    id: str
    created: datetime
    model: ModelIdentity
    report: Hypothesis
    alternatives: list[Hypothesis] | None = Field(None, description="With include=alternatives: the other hypotheses.")
    abnormal: Abnormal | None = Field(None, description="Absent where the checkpoint does not say.")
    findings: list[Finding]
    measurements: list[Measurement] | None = Field(None, description="Absent where nothing could be measured.")
    images: list[Image]
    options: OptionValues = Field(description="Every option in effect, given or not.")
    warnings: list[str]
    sentences: list[Sentence] | None = Field(None, description="With include=sentences: those of the report.")
    heatmaps: Heatmaps | None = Field(None, description="With include=heatmaps.")
    timing: Timing
    disclaimer: str = records.DISCLAIMER

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "0b9c7f0e-3f6f-4b1e-9d0c-2f9a0d7f4c11",
                "created": "2026-01-31T12:00:00Z",
                "model": {"name": "xray-report", "version": "1.0.0", "sha256": "9f86d081884c7d65…"},
                "report": {
                    "text": "The heart is normal in size. There is a left pleural effusion.\n\nLeft effusion.",
                    "sections": {
                        "findings": "The heart is normal in size. There is a left pleural effusion.",
                        "impression": "Left effusion.",
                    },
                    "score": -0.42,
                    "tokens": 18,
                    "finish_reason": "eos",
                },
                **FINDINGS_EXAMPLE,
                "images": [
                    {
                        "format": "PNG",
                        "width": 2048,
                        "height": 2496,
                        "view": "frontal",
                        "view_probability": 0.99,
                        "read": True,
                        "sha256": "60303ae22b998861…",
                    }
                ],
                "options": {"num_beams": 3, "length_penalty": 1.0, "operating_point": "balanced"},
                "warnings": ["The report does not mention what the finding head calls present: nodule 61%."],
                "sentences": [
                    {
                        "section": "impression",
                        "text": "Left effusion.",
                        "findings": ["pleural effusion"],
                        "warnings": [],
                    }
                ],
                "heatmaps": HEATMAPS_EXAMPLE,
                "timing": {
                    "decode_ms": 21.0,
                    "queue_ms": 0.4,
                    "encode_ms": 18.2,
                    "generate_ms": 95.1,
                    "total_ms": 136.0,
                },
                "disclaimer": records.DISCLAIMER,
            }
        }
    )

    @classmethod
    def of(
        cls,
        report: records.Report,
        images: Sequence[DecodedImage],
        options: ReportOptions,
        model: ServedModel,
        *,
        decode_seconds: float,
        total_seconds: float,
    ) -> ReportResponse:
        """The answer made of what each layer had to say."""
        best, *others = (Hypothesis.of(hypothesis, options) for hypothesis in report.hypotheses)
        return cls(
            id=str(uuid.uuid4()),
            created=datetime.now(UTC),
            model=ModelIdentity(name=model.name, version=model.version, sha256=model.sha256),
            report=best,
            alternatives=others if "alternatives" in options.include else None,
            abnormal=Abnormal.model_validate(report.abnormal) if report.abnormal else None,
            findings=[Finding.of(finding, images) for finding in report.findings],
            measurements=[Measurement.model_validate(one) for one in report.measurements] or None,
            images=[
                Image(
                    format=image.format,
                    width=image.width,
                    height=image.height,
                    view=guess.view,
                    view_probability=guess.probability,
                    read=guess.read,
                    sha256=image.sha256,
                )
                for image, guess in zip(images, report.views, strict=True)
            ],
            options=options.as_dict(),
            warnings=[*_image_warnings(images), *_view_warnings(images, report.views), *report.warnings],
            sentences=[Sentence.model_validate(one) for one in report.sentences if one.section in options.sections]
            if "sentences" in options.include
            else None,
            heatmaps=Heatmaps.of(report.heatmaps, images, options) if report.heatmaps else None,
            timing=Timing(
                decode_ms=round(decode_seconds * 1e3, 3),
                queue_ms=round(report.timing.queue_ms, 3),
                encode_ms=round(report.timing.encode_ms, 3),
                generate_ms=round(report.timing.generate_ms, 3),
                total_ms=round(total_seconds * 1e3, 3),
            ),
        )

    def as_json(self) -> str:
        """JSON without the members that were not asked for, or that the checkpoint has no part for."""
        return self.model_dump_json(exclude_none=True)

    def as_text(self) -> str:
        """The report for reading: a heading a section, warnings, and what it must not be used for."""
        parts = [f"{name.upper()}\n{text}" for name, text in self.report.sections.items()]
        parts += [f"Warning: {warning}" for warning in self.warnings]
        return "\n\n".join([*parts, self.disclaimer]) + "\n"


def _view_warnings(images: Sequence[DecodedImage], guesses: Sequence[records.ViewGuess]) -> list[str]:
    """Where a header and the model differ. The model decides what is read: headers are typed by hand, and a picture is
    reported on the same way whether it comes as PNG or as DICOM."""
    return [
        f"Image {i}: its header calls it a {image.view} view, but the model takes it for a {guess.view} one "
        f"(probability {guess.probability:.2g}) and {'read' if guess.read else 'did not read'} it as that."
        for i, (image, guess) in enumerate(zip(images, guesses, strict=True), 1)
        if image.view and image.view != guess.view
    ]


def _image_warnings(images: Collection[DecodedImage]) -> list[str]:
    return [f"Image {i}: {note}." for i, image in enumerate(images, 1) for note in image.warnings]
