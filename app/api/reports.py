"""POST /v1/report: a study in, a draft report out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from app.api.answers import DICOM, FHIR, PDF, PLAIN, TEXT, Form, first_choice, form_for, write
from app.api.auth import let_in
from app.api.decoding import PROBLEMS as FILE_PROBLEMS
from app.api.decoding import decode_files
from app.api.file_route import FileRoute
from app.api.headers import MODEL_SHA256, NO_STORE, joined
from app.api.leaving import unless_client_leaves
from app.api.options import ReportOptions, parse_options
from app.api.request_slot import RequestSlot
from app.api.schemas import ReportResponse, problem_responses
from app.api.service import Service, service_of
from app.api.study_reference import PROBLEMS as REFERENCE_PROBLEMS
from app.api.study_reference import StudyReference, fetch_study
from app.api.uploads import UploadLimits, receive_upload
from app.images.decode import DecodedImage
from app.images.pool import DecodePool
from app.inference.served_model import ServedModel
from app.report import Report
from app.telemetry import Metrics

router = APIRouter(prefix="/v1", tags=["report"], route_class=FileRoute)

_PROBLEMS = problem_responses(
    *FILE_PROBLEMS, "not-acceptable", "not-a-chest-xray", "no-usable-view", *REFERENCE_PROBLEMS
)

_STRING = {"schema": {"type": "string"}}
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_HEADERS = {MODEL_SHA256: {"description": "The checkpoint that the report is of.", **_STRING}}
_OTHER_FORMS = {TEXT: _STRING, PDF: _BYTES, FHIR: {"schema": {"type": "object"}}, DICOM: _BYTES}


@router.post(
    "/report",
    response_model=ReportResponse,
    responses={200: {"content": _OTHER_FORMS, "headers": _HEADERS}, **_PROBLEMS},
)
async def create_report(request: Request) -> Response:
    """Drafts the report of one study of one to four images. Research use only. Not for clinical use."""
    service = service_of(request)
    await let_in(request, service)
    accept = joined(request.headers, "accept")
    first_choice(accept)
    model, decoder = service.working_parts()
    settings = service.settings
    limits = UploadLimits(
        settings.max_body_bytes, settings.max_image_bytes, service.max_images, settings.receive_deadline_seconds
    )
    async with service.admit() as slot:
        started = time.monotonic()
        upload = await receive_upload(request, limits, slot.hold_chunk)
        slot.files = upload.images
        service.metrics.stage("receive", time.monotonic() - started)
        options = parse_options(request.query_params.multi_items(), upload.fields, model)
        work = _report(service, slot, model, decoder, options, accept, upload.reference)
        return await unless_client_leaves(request, work)


async def _fetch(service: Service, slot: RequestSlot, reference: StudyReference) -> None:
    started = time.monotonic()
    slot.files = await fetch_study(service, reference, slot.hold_chunk)
    service.metrics.stage("fetch", time.monotonic() - started)


async def _report(
    service: Service,
    slot: RequestSlot,
    model: ServedModel,
    decoder: DecodePool,
    options: ReportOptions,
    accept: str,
    reference: StudyReference | None,
) -> Response:
    """Fetches what is only named, decodes, generates and writes the answer, within the request's deadline."""
    started = time.monotonic()
    seconds = service.settings.request_deadline_seconds
    # The engine keeps the deadline itself; the timeout stands behind it should the engine hang.
    async with asyncio.timeout(seconds):
        if reference is not None:
            await _fetch(service, slot, reference)
        async with slot.queueing():
            decoding = time.monotonic()
            images = await decode_files(slot, decoder)
            decode_seconds = time.monotonic() - decoding
            service.metrics.stage("decode", decode_seconds)
            form = await _form(accept, images)
            to_come = slot.submit(
                [image.pixels for image in images],
                options.decoding,
                started + seconds,
                operating_point=options.operating_point,
                heatmaps="heatmaps" in options.include,
            )
        report = await to_come
        _count(report, options, service.metrics)
        answer = ReportResponse.of(
            report,
            images,
            options,
            model,
            decode_seconds=decode_seconds,
            total_seconds=time.monotonic() - started,
        )
        return await _written(service, form, answer, images, options)


async def _form(accept: str, images: Sequence[DecodedImage]) -> Form:
    """What it is answered as, before the engine works for it. Reading headers takes a thread."""
    liked = first_choice(accept)
    return Form(liked) if liked in PLAIN else await asyncio.to_thread(form_for, accept, images)


async def _written(
    service: Service, form: Form, answer: ReportResponse, images: Sequence[DecodedImage], options: ReportOptions
) -> Response:
    """The answer in its form; what is drawn or built is so beside the event loop."""
    if form.media_type in PLAIN:
        content = write(form, answer, images, options)
    else:
        started = time.monotonic()
        content = await asyncio.to_thread(write, form, answer, images, options)
        service.metrics.stage("write", time.monotonic() - started)
    charset = "; charset=utf-8" if form.media_type == TEXT else ""
    headers = {**NO_STORE, MODEL_SHA256: answer.model.sha256}
    return Response(content, media_type=form.media_type + charset, headers=headers)


def _count(report: Report, options: ReportOptions, metrics: Metrics) -> None:
    """What is seen, for whoever watches that it stays what it was."""
    present = [finding.name for finding in report.findings if finding.present]
    abnormal = report.abnormal.present if report.abnormal else bool(present)
    metrics.reported(abnormal, present, options.operating_point)
