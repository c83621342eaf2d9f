"""PNG: whatever stands beside the pixels is read or passed over, never called damage; what is damage is."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from app.images import png as reader
from app.images.decode import decode_image
from app.images.errors import CorruptImageError, UnsupportedImageError
from app.images.inflate import stored
from app.images.pool import DecodePool
from tests.app.pictures import chunk, claiming, phantom, phantom16, png, raw_png, with_chunk

GREY = np.asarray(phantom())
MEBIBYTE = 2**20
LONG = zlib.compress(b"note " * 420_000)  # 2 MiB
BOMB = zlib.compress(bytes(64 * MEBIBYTE), 9)
FRAME = struct.pack("!IIIIIHHBB", 0, 64, 80, 0, 0, 1, 1, 0, 0)
TRANSPARENT = ("transparent parts of the image were taken as black",)
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6
EXIF = SIDEWAYS.tobytes().removeprefix(b"Exif\0\0")
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'

BESIDE = {
    "long zTXt": chunk(b"zTXt", b"Comment\0\0" + LONG),
    "long iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG),
    "long iTXt, not compressed": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"note " * 900_000),
    "long tEXt": chunk(b"tEXt", b"Comment\0" + b"note " * 900_000),
    "long iCCP": chunk(b"iCCP", b"profile\0\0" + LONG),
    "long eXIf": chunk(b"eXIf", EXIF[:8] + bytes(3 * MEBIBYTE)),
    "long private chunk": chunk(b"prVt", bytes(3 * MEBIBYTE)),
    "70 texts of 1 MiB": b"".join(chunk(b"zTXt", b"c%d\0\0" % i + zlib.compress(bytes(MEBIBYTE))) for i in range(70)),
    "20,000 texts": chunk(b"tEXt", b"c\0x") * 20_000,
    "bomb in zTXt": chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB),
    "bomb in iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
    "bomb in iCCP": chunk(b"iCCP", b"profile\0\0" + BOMB),
    "zTXt that does not inflate": chunk(b"zTXt", b"Raw profile type exif\0\0garbage"),
    "zTXt of another compression": chunk(b"zTXt", b"Comment\0\7" + LONG),
    "iTXt that does not inflate": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0garbage"),
    "iTXt without its separators": chunk(b"iTXt", b"XML:com.adobe.xmp"),
    "iTXt that is no UTF-8": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0\xff\xfe"),
    "iCCP of another compression": chunk(b"iCCP", b"profile\0\7" + LONG),
    "iCCP without content": chunk(b"iCCP", b""),
    "raw profile that is no hexadecimal": chunk(b"tEXt", b"Raw profile type exif\0\nexif\n9\nzz"),
    "eXIf that is none": chunk(b"eXIf", b"garbage"),
    "eXIf with an orientation of 9": chunk(b"eXIf", EXIF.replace(b"\0\6\0", b"\0\t\0")),
    "sBIT, gAMA, cHRM, sRGB, pHYs, tIME": b"".join(
        chunk(name, bytes(length))
        for name, length in ((b"sBIT", 1), (b"gAMA", 4), (b"cHRM", 32), (b"sRGB", 1), (b"pHYs", 9), (b"tIME", 7))
    ),
    "the same without content": b"".join(
        chunk(name, b"") for name in (b"sBIT", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME", b"bKGD", b"hIST", b"sPLT")
    ),
    "animation control out of order": chunk(b"acTL", bytes(3)) + chunk(b"fcTL", b"\0\0\0\7" + FRAME[4:]),
}


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind them"])
def test_beside_the_pixels(name: str, behind: bool) -> None:
    """Text, profiles and whatever else nobody needs to know is passed over, however long, many or broken."""
    file = png(phantom())
    at = len(file) - 12 if behind else 33
    image = decode_image(file[:at] + BESIDE[name] + file[at:])
    np.testing.assert_array_equal(image.pixels, GREY)
    assert image.warnings in ((), ("the file holds several frames; the first was used",))


@pytest.mark.parametrize("name", [name for name in BESIDE if "bomb" in name or "1 MiB" in name])
def test_beside_the_pixels_in_little_memory(name: str) -> None:
    """What is passed over takes no memory: a worker decodes the file within what the pixels justify."""
    pool = DecodePool(1, max_pixels=10_000)
    try:
        np.testing.assert_array_equal(
            pool.decode(png(phantom())[:33] + BESIDE[name] + png(phantom())[33:]).result().pixels, GREY
        )
    finally:
        pool.close()


@pytest.mark.parametrize("name", [b"tEXt", b"zTXt", b"iCCP", b"eXIf", b"tRNS", b"IDAT", b"IEND", b"prVt"])
def test_checksum(name: bytes) -> None:
    """A checksum that does not fit is damage in whatever chunk."""
    file = with_chunk(png(phantom()), name, b"\0\1") if name not in (b"IDAT", b"IEND") else png(phantom())
    at = file.index(name) + 4 + int.from_bytes(file[file.index(name) - 4 : file.index(name)], "big")
    with pytest.raises(CorruptImageError, match="checksum"):
        decode_image(file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :])


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (png(phantom())[:8] + chunk(b"CgBI", b"\x50\0\x20\2") + png(phantom())[8:], "Apple"),
        (with_chunk(png(phantom()), b"FUTR", b""), "critical chunk"),
    ],
)
def test_kinds_that_are_not_read(file: bytes, words: str) -> None:
    """What the standard says one must know to read the picture, and we do not, is unsupported and not damage."""
    with pytest.raises(UnsupportedImageError, match=words):
        decode_image(file)


WHOLE = png(phantom())
HEADER, PIXELS, END = WHOLE[8:33], WHOLE[33:-12], WHOLE[-12:]


@pytest.mark.parametrize(
    "chunks",
    [
        [PIXELS, HEADER, END],
        [HEADER, HEADER, PIXELS, END],
        [HEADER, END],
        [HEADER, PIXELS],
        [HEADER, PIXELS[:-20], END],
        [HEADER, b"\0\0\0\0\1\2\3\4\xaa\xaa\xaa\xaa", PIXELS, END],
        [HEADER, b"\xff\xff\xff\xfftEXt", PIXELS, END],
        [chunk(b"IHDR", bytes(4)), PIXELS, END],
        [claiming(WHOLE, 0, 80)[8:33], PIXELS, END],
        [chunk(b"IHDR", HEADER[8:16] + bytes([3, 0, 0, 0, 0])), PIXELS, END],
        [HEADER, chunk(b"tRNS", b"\1"), PIXELS, END],
        [HEADER, chunk(b"IDAT", zlib.compress(bytes(100))), END],
    ],
)
def test_damage(chunks: list[bytes]) -> None:
    """A file whose parts are not those of a PNG is damaged."""
    with pytest.raises(CorruptImageError):
        decode_image(WHOLE[:8] + b"".join(chunks))


def test_pixels_in_pieces() -> None:
    """How the pixels are cut into chunks, and what stands between them, changes nothing."""
    packed = PIXELS[8:-4]
    pieces = [chunk(b"IDAT", packed[i : i + 7]) for i in range(0, len(packed), 7)]
    between = [*pieces[:9], chunk(b"IDAT", b""), chunk(b"tEXt", b"a\0b"), *pieces[9:]]
    np.testing.assert_array_equal(decode_image(WHOLE[:8] + HEADER + b"".join(between) + END + b"tail").pixels, GREY)


def as_pillow_unpacks(file: bytes) -> object:
    """What is decoded, or what is wrong, when Pillow does it all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_QUICK_BYTES", 0)
        return outcome(file)


def outcome(file: bytes) -> object:
    """The picture's type, shape and bytes, and what is said of it; or the error's type and message."""
    try:
        image = decode_image(file)
    except CorruptImageError as error:
        return type(error), str(error)
    return image.pixels.dtype, image.pixels.shape, image.pixels.tobytes(), image.warnings


KINDS = [(bits, colour) for colour in (0, 2, 3, 4, 6) for bits in (1, 2, 4, 8, 16)]


@pytest.mark.parametrize(
    ("bits", "colour"),
    [(bits, colour) for bits, colour in KINDS if (bits >= 8 or colour in (0, 3)) and (bits, colour) != (16, 3)],
)
@pytest.mark.parametrize("extra", [b"", chunk(b"tRNS", bytes(6))], ids=["", "transparent"])
def test_unpacked_as_pillow_does(bits: int, colour: int, extra: bytes) -> None:
    """Pixels of every kind and filter, of one block and of several, are those that Pillow unpacks by itself."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rng = np.random.default_rng(bits + colour)
    for width, height in ((1, 1), (7, 5), (333, 401)):
        row = (width * bits * channels + 7) // 8
        pixels = b"".join(bytes([i % 5]) + rng.bytes(row) for i in range(height))
        palette = chunk(b"PLTE", rng.bytes(3 * 2**bits)) if colour == 3 else b""
        header = chunk(b"IHDR", struct.pack("!IIBBBBB", width, height, bits, colour, 0, 0, 0))
        packed = zlib.compress(pixels)
        file = WHOLE[:8] + header + palette + (extra if colour < 4 else b"") + chunk(b"IDAT", packed) + END
        assert zlib.decompress(stored(packed, len(pixels)) or b"") == pixels
        assert outcome(file) == as_pillow_unpacks(file)


RAW = zlib.decompress(PIXELS[8:-4])


@pytest.mark.parametrize(
    "packed",
    [
        PIXELS[8:-5] + bytes([PIXELS[-5] ^ 1]),
        PIXELS[8:-9],
        PIXELS[8:-40],
        PIXELS[8:-4] + b"more",
        b"\x79" + PIXELS[9:-4],
        PIXELS[8:60] + b"\xff" * 9 + PIXELS[69:-4],
        zlib.compress(RAW + b"\0"),
        zlib.compress(RAW[:-1]),
        zlib.compress(RAW + bytes(9_000_000)),
        b"",
    ],
    ids=["checksum", "no checksum", "cut", "more", "header", "garbled", "longer", "shorter", "bomb", "empty"],
)
def test_stream_that_is_not_whole(packed: bytes) -> None:
    """Of pixels that are not one whole stream of as many bytes as there should be, Pillow decides."""
    file = WHOLE[:8] + HEADER + chunk(b"IDAT", packed) + END
    assert stored(packed, len(RAW)) is None
    assert outcome(file) == as_pillow_unpacks(file)


@pytest.mark.parametrize(
    ("bits", "row", "key", "expected"),
    [
        (1, b"\x50", 1, [0, 0, 0, 0]),
        (1, b"\x50", 0, [0, 255, 0, 255]),
        (2, b"\x1b", 2, [0, 85, 0, 255]),
        (2, b"\x1b", 3, [0, 85, 170, 0]),
        (4, b"\x0f\x1e", 15, [0, 0, 17, 238]),
        (4, b"\x0f\x1e", 0xFF0F, [0, 0, 17, 238]),
        (8, b"\1\2\3\xff", 255, [1, 2, 3, 0]),
        (8, b"\1\2\3\xff", 2, [1, 0, 3, 255]),
        (16, struct.pack("!4H", 25_700, 65_535, 65_534, 1), 65_535, [25_700, 0, 65_534, 1]),
        (16, struct.pack("!4H", 25_700, 25_701, 25_700, 1), 25_700, [0, 25_701, 0, 1]),
    ],
)
def test_transparent_grey(bits: int, row: bytes, key: int, expected: list[int]) -> None:
    """The transparent grey is black, whatever the number of bits, all of which are compared and kept."""
    image = decode_image(raw_png(bits, 0, 4, [row, row], chunk(b"tRNS", struct.pack("!H", key))))
    assert image.pixels.tolist() == [expected, expected]
    assert image.pixels.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert image.warnings == TRANSPARENT


@pytest.mark.parametrize("bits", [8, 16])
def test_transparent_colour(bits: int) -> None:
    """The transparent colour is black; of 16 bits the lower ones count, too, though they are not kept."""
    one = 1 if bits == 8 else 257
    near = [one * 200, one * 200, one * 200 + (bits == 16)] if bits == 16 else [200, 200, 201]
    layout = "!9" + ("B" if bits == 8 else "H")
    row = struct.pack(layout, *[one * 200] * 3, *near, *[one * 9] * 3)
    image = decode_image(raw_png(bits, 2, 3, [row], chunk(b"tRNS", struct.pack("!3H", *[one * 200] * 3))))
    assert image.pixels.tolist() == [[0, 200, 9]]
    assert image.warnings == TRANSPARENT


def test_transparent_grey_of_too_many_bytes() -> None:
    """What stands behind the transparent colour is passed over."""
    image = decode_image(raw_png(8, 0, 2, [b"\1\2"], chunk(b"tRNS", b"\0\1\0\1\0\1")))
    assert image.pixels.tolist() == [[0, 2]]


def test_transparent_entries_of_a_palette() -> None:
    """Palette entries are laid over black by their alpha."""
    palette = chunk(b"PLTE", bytes([200] * 3 + [100] * 3 + [50] * 3)) + chunk(b"tRNS", bytes([0, 51]))
    image = decode_image(raw_png(8, 3, 3, [b"\0\1\2"], palette))
    assert image.pixels.tolist() == [[0, 20, 50]]
    assert image.warnings == TRANSPARENT


@pytest.mark.parametrize(("bits", "colour"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2)])
def test_transparent_colour_that_no_pixel_has(bits: int, colour: int) -> None:
    """A transparent colour that does not occur changes nothing and is not warned of."""
    row = bytes(12 * bits // 8) if colour == 2 else bytes(4 * bits // 8 or 1)
    key = struct.pack("!H" if colour == 0 else "!3H", *[1] * (1 if colour == 0 else 3))
    image = decode_image(raw_png(bits, colour, 4, [row], chunk(b"tRNS", key)))
    assert image.pixels.tolist() == [[0, 0, 0, 0]]
    assert image.warnings == ()


def test_transparent_grey_of_an_interlaced_picture() -> None:
    """Adam7 and a transparent colour go together."""
    image = decode_image(raw_png(16, 0, 1, [b"\x12\x34"], chunk(b"tRNS", b"\x12\x34"), interlace=1))
    assert (image.pixels.tolist(), image.warnings) == ([[0]], TRANSPARENT)


def test_16_bits_of_grey_and_alpha() -> None:
    """Grey with alpha keeps its 16 bits and is laid over black in as many."""
    row = struct.pack("!8H", 25_701, 65_535, 25_701, 32_768, 65_535, 65_535, 25_701, 0)
    image = decode_image(raw_png(16, 4, 4, [row]))
    assert image.pixels.tolist() == [[25_701, 12_851, 65_535, 0]]
    assert image.warnings == TRANSPARENT
    opaque = b"".join(struct.pack("!HH", value, 65_535) for value in phantom16()[3].tolist())
    image = decode_image(raw_png(16, 4, 64, [opaque]))
    np.testing.assert_array_equal(image.pixels, phantom16()[3:4])
    assert image.warnings == ()


def test_16_bits_of_colour_and_alpha() -> None:
    """Colour with alpha is read by its upper bytes and laid over black."""
    row = struct.pack("!8H", *[0xC800] * 3, 65_535, *[0xC8FF] * 3, 0x8000)
    image = decode_image(raw_png(16, 6, 2, [row]))
    assert image.pixels.tolist() == [[200, 100]]
    assert image.warnings == TRANSPARENT


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"eXIf", EXIF),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP + bytes(2 * MEBIBYTE))),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%d\n" % len(EXIF) + EXIF.hex().encode())),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n%d\n" % len(EXIF) + EXIF.hex().encode()),
    ],
    ids=["eXIf", "XMP", "long XMP, compressed", "raw profile", "raw profile, not compressed"],
)
@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind them"])
@pytest.mark.parametrize("bits", [8, 16])
def test_upright(extra: bytes, behind: bool, bits: int) -> None:
    """Wherever and however a file says which way is up, it is turned."""
    stored = GREY if bits == 8 else phantom16()
    file = png(Image.fromarray(stored))
    at = len(file) - 12 if behind else 33
    image = decode_image(file[:at] + extra + file[at:])
    np.testing.assert_array_equal(image.pixels, np.rot90(stored, -1))
    assert (image.width, image.height) == (80, 64)


@pytest.mark.parametrize(
    ("before", "behind", "several"),
    [
        (chunk(b"acTL", struct.pack("!II", 1, 0)) + chunk(b"fcTL", FRAME), b"", False),
        (chunk(b"acTL", struct.pack("!II", 1, 0)), chunk(b"fcTL", FRAME), True),
        (chunk(b"acTL", struct.pack("!II", 2**31 - 1, 0)), b"", False),
    ],
    ids=["one frame", "one frame beside the picture", "frames that are not there"],
)
def test_frames_are_counted(before: bytes, behind: bytes, several: bool) -> None:
    """A file with frames beside its picture is said to hold several; by the frames, not by what it claims."""
    image = decode_image(WHOLE[:33] + before + PIXELS + behind + END)
    np.testing.assert_array_equal(image.pixels, GREY)
    assert any("several frames" in warning for warning in image.warnings) == several
