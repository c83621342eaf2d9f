"""`python -m model_training COMMAND …`: every command is a module with `add_arguments` and `run`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from app.inference.errors import CheckpointError
from app.inference.pipes import printing

COMMANDS = {
    "phantom": ("model_training.synthetic.phantom", "make a collection of synthetic radiographs and reports"),
    "describe": ("model_training.data.describe", "print what a collection holds, split by split"),
    "train": ("model_training.train", "train a model on a collection"),
    "calibrate": ("model_training.calibrate", "fit how sure a run's finding head may be, on validation"),
    "intake": ("model_training.ood.fit", "fit what refuses images that are no chest radiographs"),
    "anatomy": ("model_training.anatomy.fit", "fit what finds lungs and heart, on films with masks"),
    "wording": ("model_training.wording.fit", "fit a decoder that is told facts further, on composed reports"),
    "export": ("model_training.export", "write the checkpoint that the service loads"),
    "evaluate": ("model_training.evaluate", "generate reports for a split and score them"),
    "compare": ("model_training.reporting.compare", "print several evaluations in one table"),
    "gallery": ("model_training.reporting.gallery", "write an HTML page of reports, images and references"),
    "baselines": ("model_training.reporting.baseline_table", "score what needs no model: constants, random, nearest"),
    "card": ("model_training.reporting.model_card", "write the model card of a checkpoint"),
    "labeller": ("model_training.reporting.labeller_check", "score the rule labeller against human codes"),
}

SHARED = ("train",)

# What a user's files, settings and machine can be the cause of. Anything else is a fault of ours, with its traceback.
ERRORS = (OSError, ValueError, ImportError, CheckpointError)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit status: 2 after one line on standard error that says what is wrong."""
    with printing():
        try:
            return _run(arguments)
        except BrokenPipeError:
            raise
        except ERRORS as error:
            print(f"error: {said(error)}", file=sys.stderr)
            return 2


def command(*arguments: object) -> None:
    """Runs one command of words that are put as text, as a notebook wants it: raises what is wrong with it, and
    RuntimeError where it says that it has not done what it was asked to."""
    if status := _run([str(argument) for argument in arguments]):
        raise RuntimeError(f"{arguments[0]} ended with status {status}")


def said(error: BaseException) -> str:
    """An error's words on one line; of the system's errors, the file and what is wrong with it."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _run(arguments: list[str] | None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m model_training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, summary) in COMMANDS.items():
        parsed = commands.add_parser(name, help=summary, description=summary)
        # Only the command that runs is imported: some need packages that others do without.
        if arguments[:1] == [name]:
            implementation = importlib.import_module(module)
            implementation.add_arguments(parsed)
            parsed.set_defaults(run_command=implementation.run)  # `run` would clash with an option --run
    args = parser.parse_args(arguments)
    if args.command not in SHARED and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            f"{args.command} runs in one process, not under torchrun: only {', '.join(SHARED)} is shared by several"
        )
    status: int = args.run_command(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
