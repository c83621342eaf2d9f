"""How every command is told its collection, and opens it."""

from __future__ import annotations

import argparse
from pathlib import Path

from model_training.data.collection import ALL, NONE, SPLITS, Collection
from model_training.data.readers import LAYOUTS, read_collection


def add_data_arguments(
    parser: argparse.ArgumentParser, *, split: str = "", purpose: str = "", everything: bool = False
) -> None:
    """`--data` and `--layout`; with the name of a default `split` also `--split`, which `purpose` says the use of.

    `everything` allows `all` for the split.
    """
    parser.add_argument("--data", type=Path, required=True, help="folder of a collection, any layout")
    parser.add_argument("--layout", choices=LAYOUTS, help="the collection's layout, where it cannot be told")
    if split:
        choices = (*SPLITS, NONE, *((ALL,) if everything else ()))
        parser.add_argument("--split", default=split, choices=choices, help=f"studies to {purpose} (default: {split})")


def open_collection(args: argparse.Namespace) -> Collection:
    """The collection that the arguments name. Raises as `read_collection`."""
    return read_collection(args.data, args.layout)
