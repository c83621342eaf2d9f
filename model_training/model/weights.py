"""Files of tensors, as torch writes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from model_training.data.files import UnreadableFileError


def read_tensors(path: Path, remedy: str = "") -> dict[str, Any]:
    """The dictionary that the file holds, on the CPU; only tensors and plain values, never code.

    Raises OSError, and `UnreadableFileError` where it is damaged or none, with a `remedy` at the end.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # zip, pickle and torch have a dozen kinds for a damaged file
        raise UnreadableFileError(f"{path}: damaged, cut short, or no file of tensors{remedy}") from error
    if not isinstance(content, dict):
        raise UnreadableFileError(f"{path}: no dictionary of tensors{remedy}")
    return content


@contextmanager
def fetching(weights: str, encoder: str) -> Iterator[None]:
    """Whatever keeps weights of this name from being downloaded is said with the settings that need no network.

    An unknown name stays the ValueError it is. Raises OSError.
    """
    try:
        yield
    except ValueError:
        raise
    except Exception as error:  # of sockets, of HTTP, of files in the cache that are cut short
        if not weights:
            raise
        raise OSError(
            f"the weights {weights} of {encoder} cannot be fetched ({' '.join(str(error).split())}). Without a network"
            " name a file that holds them, --set model.encoder_weights=FILE.pth, or train from nothing,"
            ' --set model.encoder_weights=""'
        ) from error
