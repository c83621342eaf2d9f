"""Codes: no id that cannot be one, and none longer than DICOM allows."""

from __future__ import annotations

import pytest

from app.interop import codes
from app.interop.codes import SCT, Code
from app.text.findings import FINDINGS, IMAGE_LABELS

# Verhoeff's scheme by the dihedral group of ten elements: SNOMED CT's release file specification, "Check-digit".
_TURNS = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def verhoeff(digits: str) -> bool:
    """Whether the last digit checks the others."""
    check = 0
    for i, digit in enumerate(reversed(digits)):
        value = int(digit)
        for _ in range(i):
            value = _TURNS[value]
        check = _times(check, value)
    return check == 0


def _times(a: int, b: int) -> int:
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5


def all_codes() -> list[Code]:
    """Every code that the module has."""
    tables = [value.values() for value in vars(codes).values() if isinstance(value, dict)]
    listed = [code for table in tables for code in table if isinstance(code, Code)]
    return [*listed, *(value for value in vars(codes).values() if isinstance(value, Code))]


def test_snomed_ids_check() -> None:
    """Every SNOMED CT id passes its check digit; ids that public code has wrong do not."""
    ids = {code.value for code in all_codes() if code.scheme == SCT}
    assert len(ids) >= 20
    assert [one for one in ids if not verhoeff(one)] == []
    for wrong in ("129614006", "95436003", "60567007", "9494007", "78381009", "196121004", "73122008"):
        assert not verhoeff(wrong)


@pytest.mark.parametrize("name", sorted({*IMAGE_LABELS, *FINDINGS, "a name that nobody has ever had for a finding"}))
def test_every_finding_has_a_code(name: str) -> None:
    """A finding has a code that DICOM takes (PS3.5, 6.2: SH and LO), our own where none is to be trusted."""
    code = codes.finding(name)
    assert 0 < len(code.value) <= 16
    assert 0 < len(code.meaning) <= 64
    assert code.scheme in codes.SYSTEMS
    if name in ("pleural_thickening", "hernia"):
        assert code.scheme == codes.OURS


def test_own_codes_differ() -> None:
    """No two findings share a code but those that mean the same."""
    by_code: dict[tuple[str, str], set[str]] = {}
    for name in {*IMAGE_LABELS, *FINDINGS}:
        by_code.setdefault((codes.finding(name).scheme, codes.finding(name).value), set()).add(name)
    shared = [names for names in by_code.values() if len(names) > 1]
    assert sorted(map(sorted, shared)) == [["edema", "pulmonary edema"], ["effusion", "pleural effusion"]]
