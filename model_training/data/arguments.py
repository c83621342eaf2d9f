"""How every command is told its collection, and opens it."""

from __future__ import annotations

import argparse
from pathlib import Path

from model_training.data.collection import ALL, NONE, SPLITS, Collection
from model_training.data.readers import LAYOUTS, read_collection
from model_training.data.subsets import sample, with_random_split


def add_data_arguments(
    parser: argparse.ArgumentParser, *, split: str = "", purpose: str = "", everything: bool = False
) -> None:
    """`--data`, `--layout`, `--random-split` and `--sample`; with the name of a default `split` also `--split`, which
    `purpose` says the use of.

    `everything` allows `all` for the split.
    """
    parser.add_argument("--data", type=Path, required=True, help="folder of a collection, any layout")
    parser.add_argument("--layout", choices=LAYOUTS, help="the collection's layout, where it cannot be told")
    parser.add_argument(
        "--random-split", action="store_true", help="draw train, val and test by patient if the collection has no split"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="only N of its studies, always the same ones")
    if split:
        choices = (*SPLITS, NONE, *((ALL,) if everything else ()))
        parser.add_argument("--split", default=split, choices=choices, help=f"studies to {purpose} (default: {split})")


def open_collection(args: argparse.Namespace) -> Collection:
    """The collection that the arguments name, or the sample of it. Raises as `read_collection`, and ValueError for a
    sample of no study."""
    collection = read_collection(args.data, args.layout)
    if args.random_split:
        collection = with_random_split(collection)
    if args.sample is None:
        return collection
    if args.sample < 1:
        raise ValueError(f"--sample: {args.sample} studies are none")
    return sample(collection, args.sample)
