"""The command `train`: a collection and a configuration in, the folder of a run out.

With several processes, on one machine or more: `torchrun … -m model_training train …`, see docs/training.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from app.inference.memory import keep_freed_memory
from app.text.tokenizer import Tokenizer
from model_training.config import Config, load_config
from model_training.data import Collection, Study
from model_training.data.arguments import add_data_arguments, open_collection
from model_training.data.pairing.composition import Composer
from model_training.data.pairing.reports import read_composer
from model_training.data.selection import select_studies
from model_training.data.text.phrases import with_phrases
from model_training.metrics import text as text_metrics
from model_training.model.build import build_model
from model_training.training import run_folder
from model_training.training.dataset import Examples, training_text
from model_training.training.distributed import LostProcessError, Processes, joined_processes, started_anew
from model_training.training.interruption import InterruptedRunError
from model_training.training.run_folder import RunError
from model_training.training.teachers import distillation_targets
from model_training.training.trainer import DivergedError, Trainer

# EX_TEMPFAIL of sysexits.h: not done, to be tried again. Not 0, or what follows in a script would take it for finished.
INTERRUPTED = 75
Split = tuple[list[Study], list[dict[str, str]]]  # studies and their texts
DRAWS = 20_000
"""Composed reports that words and phrases are counted in."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training train`."""
    parser.description = (
        "Train a model on a collection. The same command goes on with a run that was interrupted (SIGTERM and Ctrl-C"
        f" save and exit with status {INTERRUPTED}); a finished run is left alone."
    )
    add_data_arguments(parser)
    parser.add_argument("--config", default="phantom", help="a shipped configuration's name or a TOML file")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--cache", type=Path, help="folder for decoded images, to share it (default: in the run's)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever run the folder holds")


def run(args: argparse.Namespace) -> int:
    """Trains, or goes on training, and leaves the best state in `<out>`."""
    with joined_processes() as processes:
        if processes.device.type == "cpu":
            keep_freed_memory()
        try:
            return _trained(prepare(args, processes))
        except LostProcessError as error:  # whoever is left says so: it may be the first that is gone
            kept = f"what was last saved in {args.out} is kept, and the same command goes on from there"
            print(f"error: {error}; {kept}", file=sys.stderr, flush=True)
            return INTERRUPTED


def _trained(trainer: Trainer) -> int:
    """Trains to the end, or to an interruption; the exit status. Raises `LostProcessError`."""
    say, monitor = trainer.processes.say, trainer.training.monitor
    try:
        best = trainer.fit()
    except InterruptedRunError:
        say(f"interrupted at step {trainer.step:,} and saved; the same command goes on from there")
        return INTERRUPTED
    except DivergedError as error:
        say(f"error: {error}")
        return 1
    say(f"best epoch {best['epoch']}, validation {monitor} {best['val'][monitor]:.4f}; state in {trainer.folder}")
    return 0


def prepare(args: argparse.Namespace, processes: Processes) -> Trainer:
    """Everything up to the first step: configuration, studies, vocabulary, network, and the state to resume from.

    Raises `ConfigError`, `RunError`, OSError for what cannot be read, ValueError for a collection or weights that do
    not fit, ImportError for an optional package that lacks, `LostProcessError`.
    """
    config = load_config(args.config, args.overrides)
    if config.training.monitor == "BLEU-4":
        text_metrics.bleu_statistics(["."], ["."])  # a scorer that lacks is better missed now than after an epoch
    fresh = args.fresh and not started_anew()
    state = None if fresh else _state(args.out, config, processes)
    splits, held_back, composer = _read(args, config, processes)
    written = list(composer.texts(DRAWS) if composer else splits[0][1])
    tokenizer = Tokenizer.build(written, config.data.sections, config.data.min_count)
    tokenizer = with_phrases(tokenizer, written, config.data.phrases)
    cache = args.cache or args.out / "cache"
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.training.seed)
    with processes.first_goes_first():
        if fresh and processes.first:
            run_folder.clear_run(args.out)  # once all that can be wrong with the arguments has been looked at
        model = build_model(config, len(tokenizer), pretrained=state is None)
        train, val = (Examples(studies, texts, tokenizer, config, model, cache, composer) for studies, texts in splits)
        if state and not config.training.teachers:  # before hours of decoding, where images have no part in it
            run_folder.check_studies(args.out, state, train.fingerprint() + val.fingerprint())
        for examples in (train, val):
            examples.decode()
        model.set_prior(train.labels)
        if config.training.start_from and state is None:
            run_folder.start_from(Path(config.training.start_from), model)
        if config.training.teachers and processes.first:
            train.targets = distillation_targets(train, config, cache)
    processes.share(model)
    train.targets = processes.first_does(lambda: train.targets)
    trainer = Trainer(config, model, tokenizer, train, val, args.out, processes)
    if not processes.agree(f"{trainer.fingerprint} {config.portable()}"):
        raise RunError("the processes of this run have other studies or another configuration each")
    if state:
        run_folder.check_studies(args.out, state, trainer.fingerprint)
        trainer.resume(state)
    parameters = sum(p.numel() for p in model.parameters())
    processes.say(f"{len(tokenizer):,} words, {parameters:,} parameters, {processes.count} × {processes.device}")
    if state:
        processes.say(f"resuming after step {trainer.step:,} of {trainer.steps:,}")
    if processes.first:
        run_folder.record_start(args.out, config, _start(args, trainer, processes, held_back))
    return trainer


def _state(folder: Path, config: Config, processes: Processes) -> dict[str, Any] | None:
    """What an interrupted run in the folder goes on from. Raises as `resumable` and `load_state`, and `RunError` where
    another machine has the run."""
    state = processes.first_does(
        lambda: run_folder.load_state(folder, config) if run_folder.resumable(folder) else None
    )
    elsewhere = processes.sum(torch.tensor(float(run_folder.unfinished(folder))))
    if state is None and elsewhere:
        raise RunError(f"the run to go on with is in {folder} of another machine than the first; see docs/training.md")
    return state


def _read(args: argparse.Namespace, config: Config, processes: Processes) -> tuple[list[Split], int, Composer | None]:
    """What is learnt from, and what validated on, how many studies `data.exclude` held back, and what composes."""
    collection = open_collection(args)
    processes.say(collection.origin("train", "val"))
    composer = None
    if config.data.reports:
        composer, composed_of = read_composer(Path(config.data.reports), config.data, config.text)
        processes.say(composed_of)
    parts = [_read_split(collection, split, config, processes) for split in ("train", "val")]
    return [part[:2] for part in parts], sum(part[2] for part in parts), composer


def _read_split(
    collection: Collection, split: str, config: Config, processes: Processes
) -> tuple[list[Study], list[dict[str, str]], int]:
    """The studies of a split to learn from and their texts, counted aloud, and how many `data.exclude` held back."""
    everyone = collection.split(split)
    chosen, left_out = select_studies(everyone, config.data)
    texts = [training_text(study, config) for study in chosen]
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    silent = sum(not any(text.values()) for text in texts)
    processes.say(
        f"{split}: {len(chosen):,} of {len(everyone):,} studies, {silent:,} of them without text; left out: {reasons}"
    )
    if not chosen:
        raise ValueError(f"{collection.name} has no {split} studies to learn from")
    return chosen, texts, sum(study.id in config.data.excluded for study in everyone)


def _start(args: argparse.Namespace, trainer: Trainer, processes: Processes, held_back: int) -> dict[str, str | int]:
    """What is written down about a start of the run."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
        "commit": run_folder.git_commit(),
        "data": str(args.data.resolve()),
        run_folder.HELD_BACK: held_back,
        "step": trainer.step,
        "processes": processes.count,
        "device": str(processes.device),
        "precision": "bf16" if trainer.bfloat16 else "f32",
        "torch": torch.__version__,
    }
