"""Options as clients write them: plain values are taken, and whatever else comes is a 422 that names the option."""

from __future__ import annotations

import time
from urllib.parse import quote_from_bytes

import httpx
import pytest

from app.inference.options import OPERATING_POINTS, RANGES
from tests.app.api.test_reports import URL, options_of

pytestmark = pytest.mark.anyio

NO_NUMBERS = (
    *(
        "nan",
        "NaN",
        "-nan",
        "inf",
        "-inf",
        "Infinity",
        "1e400",
        "-1e400",
        "1_000",
        " 3 ",
        "3 ",
        "\t3",
        "3\n",
        "+3",
        "0x10",
    ),
    *("0b1", "0o7", "3,0", "3;", "1e", "e1", ".", "-", "--1", "1e+", "1.5.2", "٣", "３", "²", "Ⅳ", "3\u200b"),
    *("true", "True", "false", "yes", "on", "None", "null", "[]", "{}", "[3]", '"3"', "3\0", "\0", "\ud800", "%00"),
    *("9" * 60_000, "-" + "9" * 60_000, "0." + "3" * 60_000, "1e" + "9" * 60_000, "3j", "1/2", "3px", "½"),
)


@pytest.mark.parametrize("name", RANGES)
async def test_no_numbers(client: httpx.AsyncClient, picture: bytes, name: str) -> None:
    """What is no plain decimal number, or none in range, is an error that names the option, in query and form."""
    started = time.monotonic()
    for value in NO_NUMBERS:
        sent = value.encode("utf-8", "surrogatepass")
        query = f"{URL}?{name}={quote_from_bytes(sent)}"
        assert name in options_of(await client.post(query, files={"image": picture})), value[:50]
        if len(sent) < 1000:  # longer fields are 413
            assert name in options_of(await client.post(URL, files={"image": picture}, data={name: sent})), value
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("name", [name for name, one in RANGES.items() if one.type is int])
@pytest.mark.parametrize("value", ["3.0", "1e0", "0.5", "2.", str(2**31), str(2**63), str(2**64), str(-(2**64)), "-1"])
async def test_no_whole_number(client: httpx.AsyncClient, picture: bytes, name: str, value: str) -> None:
    """Whole numbers have no point and no exponent, and no option takes what tensors do not hold."""
    assert name in options_of(await client.post(URL, files={"image": picture}, params={name: value}))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("length_penalty", "3.0", 3.0),
        ("length_penalty", "1e-1", 0.1),
        ("length_penalty", "-10", -10.0),
        ("length_penalty", ".5", 0.5),
        ("length_penalty", "1e-400", 0.0),
        ("repetition_penalty", "2", 2.0),
        ("num_beams", "02", 2),
        ("no_repeat_ngram_size", "40", 40),
        ("early_stopping", "TRUE", True),
        ("early_stopping", "False", False),
        ("early_stopping", "Never", "never"),
    ],
)
async def test_plain_values(client: httpx.AsyncClient, picture: bytes, name: str, text: str, value: object) -> None:
    """What is plain is taken."""
    response = await client.post(URL, files={"image": picture}, params={name: text})
    assert response.json()["options"][name] == value


@pytest.mark.parametrize("point", OPERATING_POINTS)
async def test_operating_points(client: httpx.AsyncClient, picture: bytes, point: str) -> None:
    """An operating point is taken as it is written, in query and form, and comes back."""
    for query, form in (({"operating_point": point}, {}), ({}, {"operating_point": point})):
        response = await client.post(URL, files={"image": picture}, params=query, data=form)
        assert response.json()["options"]["operating_point"] == point


@pytest.mark.parametrize("value", ["Balanced", " balanced", "balanced,", "best", "", "0", "true", "[]", "balanced\0"])
async def test_no_operating_point(client: httpx.AsyncClient, picture: bytes, value: str) -> None:
    """Anything else is an error that names the option and what it takes, and repeats nothing."""
    for query, form in (({"operating_point": value}, {}), ({}, {"operating_point": value})):
        response = await client.post(URL, files={"image": picture}, params=query, data=form)
        assert options_of(response) == "operating_point takes balanced, sensitive, specific"


async def test_many_values(client: httpx.AsyncClient, picture: bytes) -> None:
    """A list of thousands of values is refused as quickly as a short one."""
    started = time.monotonic()
    values = ",".join(map(str, range(11_000)))
    assert "include takes" in options_of(await client.post(f"{URL}?include={values}", files={"image": picture}))
    assert time.monotonic() - started < 1


async def test_ranges_of_the_model(client: httpx.AsyncClient) -> None:
    """/v1/model says of every option what the OpenAPI document says: the table's ranges within the model's limit."""
    options = (await client.get("/v1/model")).json()["options"]
    parameters = (await client.get("/openapi.json")).json()["paths"][URL]["post"]["parameters"]
    assert options == {one["name"]: one["schema"] | {"description": one["description"]} for one in parameters}
    assert options["operating_point"]["enum"] == ["balanced", "sensitive", "specific"]
    for name, one in RANGES.items():
        assert (options[name]["minimum"], options[name]["maximum"]) == (one.minimum, one.maximum_of(40))
        assert options[name]["type"] == ("integer" if one.type is int else "number")
