"""The compiled steps that this processor can run, and how they are given their tables."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
from collections.abc import Callable
from ctypes import c_float, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache

import torch

logger = logging.getLogger(__name__)

VERSION = 1  # of the interface, as decoder.cpp has it


class Linear(ctypes.Structure):
    """A product: packed weight, bias f32[out], both filled up to whole vectors."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p), ("given", c_int64), ("out", c_int64))


LINEARS = ("self_qkv", "self_out", "cross_q", "cross_out", "ff_in", "ff_out")


class Layer(ctypes.Structure):
    """A layer: its products, and its norms f32[3,2,D]."""

    _fields_ = (*((name, Linear) for name in LINEARS), ("norms", c_void_p))


class DecoderWeights(ctypes.Structure):
    """`Decoder` of decoder.cpp."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in ("layers", "width", "words", "heads", "self_width", "cross_heads", "cross_head_width")
        ),
        ("scale", c_float),
        *((name, c_void_p) for name in ("layer", "embedding", "position_embedding", "norm")),
        ("vocabulary", Linear),
    )


class Batch(ctypes.Structure):
    """`Batch` of decoder.cpp."""

    _fields_ = (
        ("studies", c_int64),
        ("beams", c_int64),
        ("tokens", c_void_p),
        ("positions", c_void_p),
        ("ancestors", c_void_p),
        ("ancestors_stride", c_int64),
        ("ancestors_beam_stride", c_int64),
        ("memory", c_int64),
        ("cross", c_void_p),
        ("cross_bias", c_void_p),
        ("reach", c_void_p),
        ("cache", c_void_p),
        ("cache_stride", c_int64),
        ("slots", c_int64),
        ("logits", c_void_p),
    )


# Of `BeamTables`, in the order of search.cpp.
SEARCHED = (
    *("tokens", "parents", "ancestors", "log_probs", "scores"),
    *("done", "done_scores", "done_lengths", "done_tokens", "done_log_probs", "done_parents"),
    *("finished", "non_finite", "positions", "length_penalty", "never", "max_new_tokens", "min_new_tokens"),
    *("stop_when_full", "hope_to_the_end", "repetition_penalty", "no_repeat_ngram_size"),
)


class Tables(ctypes.Structure):
    """`Tables` of search.cpp."""

    _fields_ = (
        *((name, c_int64) for name in ("beams", "length", "end_of_text")),
        ("least", c_float),
        *((name, c_void_p) for name in SEARCHED),
    )


@dataclass(frozen=True)
class Library:
    """What was built for one set of instructions; a vector has `lanes` floats. Calls release the interpreter lock."""

    name: str
    lanes: int
    bfloat16: bool
    step: Callable[..., None]
    choose: Callable[..., None]


def _bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported())


# Module to whether this processor runs it, best first.
_BUILT: tuple[tuple[str, Callable[[], bool]], ...] = (
    ("avx512_bf16", _bfloat16),
    ("avx512", torch.cpu._is_avx512_supported),
    ("avx2", torch.cpu._is_avx2_supported),
)


def runnable() -> list[str]:
    """Names of what this processor runs and is built, best first."""
    return [name for name, runs in _BUILT if runs() and _path(name)]


@cache
def library(name: str | None = None) -> Library | None:
    """The best of what is runnable, or the one of that name; None where nothing is."""
    if name is None:
        name = next(iter(runnable()), None)
    path = _path(name) if name else None
    if name is None or path is None:
        return None
    try:
        built = ctypes.CDLL(path)
        version = int(built.interface_version())
    except (OSError, AttributeError) as error:
        logger.warning("%s cannot be loaded: %s", path, type(error).__name__)
        return None
    if version != VERSION:
        logger.warning("%s is of other sources: install the package again", path)
        return None
    built.step.restype = built.choose.restype = None
    built.step.argtypes = (c_void_p, c_void_p, c_int64, c_int64, c_int64)
    built.choose.argtypes = (c_void_p, c_int64, c_void_p, c_void_p, c_int64)
    return Library(name, built.lanes(), name.endswith("bf16"), built.step, built.choose)


def _path(name: str) -> str | None:
    found = importlib.util.find_spec(f"{__package__}._{name}")
    return found.origin if found else None
