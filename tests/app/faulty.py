"""`python -m tests.app.faulty serve …`: the real server, whose decoder fails as the file FAULT_FILE says."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from app import cli
from app.inference.network.decoder import Decoder, DecoderInput
from app.inference.network.packed_decoder import make_decoder

FAULT_FILE = "FAULT_FILE"  # the environment variable that names it


class FaultyDecoder:
    """A decoder that works, but for the fault of the moment."""

    def __init__(self, decoder: Decoder, fault: Path) -> None:
        self._decoder = decoder
        self._fault = fault

    def prepare(self, cross_kv: list[Tensor]) -> list[Tensor]:
        return self._decoder.prepare(cross_kv)

    def allocate(self, studies: int, beams: int, length: int) -> list[Tensor]:
        return self._decoder.allocate(studies, beams, length)

    def step(self, batches: Sequence[DecoderInput]) -> list[Tensor]:
        while (fault := self._read()) == "wait":
            time.sleep(0.01)
        match fault:
            case "hang":
                time.sleep(60)
            case "hang with the interpreter lock":
                ctypes.PyDLL(None).sleep(60)
            case "out of memory":
                raise torch.OutOfMemoryError
        return self._decoder.step(batches)

    def _read(self) -> str:
        with suppress(FileNotFoundError):
            return self._fault.read_text()
        return ""


def main() -> int:
    """Serves with the fault built in."""
    fault = Path(os.environ[FAULT_FILE])
    with patch("app.inference.generator.make_decoder", lambda *given: FaultyDecoder(make_decoder(*given), fault)):
        return cli.main()


if __name__ == "__main__":
    sys.exit(main())
