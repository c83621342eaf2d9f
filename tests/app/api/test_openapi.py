"""The OpenAPI document is right: its examples fit its schemas, its ranges are those that are checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from app.api.problems import TABLE
from tests.app.conftest import client_of, running
from tests.conftest import ROOT

pytestmark = pytest.mark.anyio
URL = "/v1/report"


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    """The document of a running service."""
    answer: dict[str, Any] = (await client.get("/openapi.json")).json()
    return answer


def examples(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every schema that has an example, and the example."""
    if isinstance(node, dict):
        yield from ((node, example) for example in node.get("examples", []))
        if "example" in node:
            yield node, node["example"]
        for child in node.values():
            yield from examples(child)
    elif isinstance(node, list):
        for child in node:
            yield from examples(child)


def valid(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    """Whether a value is what a schema of the document describes."""
    whole = {**schema, "components": document["components"]}
    return bool(Draft202012Validator(whole).is_valid(value))


async def test_examples(document: dict[str, Any]) -> None:
    """Every example is valid by the schema it stands in."""
    found = list(examples(document))
    assert len(found) >= 7
    assert [example for schema, example in found if not valid(document, schema, example)] == []


async def test_answers_fit(client: httpx.AsyncClient, document: dict[str, Any], picture: bytes) -> None:
    """What is answered is what is documented, for success and for errors; the example has every member asked for, and
    those that this checkpoint has no part for."""
    responses = document["paths"][URL]["post"]["responses"]
    schema = responses["200"]["content"]["application/json"]["schema"]
    params = {"include": "alternatives,sentences,tokens,heatmaps"}
    answer = (await client.post(URL, files={"image": picture}, params=params)).json()
    assert valid(document, schema, answer)
    example = document["components"]["schemas"]["ReportResponse"]["example"]
    assert set(example) - set(answer) == {"abnormal", "measurements"}
    assert set(answer) - set(example) == {"alternatives"}
    problem = await client.post(URL, files={"image": b"no image"})
    schema = responses["415"]["content"]["application/problem+json"]["schema"]
    assert valid(document, schema, problem.json())


async def test_ranges(client: httpx.AsyncClient, document: dict[str, Any], picture: bytes) -> None:
    """At the bounds the document gives an option is taken, beyond them it is refused; the defaults are the model's."""
    defaults = (await client.get("/v1/model")).json()["default_options"]
    quick = {"num_beams": 8, "max_new_tokens": 2}
    for parameter in document["paths"][URL]["post"]["parameters"]:
        name, schema = parameter["name"], parameter["schema"]
        assert parameter["description"]
        assert schema.get("default", []) == defaults[name]
        step = 1 if schema.get("type") == "integer" else 0.01
        for bound, beyond in (("minimum", -step), ("maximum", step)):
            if bound in schema:
                inside = {**quick, "max_new_tokens": 40 if name == "min_new_tokens" else 2, name: schema[bound]}
                outside = {**inside, name: schema[bound] + beyond}
                assert (await client.post(URL, files={"image": picture}, params=inside)).status_code == 200, name
                assert (await client.post(URL, files={"image": picture}, params=outside)).status_code == 422, name


async def test_every_problem_of_a_report_is_documented(document: dict[str, Any]) -> None:
    """Each status of the table is among the responses, but those nobody sees and those of other parts."""
    documented = {int(status) for status in document["paths"][URL]["post"]["responses"]}
    elsewhere = {405, 499}
    assert documented == {200} | {status for status, _ in TABLE.values()} - elsewhere


async def test_errors_in_the_docs(document: dict[str, Any]) -> None:
    """docs/api.md lists the problems a report documents, and those of the frame, as the code has them."""
    responses = document["paths"][URL]["post"]["responses"].values()
    named = {name for response in responses for name in response["description"].split(", ")}
    named |= {"not-found", "method-not-allowed", "internal-error"}
    rows = [f"| {status} | `{name}` | {title} |" for name, (status, title) in TABLE.items() if name in named]
    table = "\n".join(["| status | type | meaning |", "|---|---|---|", *rows, ""])
    assert table in (ROOT / "docs" / "api.md").read_text()


async def test_keys(app: FastAPI, tiny_checkpoint: Path, document: dict[str, Any]) -> None:
    """The document asks for a key where the service does."""
    assert "securitySchemes" not in document["components"]
    hashes = hashlib.sha256(b"key").hexdigest()
    async with running(tiny_checkpoint, api_key_hashes=hashes) as locked, client_of(locked) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
        assert {path for path, methods in paths.items() if "security" in next(iter(methods.values()))} == {
            URL,
            "/v1/preview",
            "/v1/model",
        }


async def test_studies_can_be_named_where_there_is_a_server(tiny_checkpoint: Path, document: dict[str, Any]) -> None:
    """The document offers JSON only then."""
    kinds = document["paths"][URL]["post"]["requestBody"]["content"]
    assert "application/json" not in kinds
    async with running(tiny_checkpoint, dicomweb_url="http://127.0.0.1:1/dicom-web") as app, client_of(app) as client:
        body = (await client.get("/openapi.json")).json()["paths"][URL]["post"]["requestBody"]
    assert set(body["content"]) == {*kinds, "application/json"}
    assert list(body["content"]["application/json"]["schema"]["properties"]) == ["dicomweb"]


async def test_before_the_model_is_loaded(tiny_checkpoint: Path) -> None:
    """Until then the document is there, without the options."""
    from app.main import create_app
    from app.settings import load_settings

    async with client_of(create_app(load_settings(checkpoint=tiny_checkpoint))) as client:
        response = await client.get("/openapi.json")
        assert response.status_code == 200
        assert response.json()["paths"][URL]["post"]["parameters"] == []
