"""What the clients send: good studies whose reports are known, and bad ones."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

from PIL import Image

from benchmarks.client import Request, ask

PICTURES = Path(__file__).parents[1]
OPTIONS = ("num_beams=1", "num_beams=3", "num_beams=4&length_penalty=0.8")
_BOUNDARY = "views"


def good() -> list[Request]:
    """Studies of one and two views with different images and options."""
    frontal, lateral = (Image.open(PICTURES / f"phantom-{view}.png") for view in ("frontal", "lateral"))
    shifted = [png(_cropped(frontal, i)) for i in range(0, 32, 8)]
    single = [Request("POST", f"/v1/report?{o}", "image/png", image) for image in shifted for o in OPTIONS]
    both = multipart([png(frontal), png(lateral)])
    return [*single, *(Request("POST", f"/v1/report?{o}", *both) for o in OPTIONS)]


def bad() -> list[Request]:
    """Requests that deserve a 4xx: cut short, no image, too many pixels, an option out of range."""
    image = png(Image.open(PICTURES / "phantom-frontal.png"))
    huge = image[:16] + (100_000).to_bytes(4) * 2 + image[24:]
    target = "/v1/report"
    return [
        Request("POST", target, "image/png", image[: len(image) // 2]),
        Request("POST", target, "image/png", b"no image" * 1000),
        Request("POST", target, "image/png", huge),
        Request("POST", f"{target}?num_beams=99", "image/png", image),
        Request("POST", target, _MULTIPART, b"no multipart"),
    ]


async def at_bounds(port: int) -> list[tuple[Request, int]]:
    """One request for each bound of each option that the service publishes, and two beyond it; the status that each
    deserves."""
    options = json.loads((await ask(port, Request("GET", "/v1/model"))).body)["options"]
    image = png(Image.open(PICTURES / "phantom-frontal.png"))
    found = []
    for name, schema in options.items():
        step = {"integer": 1, "number": 0.001}.get(schema.get("type", ""), 0)
        for bound, sign in (("minimum", -1), ("maximum", 1)) if step else ():
            at = schema[bound]
            given = {at: 200, at + sign * step: 422, sign * 2**64: 422}
            # As many hypotheses as there may be take as many beams.
            beams = "&num_beams=8" if name == "num_return_sequences" else ""
            found += [
                (Request("POST", f"/v1/report?{name}={value}{beams}", "image/png", image), status)
                for value, status in given.items()
            ]
    return found


async def with_expected(port: int, requests: list[Request]) -> list[Request]:
    """The same requests, each with the text it gets when nothing else runs."""
    known = []
    for request in requests:
        answer = await ask(port, request)
        if answer.status != 200:
            raise RuntimeError(f"a good study was answered {answer.status}")
        known.append(replace(request, expected=answer.text))
    return known


_MULTIPART = f"multipart/form-data; boundary={_BOUNDARY}"


def _cropped(image: Image.Image, pixels: int) -> Image.Image:
    return image.crop((pixels, pixels, image.width, image.height))


def png(image: Image.Image) -> bytes:
    """The image's file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def multipart(files: list[bytes]) -> tuple[str, bytes]:
    """Content type and body of one study of these PNGs."""
    disposition = b'Content-Disposition: form-data; name="image"; filename="x.png"\r\nContent-Type: image/png\r\n\r\n'
    parts = [f"--{_BOUNDARY}\r\n".encode() + disposition + file + b"\r\n" for file in files]
    return _MULTIPART, b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])
