"""What one replica costs, as measured: processor time of each part of a report, and how much it lets in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """Studies alike: images of each, beams and steps of its report, and processor seconds: of an image until it is what
    the network takes, and of all that is neither image nor network (receiving, answering), half of it before the report
    and half after. `share` is how common they are beside the other kinds: 0 in no mixture."""

    name: str
    images: int
    beams: int
    steps: float
    decode_seconds: float
    serve_seconds: float = 0.0
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Curve:
    """One replica: `step_seconds` is what a beam step takes at `step_rows` beams, ascending, and `encode_seconds` an
    image, both in seconds of a processor or, with `accelerator`, of the GPU. All parts of a replica share its `cores`;
    a GPU is shared by encoding and steps alone. The limits are those of the service's settings."""

    kinds: tuple[Kind, ...]
    encode_seconds: float
    step_rows: tuple[float, ...]
    step_seconds: tuple[float, ...]
    cores: float = 1.0
    decode_workers: int = 2
    accelerator: bool = False
    start_seconds: float = 10.0
    max_rows: int = 64
    max_queue: int = 64
    max_requests: int = 128

    def __post_init__(self) -> None:
        """Raises ValueError for a curve without studies, or whose steps are not one for each number of beams."""
        if sum(kind.share for kind in self.kinds) <= 0 or len(self.step_rows) != len(self.step_seconds):
            raise ValueError("no studies, or not one step for each number of beams")
        if sorted(set(self.step_rows)) != list(self.step_rows) or min(self.step_seconds) <= 0:
            raise ValueError("numbers of beams that do not ascend, or a step that takes no time")

    def step(self, rows: float) -> float:
        """Seconds of a step of so many beams: between two measured ones in proportion, beyond the last by its slope, if
        that is one: two that lie close may be measured the wrong way round."""
        known, seconds = self.step_rows, self.step_seconds
        if len(known) == 1 or rows <= known[0]:
            return seconds[0]
        last = next((i for i in range(1, len(known)) if known[i] >= rows), len(known) - 1)
        slope = (seconds[last] - seconds[last - 1]) / (known[last] - known[last - 1])
        return seconds[last] + (max(0.0, slope) if rows > known[last] else slope) * (rows - known[last])

    def slowed(self, factor: float) -> Curve:
        """The same replica on a machine on which all takes so much longer."""
        kinds = tuple(
            replace(kind, decode_seconds=factor * kind.decode_seconds, serve_seconds=factor * kind.serve_seconds)
            for kind in self.kinds
        )
        steps = tuple(factor * seconds for seconds in self.step_seconds)
        return replace(self, kinds=kinds, encode_seconds=factor * self.encode_seconds, step_seconds=steps)

    def of(self, name: str) -> Curve:
        """The same replica with studies of one kind alone. Raises ValueError for one that it does not know."""
        found = [replace(kind, share=1.0) for kind in self.kinds if kind.name == name]
        if not found:
            raise ValueError(f"no studies {name!r}; known: {', '.join(kind.name for kind in self.kinds)}")
        return replace(self, kinds=tuple(found))

    def to_json(self) -> str:
        """The file that `read_curve` reads."""
        return json.dumps(asdict(self), indent=1) + "\n"


def read_curve(path: Path) -> Curve:
    """A curve from its file. Raises ValueError that names the file, OSError where there is none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        kinds = tuple(Kind(**kind) for kind in content.pop("kinds"))
        return Curve(kinds, **{name: _tuple(value) for name, value in content.items()})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not what `python -m benchmarks capacity` writes of a replica") from error


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def mean_of(kinds: Sequence[Kind]) -> Kind:
    """The study in the middle of these kinds."""
    total = sum(kind.share for kind in kinds)

    def mean(name: str) -> float:
        return float(sum(kind.share * getattr(kind, name) for kind in kinds) / total)

    images, beams = round(mean("images")), round(mean("beams"))
    return Kind("mean", images, beams, mean("steps"), mean("decode_seconds"), mean("serve_seconds"))
