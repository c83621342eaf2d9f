"""Where the checkpoint says that a finding lies, against the boxes that radiologists drew around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from app.inference.anatomy import Anatomy, Cells
from app.inference.checkpoint import Checkpoint
from app.inference.encoder_output import EncoderOutput
from app.inference.preprocessing import to_unit_range
from model_training.anatomy.places import in_square, side_of, zone_of
from model_training.data.images import read_image
from model_training.data.study import StudyImage
from model_training.evaluation.generation import GeneratedReport
from model_training.metrics.bootstrap import Estimate, share

Outcome = tuple[bool | None, bool | None]  # whether side and zone are right, None where they are not said, or unknown


@dataclass(frozen=True, slots=True)
class PlaceScores:
    """Of so many boxes in images that show a chest: those on one side whose side is said and the share that is right,
    those whose zone is said and the share that is right."""

    boxes: int
    sided: int
    right_side: Estimate | None
    zoned: int
    right_zone: Estimate | None


def score_places(checkpoint: Checkpoint, reports: Sequence[GeneratedReport]) -> PlaceScores | None:
    """The scores on the images of these studies, whatever is decided of them; None where none has boxes."""
    images = [image for one in reports for image in one.images if image.boxes]
    if not images:
        return None
    outcomes = [outcome for image in images for outcome in look(checkpoint, image)]
    sides = [side for side, _ in outcomes if side is not None]
    zones = [zone for _, zone in outcomes if zone is not None]
    return PlaceScores(len(outcomes), len(sides), share(sides), len(zones), share(zones))


@torch.inference_mode()
def look(checkpoint: Checkpoint, image: StudyImage) -> Iterator[Outcome]:
    """What comes of each box in an image, none where no chest is seen."""
    module, manifest = checkpoint.module, checkpoint.manifest
    device = next(module.parameters()).device  # where the generator that serves it has put it
    decoded = read_image(image.path, manifest.image_size)
    view = module.preprocess(to_unit_range(decoded.pixels).to(device))
    encoded = EncoderOutput(*module.encode(view[None]))
    cells = Cells.of(module, manifest.image_size)
    seen = Anatomy(encoded.anatomy[0].cpu(), cells)
    if not seen.chest:
        return
    square = module.square(*decoded.pixels.shape)
    for i, finding in enumerate(manifest.findings):
        place = seen.locate(encoded.evidence[0, :, i].cpu(), finding.side_from, finding.zone_from)
        if not place:
            continue
        for given in image.boxes:
            if given.finding == finding.name:
                box = in_square(given.within(decoded.width, decoded.height, decoded.region), square)
                side, zone = side_of(box, seen.chest), zone_of(box, seen.chest)
                yield (
                    place.side == side if place.side and side else None,
                    place.zone == zone if place.zone else None,
                )
