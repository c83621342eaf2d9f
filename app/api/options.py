"""A request's options: from query and form to checked values. Unknown names and contradictions are errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.api.problems import Problem
from app.inference.options import RANGES, DecodingOptions, InvalidOptionError
from app.inference.served_model import ServedModel

INCLUDES = ("alternatives", "tokens", "heatmaps")

Pairs = Iterable[tuple[str, str]]
_DECODING = TypeAdapter(DecodingOptions)
_LISTS = ("sections", "include")
_MEANING = {
    "num_beams": "Beam width; 1 is greedy search.",
    "num_return_sequences": "How many hypotheses, at most num_beams.",
    "length_penalty": "Exponent of the length in the score.",
    "early_stopping": "When a study is done: at once with enough hypotheses, by estimate, or never before certain.",
    "min_new_tokens": "Least length, end of sequence counted; at most max_new_tokens.",
    "max_new_tokens": "Greatest length, end of sequence counted.",
    "no_repeat_ngram_size": "No n-gram of this size twice; 0 is off.",
    "repetition_penalty": "Above 1 discourages repetition.",
    "sections": "Sections of the report to answer with.",
    "include": "What to add to the answer.",
}
_NAMES = (*DecodingOptions.__dataclass_fields__, *_LISTS)
# What an option's name may look like for an error to repeat it.
_NAME = re.compile("[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Everything a client may choose, in effect."""

    decoding: DecodingOptions
    sections: tuple[str, ...]
    include: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, bool | int | float | str | list[str]]:
        """Name to value."""
        return {**self.decoding.as_dict(), "sections": list(self.sections), "include": list(self.include)}


def parse_options(query: Pairs, form: Pairs, model: ServedModel) -> ReportOptions:
    """Options from a request's query and form fields. Raises the problem `invalid-options` naming the option."""
    given = _merge(_collect(query), _collect(form))
    section_names, max_new_tokens = model.section_names, model.limits.max_new_tokens
    include = _choose("include", given.pop("include", []), INCLUDES)
    sections = _choose("sections", given.pop("sections", list(section_names)), section_names)
    if not sections:
        raise _invalid(f"sections must name at least one of {', '.join(section_names)}")
    changes: dict[str, Any] = {name: value for name, (value,) in given.items()}
    try:
        decoding = _DECODING.validate_python(model.default_options.as_dict() | changes)
        # Whoever asks for alternatives without a number gets what the search has.
        if "alternatives" in include and "num_return_sequences" not in changes:
            decoding = decoding.with_changes(num_return_sequences=decoding.num_beams)
    except ValidationError as error:
        raise _invalid(_explain(error)) from error
    if decoding.max_new_tokens > max_new_tokens:
        raise _invalid(f"max_new_tokens must be at most {max_new_tokens} with this model")
    return ReportOptions(decoding, sections, include)


def openapi_parameters(model: ServedModel) -> list[dict[str, Any]]:
    """The options as OpenAPI query parameters: types from `DecodingOptions`, defaults and limits of this model."""
    properties = _DECODING.json_schema()["properties"]
    for name, default in model.default_options.as_dict().items():
        properties[name] |= {"default": default, "description": _MEANING[name]}
        low, high = RANGES.get(name, (None, None))
        if name in ("min_new_tokens", "max_new_tokens"):
            high = model.limits.max_new_tokens
        for bound, value in (("minimum", low), ("maximum", high)):
            if value is not None:
                properties[name][bound] = value
    for name, known in (("sections", model.section_names), ("include", INCLUDES)):
        items = {"type": "string", "enum": list(known)}
        properties[name] = {"type": "array", "items": items, "description": _MEANING[name]}
    properties["sections"] |= {"minItems": 1, "default": list(model.section_names)}
    return [
        {"name": name, "in": "query", "required": False, "description": schema.pop("description"), "schema": schema}
        | ({"style": "form", "explode": False} if name in _LISTS else {})
        for name, schema in properties.items()
    ]


def _collect(pairs: Pairs) -> dict[str, list[str]]:
    """Name to its different values; those of lists may also come separated by commas."""
    collected: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in _NAMES:
            named = f" {name}" if _NAME.fullmatch(name) else ""
            raise _invalid(f"unknown option{named}; the options are {', '.join(_NAMES)}")
        values = [part.strip() for part in value.split(",")] if name in _LISTS else [value.strip()]
        known = collected.setdefault(name, [])
        known += [value for value in values if value not in known]
        if name not in _LISTS and len(known) > 1:
            raise _invalid(f"{name} is given more than once")
    return collected


def _merge(query: dict[str, list[str]], form: dict[str, list[str]]) -> dict[str, list[str]]:
    for name in query.keys() & form.keys():
        if sorted(query[name]) != sorted(form[name]):
            raise _invalid(f"{name} is given in the query and in the form, and they differ")
    return query | form


def _choose(option: str, asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Those of `known` that were asked for, in the order they are known."""
    if not set(asked) <= {*known, ""}:
        raise _invalid(f"{option} takes {', '.join(known)}")
    return tuple(name for name in known if name in asked)


def _explain(error: ValidationError) -> str:
    """Our words for pydantic's first complaint; pydantic's own would quote the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InvalidOptionError):
        return str(cause)
    option = str(first["loc"][0])
    kind = DecodingOptions.__annotations__[option]
    wanted = {"int": "a whole number", "float": "a number"}.get(kind, 'true, false or "never"')
    return f"{option} must be {wanted}"


def _invalid(detail: str) -> Problem:
    return Problem("invalid-options", detail)
