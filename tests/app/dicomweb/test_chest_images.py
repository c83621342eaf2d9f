"""Which images of a study are sent, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from app.dicomweb.chest_images import Instance, choose
from app.dicomweb.uids import is_uid
from tests.app.dicomweb.stub import header, instance


def numbers(*images: Instance, limit: int = 4, **more: Any) -> list[int]:
    return [one.number for one in choose(images, limit, **more)]


def test_frontal_first() -> None:
    """Frontal views come first, then unnamed ones, then lateral ones, each as they were taken."""
    views = ["LL", "", "AP", "LATERAL", "PA"]
    assert numbers(*(instance(i, view=view) for i, view in enumerate(views))) == [2, 4, 1, 0]


def test_at_most_the_limit() -> None:
    """No more than the service takes, and each once."""
    images = [instance(i) for i in range(6)]
    assert numbers(*images, *images, limit=4) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "other",
    [
        {"body_part": "HAND"},
        {"modality": "CT"},
        {"sop_class": "1.2.840.10008.5.1.4.1.1.88.34"},
        {"frames": 2},
        {"raw": True},
    ],
)
def test_what_is_no_chest_image(other: dict[str, Any]) -> None:
    """Another part of the body, another modality, an SR, several frames and raw images are left out."""
    assert numbers(instance(1), instance(2, **other)) == [1]
    assert numbers(instance(2, **other)) == []


def test_said_to_show_the_chest() -> None:
    """It goes before an image of which nothing is said, even a lateral one."""
    assert numbers(instance(1, body_part="", view="PA"), instance(2, view="LL")) == [2, 1]


def test_a_named_series_has_been_chosen() -> None:
    """Then the modality is not asked."""
    assert numbers(instance(1, modality="OT"), modalities=None) == [1]


def test_header() -> None:
    """An image is read from the DICOM JSON model as it was written."""
    one = instance(3, view="LL", frames=2, raw=True, series_number=4)
    assert Instance.of(header(one)) == one


@pytest.mark.parametrize(
    "broken",
    [
        {"00080018": {"vr": "UI", "Value": ["../../etc/passwd"]}},
        {"0020000D": {"vr": "UI"}},
        {"0020000E": None},
        {"0020000E": {"vr": "UI", "Value": [{"a": 1}]}},
    ],
)
def test_identifiers_that_cannot_be(broken: dict[str, Any]) -> None:
    """An object without valid identifiers is none: they are to stand in addresses."""
    assert Instance.of(header(instance()) | broken) is None


@pytest.mark.parametrize("value", ["frames", "NaN", "", None, [], "9" * 400])
def test_numbers_that_are_none(value: object) -> None:
    """A number that cannot be read counts as not given, and one beyond reason does no harm."""
    made = Instance.of(header(instance()) | {"00200013": {"vr": "IS", "Value": [value]}})
    assert made is not None
    assert choose([made], 1) == [made]


@pytest.mark.parametrize(
    ("uid", "valid"),
    [
        ("1.2.840.10008.1.2", True),
        ("2.25.0", True),
        ("1." + "2" * 62, True),
        ("1." + "2" * 63, False),
        ("1.02", False),
        ("1..2", False),
        ("1.2.", False),
        (".1", False),
        ("1", False),
        ("", False),
        ("1.2\n", False),
        ("1.٣", False),
        ("1.2/../3", False),
        (None, False),
        (12, False),
    ],
)
def test_uids(uid: object, valid: bool) -> None:
    """By PS3.5, section 9.1."""
    assert is_uid(uid) is valid
