"""What a file is that is neither PNG nor JPEG, by its first bytes: DICOM, or what is not read and can be named."""

from __future__ import annotations

_SIGNATURES = (
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"II\xbc", "JPEG XR"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\x8aMNG", "MNG"),
    (b"\x8bJNG", "JNG"),
    (b"qoif", "QOI"),
    (b"8BPS", "PSD"),
    (b"%PDF", "PDF"),
    (b"PK\3\4", "ZIP"),
    (b"\x1f\x8b", "gzip"),
    (b"SIMPLE  =", "FITS"),
)
# ISO 14496-12: a box `ftyp` with the brand, and then the brands that the file is compatible with.
_BRANDS = ((b"avif", "AVIF"), (b"avis", "AVIF"), (b"hei", "HEIC"), (b"hev", "HEIC"), (b"mif1", "HEIC"))


def looks_like_dicom(data: bytes) -> bool:
    """Whether a file has the prefix of PS3.10, or begins like a data set: with an element of the first groups."""
    if data[128:132] == b"DICM":
        return True
    if data[:2] not in (b"\2\0", b"\x08\0", b"\0\x08"):
        return False
    explicit = data[4:6].isalpha() and data[4:6].isupper()
    return explicit or (data[:2] == b"\x08\0" and int.from_bytes(data[4:8], "little") < len(data))


def foreign_format(data: bytes) -> str:
    """The format's name, or "" where none is recognised."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        brands = [data[8:12], *(data[i : i + 4] for i in range(16, min(64, int.from_bytes(data[:4], "big")), 4))]
        return next((name for start, name in _BRANDS for brand in brands if brand.startswith(start)), "")
    return next((name for start, name in _SIGNATURES if data.startswith(start)), "")
