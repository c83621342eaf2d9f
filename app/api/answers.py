"""The forms a report is answered in, all of them made of one `ReportResponse`: which one it is to be, and its bytes.

What writes FHIR, PDF and DICOM is imported when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from app.api.findings import Finding as SaidFinding
from app.api.negotiation import negotiate
from app.api.options import ReportOptions
from app.api.problems import Problem
from app.api.schemas import ReportResponse
from app.images.decode import DecodedImage
from app.interop.draft import Draft, Finding, Place, SourceImage
from app.report import Measurement

if TYPE_CHECKING:
    from app.interop.source import Source

JSON, TEXT, PDF, FHIR, DICOM = FORMS = (
    "application/json",
    "text/plain",
    "application/pdf",
    "application/fhir+json",
    "application/dicom",
)
PLAIN = (JSON, TEXT)
"""Those that are there at once, whatever the images are."""
EXTRA = "hospital"
# What each form needs of that extra.
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    PDF: ("reportlab", "arabic_reshaper"),
    FHIR: ("fhir.resources",),
    DICOM: ("highdicom", "reportlab", "arabic_reshaper"),
}


@dataclass(frozen=True, slots=True)
class Form:
    """What a report is answered as, and the study it is about where that is known and matters."""

    media_type: str
    source: Source | None = None


def first_choice(accept: str) -> str:
    """The form that an Accept header likes best. Raises the problem `not-acceptable` where it likes none there is."""
    if liked := negotiate(accept, _installed()):
        return liked
    if missing := negotiate(accept, FORMS):
        raise Problem("not-acceptable", f"{missing} needs the extra `{EXTRA}`, which is not installed.")
    raise Problem("not-acceptable", f"A report comes as {', '.join(FORMS[:-1])} or {DICOM}.")


def form_for(accept: str, images: Sequence[DecodedImage]) -> Form:
    """The form that an Accept header likes best of those there are for these images.

    Raises the problem `not-acceptable`, saying why.
    """
    source, reason = _source(images)
    refused = (PDF, FHIR, DICOM) if reason else () if source and source.identified else (DICOM,)
    media_type = negotiate(accept, tuple(offer for offer in _installed() if offer not in refused))
    if media_type is None and reason:
        raise Problem("not-acceptable", f"Such an answer is of one patient and study, but {reason}.")
    if media_type is None:
        raise Problem(
            "not-acceptable", f"{DICOM} is answered to DICOM files alone, which name study, series and image."
        )
    return Form(media_type, source)


def write(form: Form, answer: ReportResponse, images: Sequence[DecodedImage], options: ReportOptions) -> bytes:
    """The answer in its form. It takes a while for all but JSON and text: not to be called on the event loop."""
    if form.media_type == JSON:
        return answer.as_json().encode()
    if form.media_type == TEXT:
        return answer.as_text().encode()
    draft = _draft(form, answer, images, options)
    if form.media_type == FHIR:
        from app.interop.fhir import diagnostic_report

        return diagnostic_report(draft, form.source, answer.as_text())
    if form.media_type == DICOM and options.object == "sr":
        from app.interop.structured_report import structured_report

        assert form.source  # noqa: S101  # without one it is not on offer
        return structured_report(draft, form.source)
    from app.interop.page.page import make_page

    page = make_page(draft, form.source)
    if form.media_type == PDF:
        return page
    from app.interop.encapsulated_pdf import encapsulated_pdf

    assert form.source  # noqa: S101  # as above
    return encapsulated_pdf(draft, form.source, page)


@cache
def _installed() -> tuple[str, ...]:
    """The forms that nothing lacks for. Looking for packages asks the disk: once is enough."""
    return tuple(form for form in FORMS if all(map(_there, _PACKAGES.get(form, ()))))


def _there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False


def _source(images: Sequence[DecodedImage]) -> tuple[Source | None, str]:
    """The study of DICOM images, or None; and why there is none where the images contradict each other."""
    if any(image.header is None for image in images):
        return None, ""
    from app.images.dicom.header import read_header
    from app.interop.errors import NotExpressibleError
    from app.interop.source import Source

    try:
        return Source.of([read_header(image.header) for image in images if image.header is not None]), ""
    except NotExpressibleError as error:
        return None, str(error)


def _draft(form: Form, answer: ReportResponse, images: Sequence[DecodedImage], options: ReportOptions) -> Draft:
    uids = [one.sop_instance_uid for one in form.source.instances] if form.source else [""] * len(images)
    return Draft(
        id=answer.id,
        created=answer.created,
        model_name=answer.model.name,
        model_version=answer.model.version,
        model_sha256=answer.model.sha256,
        sections=answer.report.sections,
        abnormal=Finding("abnormal", answer.abnormal.probability, answer.abnormal.present) if answer.abnormal else None,
        findings=tuple(map(_finding, answer.findings)),
        measurements=tuple(Measurement(one.name, one.value, one.image) for one in answer.measurements or ()),
        images=tuple(
            SourceImage(
                pixels=image.pixels,
                region=image.region,
                width=image.width,
                height=image.height,
                format=image.format,
                sha256=image.sha256,
                identity=uid or image.sha256,
                view=said.view,
                view_probability=said.view_probability,
                read=said.read,
            )
            for image, said, uid in zip(images, answer.images, uids, strict=True)
        ),
        options=options.of_report(),
        warnings=tuple(answer.warnings),
        disclaimer=answer.disclaimer,
    )


def _finding(said: SaidFinding) -> Finding:
    places = tuple(
        Place(one.image, one.side, one.zone, (one.box.left, one.box.top, one.box.right, one.box.bottom))
        for one in said.locations or ()
    )
    return Finding(said.name, said.probability, said.present, said.threshold, places)
