"""What every peer serves: a batch of studies through the archive, with our decoding, preprocessing and beam search.

Only the batching is theirs: a batch is taken as a whole, and whoever is in it waits for the longest.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.images.decode import decode_image
from app.inference.checkpoint import load_checkpoint
from app.inference.encoder_output import EncoderOutput
from app.inference.network.decoder import ArchiveDecoder
from app.inference.network.encoder import study_encoder
from app.inference.options import OPERATING_POINTS, DecodingOptions
from app.inference.preprocessing import to_unit_range
from app.inference.search.beam_batch import search

MAX_BATCH = 16
BATCH_WAIT_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Job:
    """One image file and the options of its report."""

    image: bytes
    options: DecodingOptions

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Job:
        """`{"image": base64, "options": {…}}`."""
        return cls(base64.b64decode(body["image"]), DecodingOptions(**body["options"]))


class Reporter:
    """The archive, stepped plainly."""

    def __init__(self, checkpoint: Path) -> None:
        loaded = load_checkpoint(checkpoint)
        self.module, self.tokenizer = loaded.module, loaded.tokenizer
        self.decoder = ArchiveDecoder(self.module)
        self.encoder = study_encoder(
            loaded, lambda images: EncoderOutput(*self.module.encode(images)), torch.device("cpu")
        )
        self.warm_up()

    def warm_up(self) -> None:
        """TorchScript compiles at the first calls."""
        picture = torch.zeros(64, 64)
        for size in (1, 2, MAX_BATCH, MAX_BATCH):
            self.write(
                [self.module.preprocess(picture)] * size, [DecodingOptions(num_beams=3, max_new_tokens=4)] * size
            )

    def prepare(self, image: bytes) -> Tensor:
        """An image file as the network sees it."""
        with torch.inference_mode():
            prepared: Tensor = self.module.preprocess(to_unit_range(decode_image(image).pixels))
        return prepared

    def report(self, jobs: list[Job]) -> list[str]:
        """Reports on a batch, in order."""
        return self.write([self.prepare(job.image) for job in jobs], [job.options for job in jobs])

    @torch.inference_mode()
    def write(self, images: list[Tensor], options: list[DecodingOptions]) -> list[str]:
        """Encodes together; decodes those of one beam width together."""
        _, cross_kv = self.encoder([image[None] for image in images], [OPERATING_POINTS[0]] * len(images))
        groups: defaultdict[int, list[int]] = defaultdict(list)
        for i, one in enumerate(options):
            groups[one.num_beams].append(i)
        found: dict[int, dict[str, str]] = {}
        for members in groups.values():
            chosen = search(self.decoder, [table[members] for table in cross_kv], [options[i] for i in members])
            found |= {i: self.tokenizer.decode(best.ids) for i, (best, *_) in zip(members, chosen, strict=True)}
        return ["\n\n".join(found[i].values()) for i in range(len(images))]
