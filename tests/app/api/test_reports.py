"""POST /v1/report: the contract of the design, over the real engine."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from app.api.service import Service
from app.images.pool import DecodePool
from app.inference.generator import Generator
from app.report import DISCLAIMER
from tests.app.conftest import client_of, running
from tests.app.pictures import jpeg, phantom, png

pytestmark = pytest.mark.anyio
URL = "/v1/report"


async def post(client: httpx.AsyncClient, *pictures: bytes, **params: Any) -> httpx.Response:
    """A study as multipart, options in the query."""
    return await client.post(URL, files=[("image", ("x.png", picture)) for picture in pictures], params=params)


def options_of(problem: httpx.Response) -> str:
    assert problem.status_code == 422
    assert problem.headers["content-type"] == "application/problem+json"
    content = problem.json()
    assert content["type"] == "invalid-options"
    return str(content["detail"])


async def test_answer(client: httpx.AsyncClient, picture: bytes, tiny_sha256: str) -> None:
    """The answer has the members of the contract, no more and no less."""
    response = await post(client, picture)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    answer = response.json()
    assert list(answer) == [
        "id",
        "created",
        "model",
        "report",
        "findings",
        "images",
        "options",
        "warnings",
        "timing",
        "disclaimer",
    ]
    assert answer["model"] == {"name": "tiny", "version": "0", "sha256": tiny_sha256}
    assert set(answer["report"]) == {"text", "sections", "score", "tokens", "finish_reason"}
    assert [set(finding) for finding in answer["findings"]] == [{"name", "probability", "present", "threshold"}] * 3
    assert set(answer["images"][0]) == {"format", "width", "height", "view", "view_probability", "read", "sha256"}
    assert answer["images"][0]["sha256"] == hashlib.sha256(picture).hexdigest()
    assert (answer["images"][0]["width"], answer["images"][0]["height"]) == (64, 80)
    assert set(answer["timing"]) == {"decode_ms", "queue_ms", "encode_ms", "generate_ms", "total_ms"}
    assert answer["timing"]["total_ms"] >= answer["timing"]["generate_ms"] > 0
    assert answer["disclaimer"] == DISCLAIMER


async def test_same_as_the_generator(app: FastAPI, client: httpx.AsyncClient, picture: bytes) -> None:
    """What HTTP answers is what the generator says of the same pixels."""
    generator: Generator = app.state.service.generator
    options = generator.model.default_options.with_changes(num_beams=4, num_return_sequences=2)
    decoded = app.state.service.decoder.decode(picture).result()
    expected = await asyncio.wrap_future(generator.submit([decoded.pixels], options))
    answer = (await post(client, picture, num_beams=4, num_return_sequences=2, include="alternatives")).json()
    for got, wanted in zip([answer["report"], *answer["alternatives"]], expected.hypotheses, strict=True):
        assert got["sections"] == wanted.sections
        assert got["text"] == wanted.text
        assert got["score"] == pytest.approx(wanted.score)
        assert (got["tokens"], got["finish_reason"]) == (wanted.tokens, wanted.finish_reason)


async def test_heatmaps_lie_on_the_images_as_sent(client: httpx.AsyncClient) -> None:
    """In pixels of the file, though a large JPEG is decoded at a fraction of its size; only for chosen sections."""
    small, large = jpeg(phantom(100, 75)), jpeg(phantom(100, 75).resize((1500, 2000)))
    answer = (await post(client, small, large, include="heatmaps", sections="findings")).json()
    assert answer["options"]["include"] == ["heatmaps"]
    for looked in (*answer["heatmaps"]["findings"], *answer["heatmaps"]["sentences"]):
        assert [one["image"] for one in looked["maps"]] == [0, 1]
        assert [[len(row) for row in one["levels"]] for one in looked["maps"]] == [[2, 2], [2, 2]]
        boxes = [one["box"] for one in looked["maps"]]
        assert {side: value * 20 for side, value in boxes[0].items()} == pytest.approx(boxes[1], abs=2)
        assert boxes[1] == pytest.approx({"left": -734, "top": -484, "right": 1266, "bottom": 1516}, abs=1)
    assert {sentence["section"] for sentence in answer["heatmaps"]["sentences"]} <= {"findings"}


@pytest.mark.parametrize(("kind", "make"), [("image/png", png), ("image/jpeg", jpeg)])
async def test_raw_body(client: httpx.AsyncClient, kind: str, make: Any) -> None:
    """A raw body is an image, read by its content whatever type it is declared as."""
    for declared in ("image/png", "image/jpeg"):
        response = await client.post(URL, content=make(phantom()), headers={"content-type": declared})
        assert response.status_code == 200
        assert response.json()["images"][0]["format"] == kind.partition("/")[2].upper()


async def test_several_views(client: httpx.AsyncClient) -> None:
    """Up to four images make one study, described in the order sent."""
    pictures = [png(phantom(40 + i, shift=i)) for i in range(4)]
    answer = (await post(client, *pictures)).json()
    assert [image["height"] for image in answer["images"]] == [40, 41, 42, 43]


async def test_options_come_back_effective(client: httpx.AsyncClient, picture: bytes) -> None:
    """Every option is in the answer with the value in effect, given or not."""
    answer = (await post(client, picture, num_beams=2, early_stopping="never", length_penalty=0.5)).json()
    assert answer["options"] == {
        "num_beams": 2,
        "num_return_sequences": 1,
        "length_penalty": 0.5,
        "early_stopping": "never",
        "min_new_tokens": 0,
        "max_new_tokens": 40,
        "no_repeat_ngram_size": 0,
        "repetition_penalty": 1.0,
        "operating_point": "balanced",
        "sections": ["findings", "impression"],
        "include": [],
        "object": "sr",
    }


async def test_options_as_form_fields(client: httpx.AsyncClient, picture: bytes) -> None:
    """Form fields and query parameters mean the same; the same value in both is no contradiction."""
    form = {"num_beams": "2", "max_new_tokens": "5", "operating_point": "specific"}
    response = await client.post(URL, files={"image": picture}, data=form, params={"num_beams": 2})
    options = response.json()["options"]
    assert (options["num_beams"], options["max_new_tokens"], options["operating_point"]) == (2, 5, "specific")
    assert response.json()["report"]["tokens"] <= 5


async def test_contradicting_options(client: httpx.AsyncClient, picture: bytes) -> None:
    """An option that says one thing in the query and another in the form is an error."""
    response = await client.post(URL, files={"image": picture}, data={"num_beams": "2"}, params={"num_beams": 3})
    assert "num_beams" in options_of(response)


async def test_sentences(client: httpx.AsyncClient, picture: bytes) -> None:
    """They make up the sections, name findings of the head, and carry warnings of the report's."""
    params = {"include": "sentences,heatmaps"}
    answer = (await client.post(URL, files={"image": picture}, params=params)).json()
    for name, text in answer["report"]["sections"].items():
        assert " ".join(one["text"] for one in answer["sentences"] if one["section"] == name) == text
    known = {finding["name"] for finding in answer["findings"]}
    assert all(set(one["findings"]) <= known for one in answer["sentences"])
    assert all(set(one["warnings"]) <= set(answer["warnings"]) for one in answer["sentences"])
    mapped = [(one["section"], one["text"], one["findings"]) for one in answer["heatmaps"]["sentences"]]
    assert [(one["section"], one["text"], one["findings"]) for one in answer["sentences"]] == mapped
    one_section = params | {"sections": "impression"}
    answer = (await client.post(URL, files={"image": picture}, params=one_section)).json()
    assert {one["section"] for one in answer["sentences"]} <= {"impression"}
    assert "sentences" not in (await client.post(URL, files={"image": picture})).json()


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"num_beams": "9"}, "num_beams must be from 1 to 8"),
        ({"num_beams": "many"}, "num_beams must be a whole number"),
        ({"num_beams": ""}, "num_beams must be a whole number"),
        ({"num_beams": "9" * 5000}, "num_beams must be"),
        ({"num_beams": ["2", "3"]}, "num_beams is given more than once"),
        ({"length_penalty": "nan"}, "length_penalty must be"),
        ({"length_penalty": "inf"}, "length_penalty must be"),
        ({"early_stopping": "maybe"}, 'early_stopping must be true, false or "never"'),
        ({"num_return_sequences": "4"}, "num_return_sequences must be from 1 to num_beams"),
        ({"max_new_tokens": "41"}, "max_new_tokens must be at most 40"),
        ({"min_new_tokens": "41"}, "min_new_tokens must be from 0 to max_new_tokens"),
        ({"beam_size": "3"}, "unknown option beam_size"),
        ({"sections": "history"}, "sections takes findings, impression"),
        ({"sections": ""}, "sections must name at least one"),
        ({"include": "gradients"}, "include takes alternatives, sentences, tokens, heatmaps"),
        ({"operating_point": "best"}, "operating_point takes balanced, sensitive, specific"),
        ({"operating_point": ""}, "operating_point takes balanced, sensitive, specific"),
        ({"operating_point": "Balanced"}, "operating_point takes balanced, sensitive, specific"),
        ({"operating_point": "balanced,specific"}, "operating_point takes balanced, sensitive, specific"),
        ({"operating_point": ["balanced", "specific"]}, "operating_point is given more than once"),
    ],
)
async def test_bad_options(client: httpx.AsyncClient, picture: bytes, params: dict[str, Any], named: str) -> None:
    """An option that is unknown or out of range is an error that names it and what it takes."""
    assert named in options_of(await client.post(URL, files={"image": picture}, params=params))


async def test_errors_do_not_echo(client: httpx.AsyncClient, picture: bytes) -> None:
    """No error repeats a value that was sent, nor a name that is more than a name."""
    sent = "<script>John Doe"
    names = ("num_beams", "operating_point", "sections", "include")
    for params in ({sent: "1"}, *({name: sent} for name in names)):
        response = await client.post(URL, files={"image": picture}, params=params)
        assert response.status_code == 422
        assert "John" not in response.text
    assert "John" not in (await client.get("/John Doe")).text


async def test_alternatives(client: httpx.AsyncClient, picture: bytes) -> None:
    """include=alternatives gives the hypotheses beyond the first: as many as asked for, else all the beams."""
    answer = (await post(client, picture, num_beams=4, include="alternatives")).json()
    assert answer["options"]["num_return_sequences"] == 4
    scores = [answer["report"]["score"], *(other["score"] for other in answer["alternatives"])]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    answer = (await post(client, picture, num_beams=4, num_return_sequences=2, include="alternatives")).json()
    assert len(answer["alternatives"]) == 1


async def test_tokens(client: httpx.AsyncClient, picture: bytes) -> None:
    """include=tokens lists each token and its log probability; they add up to the score."""
    answer = (await post(client, picture, include="tokens,alternatives", length_penalty=1)).json()
    for hypothesis in (answer["report"], *answer["alternatives"]):
        probabilities = hypothesis["token_log_probabilities"]
        assert len(probabilities) == len(hypothesis["token_texts"]) == hypothesis["tokens"]
        assert sum(probabilities) / len(probabilities) == pytest.approx(hypothesis["score"], abs=1e-5)


async def test_sections(client: httpx.AsyncClient, picture: bytes) -> None:
    """sections chooses; the text is what was chosen."""
    whole = (await post(client, picture)).json()["report"]["sections"]
    for chosen in ("findings", "impression"):
        report = (await post(client, picture, sections=chosen)).json()["report"]
        assert report["sections"] == {name: text for name, text in whole.items() if name == chosen}
        assert report["text"] == whole.get(chosen, "")


async def test_plain_text(client: httpx.AsyncClient, picture: bytes) -> None:
    """Accept: text/plain gives the report for reading, the disclaimer included."""
    response = await client.post(URL, files={"image": picture}, headers={"accept": "text/plain"})
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    report = (await post(client, picture)).json()["report"]
    for name, text in report["sections"].items():
        assert f"{name.upper()}\n{text}\n" in response.text
    assert response.text.endswith(DISCLAIMER + "\n")


@pytest.mark.parametrize("accept", ["application/fhir+xml", "application/dicom", "image/png", "text/plain;q=0"])
async def test_not_acceptable(client: httpx.AsyncClient, picture: bytes, accept: str) -> None:
    """A form that is not offered is refused, in problem+json all the same."""
    response = await client.post(URL, files={"image": picture}, headers={"accept": accept})
    assert response.status_code == 406
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "not-acceptable"


@pytest.mark.parametrize(
    ("file", "status", "type_"),
    [
        (b"hello", 415, "unsupported-media-type"),
        (png(phantom())[:100], 422, "corrupt-image"),
        (b"", 422, "corrupt-image"),
    ],
)
async def test_bad_image(client: httpx.AsyncClient, picture: bytes, file: bytes, status: int, type_: str) -> None:
    """An image that cannot be used is refused, and the error says which of the study's it is."""
    response = await post(client, picture, file)
    assert (response.status_code, response.json()["type"]) == (status, type_)
    assert response.json()["detail"].startswith("Image 2: ")


async def test_image_warnings(client: httpx.AsyncClient, picture: bytes) -> None:
    """What decoding had to decide is in the warnings, with the image it concerns."""
    colour = png(Image.new("RGB", (90, 90), (200, 10, 10)))
    answer = (await post(client, picture, colour)).json()
    assert "Image 2: the image is in colour; it was converted to grey." in answer["warnings"]


async def test_too_many_pixels(tiny_checkpoint: Path, picture: bytes) -> None:
    """More pixels than the limit are 413."""
    async with running(tiny_checkpoint, max_pixels=1000) as app, client_of(app) as client:
        response = await post(client, picture)
        assert (response.status_code, response.json()["type"]) == (413, "image-too-large")


async def test_deadline(tiny_checkpoint: Path, picture: bytes) -> None:
    """A report that is not done in time is 504."""
    async with running(tiny_checkpoint, request_deadline_seconds=0.001) as app, client_of(app) as client:
        response = await post(client, picture)
        assert (response.status_code, response.json()["type"]) == (504, "deadline-exceeded")
        generator: Generator = app.state.service.generator
        while generator._engine.active_rows:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)


async def test_overload(tiny_checkpoint: Path) -> None:
    """More than the house holds is answered at once with 503 and Retry-After; whoever is in gets a report."""
    async with running(tiny_checkpoint, max_queue=4, max_rows=8, max_requests=12) as app, client_of(app) as client:
        pictures = [png(phantom(shift=i)) for i in range(24)]
        responses = await asyncio.gather(*(post(client, picture, num_beams=8) for picture in pictures))
        statuses = [response.status_code for response in responses]
        assert set(statuses) == {200, 503}
        for response in responses:
            if response.status_code == 503:
                assert response.json()["type"] == "overloaded"
                assert int(response.headers["retry-after"]) >= 1
        service: Service = app.state.service
        assert (service.slots, service.held_bytes) == (set(), 0)


async def test_full_house(tiny_checkpoint: Path, picture: bytes) -> None:
    """A full service refuses without reading, by the name of the route; whoever lacks a key is told that, not when to
    come back."""
    hash_ = hashlib.sha256(b"key").hexdigest()
    async with running(tiny_checkpoint, max_requests=1, api_key_hashes=hash_) as app, client_of(app) as client:
        service: Service = app.state.service

        async def unread() -> AsyncIterator[bytes]:
            raise AssertionError("the body was read")
            yield b""

        async with service.admit():
            assert (await client.post(URL, content=unread())).status_code == 401
            refused = await client.post(URL, content=unread(), headers={"authorization": "Bearer key"})
            assert (refused.status_code, refused.json()["type"]) == (503, "overloaded")
            assert refused.json()["instance"] == URL
            assert int(refused.headers["retry-after"]) >= 1
            assert (await client.get("/livez")).status_code == 200
        answer = await client.post(URL, files={"image": picture}, headers={"authorization": "Bearer key"})
        assert answer.status_code == 200
        route = f'xray_report_http_requests_total{{method="POST",route="{URL}",status="503"}} 1.0'
        assert route in (await client.get("/metrics")).text


async def test_buffered_bytes(tiny_checkpoint: Path, picture: bytes) -> None:
    """Uploads and the pixels in them together hold no more bytes than set."""
    async with running(tiny_checkpoint, max_buffered_bytes=10_000) as app, client_of(app) as client:
        large = png(Image.new("L", (101, 100)))
        assert len(large) < 1000
        for file in (picture + bytes(10_000), large):
            assert (await post(client, file)).json()["type"] == "overloaded"
            assert app.state.service.held_bytes == 0
        assert (await post(client, picture)).status_code == 200


async def test_no_worker(tiny_checkpoint: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no decode worker can be had that is the service's trouble, and may pass: 503."""
    async with running(tiny_checkpoint) as app, client_of(app) as client:
        pool: DecodePool = app.state.service.decoder
        seat = pool._seats.get()
        pool._seats.put(seat)
        seat.clear()
        with monkeypatch.context() as patch:
            patch.setattr("sys.executable", "/nowhere/python")
            response = await post(client, picture)
        assert (response.status_code, response.json()["type"]) == (503, "overloaded")
        assert (await post(client, picture)).status_code == 200


async def test_same_study_twice(client: httpx.AsyncClient) -> None:
    """A study sent again gets the same answer, alone or among others, but for ids and times."""
    study = [png(phantom(shift=3)), jpeg(phantom(90, 70, shift=4))]
    first = (await post(client, *study, include="alternatives,tokens")).json()
    others = (post(client, png(phantom(shift=i)), num_beams=i) for i in range(1, 7))
    again, *_ = await asyncio.gather(post(client, *study, include="alternatives,tokens"), *others)
    second = again.json()
    for answer in (first, second):
        for name in ("id", "created", "timing"):
            del answer[name]
    hypotheses = [[answer.pop("report"), *answer.pop("alternatives")] for answer in (first, second)]
    findings = [answer.pop("findings") for answer in (first, second)]
    for one, other in zip(*hypotheses, strict=True):
        for name in ("score", "token_log_probabilities"):
            assert one.pop(name) == pytest.approx(other.pop(name), abs=1e-4)
        assert one == other
    for one, other in zip(*findings, strict=True):
        assert one.pop("probability") == pytest.approx(other.pop("probability"), abs=1e-4)
        assert one == other
    for answer in (first, second):
        for image in answer["images"]:
            image["view_probability"] = round(image["view_probability"], 3)
    assert first == second


async def test_concurrent_answers_are_their_own(client: httpx.AsyncClient) -> None:
    """Thirty-two studies at once get the reports they get alone."""
    pictures = [png(phantom(shift=i)) for i in range(8)]
    alone = [(await post(client, picture)).json() for picture in pictures]
    together = await asyncio.gather(*(post(client, picture) for picture in pictures * 4))
    for answer, expected in zip((response.json() for response in together), alone * 4, strict=True):
        assert answer["images"][0]["sha256"] == expected["images"][0]["sha256"]
        assert answer["report"]["text"] == expected["report"]["text"]
        assert answer["report"]["score"] == pytest.approx(expected["report"]["score"], abs=1e-4)


async def test_client_leaves(app: FastAPI, client: httpx.AsyncClient, picture: bytes) -> None:
    """When the client leaves, its study is cancelled and logged as 499; the next one is served."""
    messages = iter(
        [
            {"type": "http.request", "body": picture, "more_body": False},
            {"type": "http.disconnect"},
        ]
    )
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": URL,
        "raw_path": URL.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"num_beams=8",
        "headers": [(b"content-type", b"image/png")],
        "http_version": "1.1",
        "server": ("test", 80),
        "client": ("test", 1),
        "state": {},
    }
    await app(scope, receive, send)
    assert sent[0]["status"] == 499
    service: Service = app.state.service
    assert (service.slots, service.held_bytes) == (set(), 0)
    assert (await post(client, picture)).status_code == 200
    assert b'route="/v1/report",status="499"' in service.metrics.exposition()


@pytest.fixture
async def failing(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    async with running(tiny_checkpoint) as app, client_of(app) as client:

        def submit(*_: Any) -> None:
            raise RuntimeError("/srv/JOHN_DOE.png")

        monkeypatch.setattr(app.state.service.generator, "submit", submit)
        yield client


async def test_unforeseen_error(failing: httpx.AsyncClient, picture: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What nobody foresaw is a 500 problem document without the error's message."""
    response = await post(failing, picture)
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "internal-error"
    assert response.json()["request_id"] == response.headers["x-request-id"]
    assert "JOHN" not in response.text
    assert "unforeseen error" in caplog.text
