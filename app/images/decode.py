"""Bytes to a greyscale image. PNG, JPEG and DICOM, told apart by content; a name or a declared type is never asked.

Every broken file ends in a `DecodeError`, whatever the library beneath raises. Sizes are checked before pixels exist.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.images import jpeg, png
from app.images.borders import Film, Pixels, Region, find_film
from app.images.errors import CorruptImageError, DecodeError, ImageTooLargeError, UnsupportedImageError
from app.images.formats import foreign_format, looks_like_dicom
from app.images.opened import Opened

if TYPE_CHECKING:
    from app.images.dicom.picture import DicomPicture

MAX_PIXELS = 40_000_000

_READ = "PNG, JPEG or DICOM"
_FORMATS = {"PNG": (png.SIGNATURE, png.open_png), "JPEG": (jpeg.SIGNATURE, jpeg.open_jpeg)}
# EXIF 2.32, tag 0x0112: what turns the stored picture upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
# Chroma above this is a colour, not the noise JPEG leaves in a grey picture.
_COLOUR_SPREAD = 32


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A greyscale picture and what its file says of it.

    `pixels` is [H,W], full scale being 255 (uint8) or 65535 (uint16); a large JPEG may come reduced. `width` and
    `height` are the file's own, upright, and `region` is what `pixels` shows of them: all, or what is left without wide
    borders. `sha256` is of the file's bytes. A DICOM file's `view` is what its header calls it, and `header` is for
    `app.images.dicom.header.read_header`: it names a patient, so it is not printed with the rest.
    """

    pixels: Pixels
    format: str
    width: int
    height: int
    region: Region
    sha256: str
    warnings: tuple[str, ...]
    view: str | None = None
    header: bytes | None = field(default=None, repr=False)


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS, network_size: int | None = None) -> DecodedImage:
    """Decodes a PNG, JPEG or DICOM file: upright, first frame, transparency over black, colour as ITU-R 601 luma, DICOM
    as a viewer shows it, without wide borders of one tone.

    With `network_size` S, a JPEG is reduced by 2, 4 or 8 while decoding, as long as the longer side of what is left of
    it stays at or above 2S. Raises a `DecodeError`.
    """
    if not data:
        raise CorruptImageError("the file is empty")
    kind = next((name for name, (signature, _) in _FORMATS.items() if data.startswith(signature)), None)
    if kind is None and not looks_like_dicom(data):
        name = foreign_format(data)
        raise UnsupportedImageError(f"the file is not {_READ}" + (f", but {name}" if name else ""))
    if kind is None:
        from app.images.dicom import picture as dicom  # pydicom and its decoders: most processes need neither
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is either checked here or harmless
            if kind is None:
                return _image_of(dicom.read_picture(data, max_pixels), data, network_size)
            return _decode(data, kind, max_pixels, network_size, network_size)
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"the image has more than {max_pixels} pixels") from error
    except MemoryError as error:
        raise ImageTooLargeError("the image needs more memory than it may have") from error
    except Exception as error:  # Pillow raises a dozen kinds on broken files
        raise CorruptImageError("the file is damaged or incomplete") from error


def _decode(data: bytes, kind: str, max_pixels: int, network_size: int | None, detail: int | None) -> DecodedImage:
    """With `detail` D a JPEG is reduced as long as its longer side stays at or above 2D."""
    _, open_file = _FORMATS[kind]
    opened = open_file(data, max_pixels)
    width, height = opened.image.size
    notes = ["the file holds several frames; the first was used"] if opened.frames > 1 else []
    if detail and opened.scalable:
        shrink = max(width, height) / (2 * detail)
        opened.image.draft(None, (max(1, int(width / shrink)), max(1, int(height / shrink))))  # never below that
    opened.image.load()
    pixels = _to_grey(opened, notes)
    orientation = opened.orientation()
    if orientation in _UPRIGHT:
        pixels = np.array(Image.fromarray(pixels).transpose(_UPRIGHT[orientation]))
    if orientation in _SIDEWAYS:
        width, height = height, width
    film = find_film(pixels)
    left, top, right, bottom = film.region
    reduced = max(width, height) > max(pixels.shape)
    if network_size and detail and reduced and max(right - left, bottom - top) < 2 * network_size:
        return _decode(data, kind, max_pixels, network_size, 2 * detail)
    return _image(data, kind, pixels, (width, height), film, network_size, notes)


def _image_of(picture: DicomPicture, data: bytes, network_size: int | None) -> DecodedImage:
    pixels = picture.pixels
    if pixels.ndim == 3:
        pixels = _luma(Image.fromarray(pixels), picture.notes)
    size = (pixels.shape[1], pixels.shape[0])
    image = _image(data, "DICOM", pixels, size, find_film(pixels), network_size, picture.notes)
    return replace(image, view=picture.view, header=picture.header)


def _image(
    data: bytes,
    kind: str,
    pixels: Pixels,
    size: tuple[int, int],
    film: Film,
    network_size: int | None,
    notes: Sequence[str],
) -> DecodedImage:
    """What is left of the upright `pixels` of a file of `size`, width and height, without its borders."""
    width, height = size
    (left, top, right, bottom), several = film
    reduced = round(max(size) / max(pixels.shape))
    region = (left * reduced, top * reduced, min(right * reduced, width), min(bottom * reduced, height))
    said = [*notes, *_notes_on(region, width, height, network_size)]
    if several:
        said.append("it seems to hold several pictures side by side; send each film as an image of its own")
    if region != (0, 0, width, height):
        pixels = pixels[top:bottom, left:right].copy()
    return DecodedImage(pixels, kind, width, height, region, hashlib.sha256(data).hexdigest(), tuple(said))


def _to_grey(opened: Opened, notes: list[str]) -> Pixels:
    """The loaded image in 16 bits where the file has as many of grey (Pillow's own conversion would clip those at 255),
    else in 8."""
    image: Image.Image = opened.image
    alpha: Pixels | None = None
    grey: Pixels
    if opened.paired:
        both = np.asarray(image).view(">u2")
        grey, alpha = both[..., 0].astype(np.uint16), both[..., 1].astype(np.uint16)
    elif image.mode == "I;16":
        grey = np.array(image)
    else:
        if image.has_transparency_data:
            image = image.convert("RGBA")
        elif image.mode not in ("1", "L", "RGB"):
            image = image.convert("RGB")
        grey = _luma(image, notes)
        alpha = np.asarray(image.getchannel("A")) if image.mode == "RGBA" else None
    clear = opened.transparent() if opened.transparent else None
    if clear is not None and clear.any():
        grey[clear] = 0
    elif alpha is not None and alpha.min() < np.iinfo(alpha.dtype).max:
        _lay_over_black(grey, alpha)
    else:
        return grey
    notes.append("transparent parts of the image were taken as black")
    return grey


def _lay_over_black(grey: Pixels, alpha: Pixels) -> None:
    """Makes it grey · alpha / full scale, rounded."""
    full = int(np.iinfo(grey.dtype).max)
    product = grey.astype(np.uint32)  # 65535 squared and a half still fit
    product *= alpha
    product += full // 2
    product //= full
    grey[...] = product


def _luma(image: Image.Image, notes: list[str]) -> npt.NDArray[np.uint8]:
    if image.mode in ("RGB", "RGBA") and _is_coloured(image):
        notes.append("the image is in colour; it was converted to grey")
    return np.array(image if image.mode == "L" else image.convert("L"))


def _is_coloured(image: Image.Image) -> bool:
    """Whether more than one in a hundred of a 64x64 sample of pixels has a hue."""
    sample = np.asarray(image.resize((64, 64), Image.Resampling.NEAREST).convert("RGB")).astype(np.int16)
    return bool((np.ptp(sample, axis=-1) > _COLOUR_SPREAD).mean() > 0.01)


def _notes_on(region: Region, width: int, height: int, network_size: int | None) -> list[str]:
    """What is said of the part of an image that is looked at."""
    left, top, right, bottom = region
    notes = []
    if region != (0, 0, width, height):
        sides = f"{left} pixels left, {top} above, {width - right} right, {height - bottom} below"
        notes.append(f"borders of one tone were cropped: {sides}")
    wide, high = right - left, bottom - top
    if network_size and max(wide, high) < network_size:
        notes.append(f"the image is small ({wide}x{high}); the model looks at {network_size} pixels a side")
    return notes
