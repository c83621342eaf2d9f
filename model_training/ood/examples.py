"""What out-of-distribution detection is fitted on: real films as they are, spoilt, inverted and turned; phantoms;
negatives of every kind.

What a lateral film looks like, phantoms have to teach. They are mirrored, cropped and given the greys and the grain of
real films, frontal ones as well, so that being a phantom says nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from app.inference.checkpoint import frozen_encode, script
from app.inference.encoder_output import EncoderOutput
from app.inference.preprocessing import to_unit_range
from model_training.data.images import read_image
from model_training.data.study import Study, View
from model_training.model.report_model import ReportModel
from model_training.progress import Progress
from model_training.synthetic.negatives import KINDS, crop, draw_negative, spoil, with_film
from model_training.synthetic.phantom import generate_study
from model_training.synthetic.phantom.geometry import Array, f32

PHANTOM_SIZE = 256
_FILM_SIZE = 512  # pixels on the longer side: hundreds of films are held at once
_BATCH = 16
_TURNS = (0, 1, 2, 3)  # of 90 degrees anticlockwise


@dataclass(frozen=True, eq=False)
class Group:
    """Examples of one sort, features f32[N,C], that together weigh `weight`, however many they are.

    `turns` counts 90 degrees anticlockwise; `real` are films as they came. Of what is no chest radiograph only that is
    known.
    """

    name: str
    weight: float
    features: Tensor
    chest: bool = True
    real: bool = False
    inverted: bool = False
    turns: int = 0
    view: View | None = None

    @property
    def upright(self) -> bool:
        """Whether it is a chest radiograph as it should be."""
        return self.chest and not self.inverted and self.turns == 0


@dataclass(frozen=True, slots=True)
class Amounts:
    """How many examples: films a source, phantom studies, negatives a kind."""

    films: int
    phantoms: int
    negatives: int


def make_groups(
    model: ReportModel, studies: Sequence[Study], amounts: Amounts, split: Literal["train", "val"], seed: int
) -> list[Group]:
    """All groups of a split; phantoms and negatives of different splits or seeds are different ones.

    Raises ValueError where the split has no images or an amount is 0, `UnreadableImageError` where an image cannot
    be decoded.
    """
    if min(amounts.films, amounts.phantoms, amounts.negatives) < 1:
        raise ValueError("there must be films, phantoms and negatives")
    films = _films(studies, split, amounts.films, seed)
    if not films:
        raise ValueError(f"the collection has no images in the split {split}")
    place = (seed, split == "val")
    everything = [film for part in films.values() for film in part]
    total = sum(6 * len(part) for part in films.values()) + 10 * amounts.phantoms + len(KINDS) * amounts.negatives
    with Progress(f"ood, {split}", total, "image") as progress:
        encode = _Encoder(model, progress)
        groups = [group for sort, part in films.items() for group in _film_groups(encode, *sort, part, place)]
        groups += _phantom_groups(encode, amounts.phantoms, everything, place)
        for number, kind in enumerate(KINDS):
            drawn = (draw_negative((*place, number, i), kind, everything) for i in range(amounts.negatives))
            groups.append(Group(kind, 1 / len(KINDS), encode(drawn), chest=False))
    return groups


class _Encoder:
    """Pictures f32[H,W] to the summaries f32[N,C] that the head of out-of-distribution detection looks at."""

    def __init__(self, model: ReportModel, progress: Progress) -> None:
        self._preprocess, self._progress = model.preprocess, progress
        own, model.intake = model.intake, nn.Identity()
        try:
            # Frozen as the service has it, in a third of the time; what that head says is its input, then.
            self._encode = frozen_encode(script(model.eval()))
        finally:
            model.intake = own

    @torch.inference_mode()
    def __call__(self, pictures: Iterable[Array]) -> Tensor:
        found, coming = [], iter(pictures)
        while part := list(islice(coming, _BATCH)):
            views = torch.stack([self._preprocess(torch.tensor(np.ascontiguousarray(picture))) for picture in part])
            filled = F.pad(views, [0, 0, 0, 0, 0, 0, 0, _BATCH - len(part)])  # another size is compiled anew
            encoded = EncoderOutput(*self._encode(filled.contiguous(memory_format=torch.channels_last)))
            found.append(encoded.ood_logits[: len(part)])
            for _ in part:
                self._progress.advance()
        return torch.cat(found).clone()


def _films(studies: Sequence[Study], split: str, count: int, seed: int) -> dict[tuple[str, View], list[Array]]:
    """Up to `count` films f32[H,W] of each source and view, at random, the same ones for a seed.

    Films of unknown view are taken for frontal.
    """
    paths: defaultdict[tuple[str, View], list[Path]] = defaultdict(list)
    for study in studies:
        for image in study.images if study.split == split else ():
            paths[study.source or "", image.view or "frontal"].append(image.path)
    films = {}
    with ThreadPoolExecutor() as pool:
        for sort, found in sorted(paths.items()):
            chosen = np.random.default_rng(seed).permutation(len(found))[:count]
            films[sort] = list(pool.map(_film, [found[i] for i in chosen]))
    return films


def _film(path: Path) -> Array:
    image = Image.fromarray(to_unit_range(read_image(path).pixels).numpy())
    image.thumbnail((_FILM_SIZE, _FILM_SIZE), Image.Resampling.BOX)
    return f32(np.asarray(image))


def _film_groups(
    encode: _Encoder, source: str, view: View, films: Sequence[Array], place: tuple[int, ...]
) -> Iterator[Group]:
    rngs = [np.random.default_rng((*place, 1, i)) for i in range(len(films))]
    name = f"{view} films of {source}" if source else f"{view} films"
    yield Group(name, 1.0, encode(films), real=True, view=view)
    spoilt = [spoil(rng, crop(rng, film, 0.2), invert=0) for rng, film in zip(rngs, films, strict=True)]
    yield Group(f"{name}, spoilt", 0.5, encode(spoilt), view=view)
    either = [(film, worse)[i % 2] for i, (film, worse) in enumerate(zip(films, spoilt, strict=True))]
    yield Group(f"{name}, inverted", 0.4, encode(1 - film for film in either), inverted=True)
    for turns in _TURNS[1:]:
        yield Group(f"{name}, turned {90 * turns}", 0.2, encode(np.rot90(film, turns) for film in either), turns=turns)


def _phantom_groups(encode: _Encoder, studies: int, films: Sequence[Array], place: tuple[int, ...]) -> Iterator[Group]:
    """Phantoms frontal and lateral, the lateral ones inverted and turned, too: a lateral film is not a turned one."""
    drawn = [generate_study(2**31 + sum(place), i, PHANTOM_SIZE, frontal_only_share=0).images for i in range(studies)]

    def disguised(view: View, inverted: bool, turns: int, draw: int) -> Iterator[Array]:
        for i, images in enumerate(drawn):
            rng = np.random.default_rng((*place, 2, view == "lateral", inverted, turns, draw, i))
            image = images[view][:, :: int(rng.choice((-1, 1)))]
            image = with_film(rng, crop(rng, image, 0.4), films[int(rng.integers(len(films)))])
            image = spoil(rng, np.rot90(1 - image if inverted else image, turns), invert=0)
            yield image

    views: tuple[View, View] = ("frontal", "lateral")
    for view in views:
        for draw in range(2):
            yield Group(f"phantoms, {view} {draw}", 0.25, encode(disguised(view, False, 0, draw)), view=view)
    for inverted, turns in ((True, 0), (False, 1), (False, 2), (False, 3)):
        state = "inverted" if inverted else f"turned {90 * turns}"
        features = encode(disguised("lateral", inverted, turns, 0))
        yield Group(f"phantoms, lateral, {state}", 0.1, features, inverted=inverted, turns=turns)
