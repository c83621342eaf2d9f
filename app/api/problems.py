"""Errors as RFC 9457 problem documents: one table of types, one way out. Never an echo of what was sent."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from app.images.errors import DecodeError
from app.images.sandbox import WorkerStartError
from app.inference.errors import DeadlineExceededError, GenerationError, NoUsableViewError
from app.inference.ood import NotAChestXrayError
from app.inference.options import InvalidOptionError
from app.telemetry import request_context

MEDIA_TYPE = "application/problem+json"

TABLE: Mapping[str, tuple[int, str]] = {
    "malformed-request": (400, "The request cannot be read."),
    "unauthorized": (401, "An API key is required."),
    "not-found": (404, "There is nothing at this address."),
    "study-not-found": (404, "The DICOMweb server does not have the study or series."),
    "method-not-allowed": (405, "This address does not take this method."),
    "not-acceptable": (406, "The answer cannot be given in a form the Accept header asks for."),
    "request-timeout": (408, "The request took too long to arrive."),
    "payload-too-large": (413, "The request is too large."),
    "image-too-large": (413, "An image is too large to decode."),
    "unsupported-media-type": (415, "The format is not supported."),
    "unsupported-transfer-syntax": (415, "A DICOM file is encoded in a way that is not supported."),
    "invalid-options": (422, "An option is not valid."),
    "corrupt-image": (422, "An image is damaged or incomplete."),
    "dicomweb-not-configured": (422, "The service fetches no studies."),
    "no-pixel-data": (422, "A DICOM file holds no image."),
    "multi-frame": (422, "A DICOM file holds several frames."),
    "unsupported-modality": (422, "A DICOM file is not a radiograph."),
    "not-a-chest-xray": (422, "An image is not a chest X-ray."),
    "no-usable-view": (422, "No image shows a view that the model reads."),
    "rate-limited": (429, "This client sends too many requests."),
    "client-closed-request": (499, "The client left before its answer."),
    "internal-error": (500, "The service failed."),
    "dicomweb-failed": (502, "The DICOMweb server is away, or answers with something else than DICOMweb."),
    "dicomweb-busy": (503, "The DICOMweb server is at its limit."),
    "dicomweb-timeout": (504, "The DICOMweb server took too long."),
    "overloaded": (503, "The service is at its limit."),
    "model-not-ready": (503, "The model is not ready."),
    "draining": (503, "The service is shutting down."),
    "deadline-exceeded": (504, "The report was not done in time."),
}
_TYPE_OF_STATUS = {404: "not-found", 405: "method-not-allowed", 406: "not-acceptable", 413: "payload-too-large"}


class Problem(Exception):  # noqa: N818  # RFC 9457's own word
    """Ends a request with an error of the table. `detail` must be our own words, never the client's."""

    def __init__(self, type: str, detail: str | None = None, headers: Mapping[str, str] | None = None) -> None:  # noqa: A002  # the RFC's name
        self.type = type
        self.status, self.title = TABLE[type]
        self.detail = detail or self.title
        self.headers = dict(headers or {})
        super().__init__(type)


def problem_from(error: Exception) -> Problem:
    """The problem an error of the layers below means to a client."""
    match error:
        case Problem():
            return error
        case DecodeError():
            return Problem(error.type, str(error))
        case InvalidOptionError():
            return Problem("invalid-options", str(error))
        case NotAChestXrayError():
            return Problem("not-a-chest-xray", str(error))
        case NoUsableViewError():
            return Problem("no-usable-view", str(error))
        case WorkerStartError():  # too many processes, or too little memory
            return Problem("overloaded", headers={"Retry-After": "5"})
        case DeadlineExceededError() | TimeoutError():
            return Problem("deadline-exceeded")
        case GenerationError():
            return Problem("internal-error", "The report could not be generated.")
        case RequestValidationError():
            return Problem("invalid-options")
        case HTTPException():
            fallback = "malformed-request" if error.status_code < 500 else "internal-error"
            return Problem(_TYPE_OF_STATUS.get(error.status_code, fallback), headers=error.headers)
    return Problem("internal-error")


def problem_document(problem: Problem, route: str) -> dict[str, str | int]:
    """The members of RFC 9457. `route` stands for the path, which may be an echo."""
    return {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": route,
        "request_id": request_context.get().get("request_id", ""),
    }


def problem_response(request: Request, error: Exception) -> Response:
    """The answer to `error`."""
    problem = problem_from(error)
    content = problem_document(problem, getattr(request.scope.get("route"), "path", "/"))
    request.scope["problem"] = problem.type  # for the log and the metrics
    return JSONResponse(content, problem.status, problem.headers, MEDIA_TYPE)


async def _handle(request: Request, error: Exception) -> Response:  # async, or Starlette calls it in a thread
    return problem_response(request, error)


def install_problems(app: FastAPI) -> None:
    """Answers every error the routes raise with a problem document; what is unforeseen goes up to the middleware."""
    for error in (
        Problem,
        DecodeError,
        InvalidOptionError,
        NotAChestXrayError,
        NoUsableViewError,
        DeadlineExceededError,
        GenerationError,
        WorkerStartError,
        TimeoutError,
        RequestValidationError,
        HTTPException,
    ):
        app.add_exception_handler(error, _handle)
