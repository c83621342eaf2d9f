"""A request's options: from query and form to checked values. Unknown names and contradictions are errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from app.api.problems import Problem
from app.inference.options import (
    INCLUDES,
    MEANINGS,
    OBJECTS,
    OPERATING_POINTS,
    RANGES,
    DecodingOptions,
    InvalidOptionError,
    OperatingPoint,
    check_model,
    parse_option,
)
from app.inference.served_model import ServedModel

T = TypeVar("T", bound=str)
Pairs = Iterable[tuple[str, str]]
_LISTS = ("sections", "include")
_POINT, _OBJECT = "operating_point", "object"
_NAMES = (*DecodingOptions.__dataclass_fields__, _POINT, *_LISTS, _OBJECT)
# What an option's name may look like for an error to repeat it.
_NAME = re.compile("[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Everything a client may choose, in effect."""

    decoding: DecodingOptions
    sections: tuple[str, ...]
    include: tuple[str, ...] = ()
    operating_point: OperatingPoint = OPERATING_POINTS[0]
    object: str = OBJECTS[0]

    def as_dict(self) -> dict[str, bool | int | float | str | list[str]]:
        """Name to value."""
        return {**self.of_report(), "include": list(self.include), _OBJECT: self.object}

    def of_report(self) -> dict[str, bool | int | float | str | list[str]]:
        """Those that the report depends on, whatever it is answered with and as."""
        return {**self.decoding.as_dict(), _POINT: self.operating_point, "sections": list(self.sections)}


def parse_options(query: Pairs, form: Pairs, model: ServedModel) -> ReportOptions:
    """Options from a request's query and form fields. Raises the problem `invalid-options` naming the option."""
    given = _merge(_collect(query), _collect(form))
    section_names, max_new_tokens = model.section_names, model.limits.max_new_tokens
    include = _choose("include", given.pop("include", []), INCLUDES)
    sections = _choose("sections", given.pop("sections", list(section_names)), section_names)
    if not sections:
        raise _invalid(f"sections must name at least one of {', '.join(section_names)}")
    point = _choose_one(_POINT, given, OPERATING_POINTS)
    kind = _choose_one(_OBJECT, given, OBJECTS)
    try:
        changes = {name: parse_option(name, text) for name, (text,) in given.items()}
        check_model(changes, max_new_tokens)
        decoding = model.default_options.with_changes(**changes)
        # Whoever asks for alternatives without a number gets what the search has.
        if "alternatives" in include and "num_return_sequences" not in changes:
            decoding = decoding.with_changes(num_return_sequences=decoding.num_beams)
        decoding.check_model(max_new_tokens)
    except InvalidOptionError as error:
        raise _invalid(str(error)) from error
    return ReportOptions(decoding, sections, include, point, kind)


def option_schemas(model: ServedModel) -> dict[str, dict[str, Any]]:
    """Each option's JSON Schema: what it may be, meaning and default, with the limits of this model."""
    schemas: dict[str, dict[str, Any]] = {}
    for name, default in model.default_options.as_dict().items():
        if one := RANGES.get(name):
            kind = "integer" if one.type is int else "number"
            maximum = one.maximum_of(model.limits.max_new_tokens)
            also = f" At most {one.at_most}." if one.at_most else ""
            schema = {"type": kind, "minimum": one.minimum, "maximum": maximum, "description": one.meaning + also}
        else:
            values = [{"type": "boolean"}, {"type": "string", "const": "never"}]
            schema = {"anyOf": values, "description": MEANINGS[name]}
        schemas[name] = schema | {"default": default}
    for name, known in ((_POINT, OPERATING_POINTS), (_OBJECT, OBJECTS)):
        choice = {"type": "string", "enum": list(known), "default": known[0]}
        schemas[name] = choice | {"description": MEANINGS[name]}
    for name, members in (("sections", model.section_names), ("include", INCLUDES)):
        items = {"type": "string", "enum": list(members)}
        schemas[name] = {"type": "array", "items": items, "description": MEANINGS[name]}
    schemas["sections"] |= {"minItems": 1, "default": list(model.section_names)}
    return schemas


def openapi_parameters(model: ServedModel) -> list[dict[str, Any]]:
    """The options as OpenAPI query parameters."""
    return [
        {"name": name, "in": "query", "required": False, "description": schema.pop("description"), "schema": schema}
        | ({"style": "form", "explode": False} if name in _LISTS else {})
        for name, schema in option_schemas(model).items()
    ]


def _collect(pairs: Pairs) -> dict[str, list[str]]:
    """Name to its different values; those of lists may also come separated by commas."""
    collected: dict[str, dict[str, None]] = {}
    for name, value in pairs:
        if name not in _NAMES:
            named = f" {name}" if _NAME.fullmatch(name) else ""
            raise _invalid(f"unknown option{named}; the options are {', '.join(_NAMES)}")
        values = [part.strip() for part in value.split(",")] if name in _LISTS else [value]
        known = collected.setdefault(name, {})
        known |= dict.fromkeys(values)
        if name not in _LISTS and len(known) > 1:
            raise _invalid(f"{name} is given more than once")
    return {name: [*values] for name, values in collected.items()}


def _merge(query: dict[str, list[str]], form: dict[str, list[str]]) -> dict[str, list[str]]:
    for name in query.keys() & form.keys():
        if sorted(query[name]) != sorted(form[name]):
            raise _invalid(f"{name} is given in the query and in the form, and they differ")
    return query | form


def _choose(option: str, asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Those of `known` that were asked for, in the order they are known."""
    if not set(asked) <= {*known, ""}:
        raise _takes(option, known)
    return tuple(name for name in known if name in asked)


def _choose_one(option: str, given: dict[str, list[str]], known: Sequence[T]) -> T:
    """The one asked for, which `given` then lacks; the first without."""
    if option not in given:
        return known[0]
    (asked,) = given.pop(option)
    if asked not in known:
        raise _takes(option, known)
    return known[known.index(asked)]


def _takes(option: str, known: Sequence[str]) -> Problem:
    return _invalid(f"{option} takes {', '.join(known)}")


def _invalid(detail: str) -> Problem:
    return Problem("invalid-options", detail)
