"""POST /v1/preview: one image file in, a picture of it out, for pages whose browser reads no DICOM."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request, Response

from app.api.auth import let_in
from app.api.decoding import PROBLEMS as FILE_PROBLEMS
from app.api.decoding import decode_files
from app.api.file_route import FileRoute
from app.api.headers import NO_STORE
from app.api.leaving import unless_client_leaves
from app.api.problems import Problem
from app.api.request_slot import RequestSlot
from app.api.schemas import problem_responses
from app.api.service import Service, service_of
from app.api.uploads import Upload, UploadLimits, receive_upload
from app.images.preview import preview_png

router = APIRouter(prefix="/v1", tags=["preview"], route_class=FileRoute)

_PNG = "image/png"
_PROBLEMS = problem_responses(*FILE_PROBLEMS)


@router.post(
    "/preview",
    response_class=Response,
    responses={200: {"content": {_PNG: {"schema": {"type": "string", "format": "binary"}}}}, **_PROBLEMS},
)
async def create_preview(request: Request) -> Response:
    """One file as it is looked at: upright, in 8 bits of grey, at most 2048 pixels a side, as PNG.

    It is no report and needs no model: a file is decoded under the limits that those of a report are.
    """
    service = service_of(request)
    await let_in(request, service)
    if request.query_params:
        raise _no_options()
    settings = service.settings
    limits = UploadLimits(settings.max_body_bytes, settings.max_image_bytes, 1, settings.receive_deadline_seconds)
    async with service.hold() as slot:
        upload = await receive_upload(request, limits, slot.hold_chunk)
        _check(upload)
        slot.files = upload.images
        return await unless_client_leaves(request, _preview(service, slot))


async def _preview(service: Service, slot: RequestSlot) -> Response:
    if service.decoder is None:
        raise service.unavailable()
    async with asyncio.timeout(service.settings.request_deadline_seconds):
        started = time.monotonic()
        (image,) = await decode_files(slot, service.decoder)
        content = await asyncio.to_thread(preview_png, image)
        service.metrics.stage("preview", time.monotonic() - started)
    return Response(content, media_type=_PNG, headers=NO_STORE)


def _check(upload: Upload) -> None:
    if upload.reference is not None:
        raise Problem("unsupported-media-type", "A preview is made of a file, not of a study's name.")
    if upload.fields:
        raise _no_options()


def _no_options() -> Problem:
    return Problem("invalid-options", "A preview has no options.")
