"""What Schemathesis cannot know of the API: what an image is, and how options depend on each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.openapi.checks import RejectedPositiveData

from app.inference.options import MAX_BEAMS
from tests.app.dicom_phantoms import dicom
from tests.app.pictures import jpeg, phantom, png

_SIDES = st.integers(1, 200)
_PHANTOMS = st.builds(phantom, _SIDES, _SIDES, st.integers(0, 99))
schemathesis.openapi.media_type("image/png", _PHANTOMS.map(png))
schemathesis.openapi.media_type("image/jpeg", _PHANTOMS.map(jpeg))
schemathesis.openapi.media_type("application/dicom", _PHANTOMS.map(lambda picture: dicom(np.asarray(picture))))
schemathesis.openapi.media_type("application/octet-stream", _PHANTOMS.map(png))


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Leaves options to the query: a form knows strings only, and must not contradict the query."""
    body = raw_schema["paths"]["/v1/report"]["post"]["requestBody"]
    properties = body["content"]["multipart/form-data"]["schema"]["properties"]
    for name in set(properties) - {"image"}:
        del properties[name]


@schemathesis.hook
def map_query(context: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
    """Makes options agree that are right each by itself: OpenAPI has no words for one bounding another."""
    if query:
        _bound(query, "num_return_sequences", query.get("num_beams", 1), least=1, most=MAX_BEAMS)
        _bound(query, "min_new_tokens", query.get("max_new_tokens", 0), least=0, most=10**6)
    return query


def _bound(query: dict[str, Any], name: str, bound: object, *, least: int, most: int) -> None:
    value = query.get(name)
    if isinstance(value, int) and isinstance(bound, int) and least <= bound < value <= most:
        query[name] = bound


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """The same for the cases of the coverage phase, which do not pass `map_query`; and one form in ten thousand is said
    to lack the image that it was sent with, and nothing else."""
    if isinstance(failure, AcceptedNegativeData) and "in body - violates `required`" in failure.message:
        sent = response.request.body
        return not (isinstance(sent, bytes) and sent.count(b' name="') == sent.count(b' name="image"') == 1)
    bounded = ("must be from 1 to num_beams", "must be from 0 to max_new_tokens")
    rejected = isinstance(failure, RejectedPositiveData) and response.status_code == 422
    return not (rejected and response.json()["detail"].endswith(bounded))


@schemathesis.check
def errors_are_problem_documents(context: Any, response: Any, case: Any) -> None:
    """Every error is problem+json, documented or not, and is not cut short."""
    if response.status_code >= 400 and case.method != "HEAD":
        assert response.headers["content-type"] == ["application/problem+json"]
        problem = response.json()
        assert set(problem) == {"type", "title", "status", "detail", "instance", "request_id"}
        assert problem["status"] == response.status_code
