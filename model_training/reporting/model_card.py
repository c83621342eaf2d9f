"""The command `card`: the model card of a checkpoint, from what the archive says of itself.

The numbers are the archive's, as `evaluate` measured them. The words are those of the `[card]` section of the
configuration it was trained with, or of one named, where they have been put better since.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from app.inference.checkpoint import Checkpoint, load_checkpoint
from app.inference.manifest import Manifest
from app.inference.options import OPERATING_POINTS
from model_training.config import Config, config_from, load_config
from model_training.reporting import card_picture
from model_training.reporting.columns import ABSTAINING, AREAS, HEAD, TEXT_OF_LABELS, headline
from model_training.reporting.summary import consistency, decisions, estimates, ood, places, pointing, stated
from model_training.reporting.tables import interval, number, table

_PAIRED = (
    "The images have labels and no reports. The decoder learnt **what real reports say when they are told facts**: "
    "sentences of other patients' reports that together state and deny what the labels do, once each. This teaches "
    "wording; it cannot teach how large a finding is, how old, or anything that no label names."
)

_RETRAIN = (
    "Whoever has the images of the Indiana collection can train on real pairs, which also teach sides, places and "
    "sizes: get it from Open-i, then `python -m model_training train --data DATA --config iu-xray --out runs/iu`; "
    "`docs/training.md` has the further steps, up to the served checkpoint."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training card`."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--config", help="the configuration whose [card] has the words (default: the checkpoint's own)")
    parser.add_argument("--out", type=Path, help="the Markdown file to write (default: print it)")


def run(args: argparse.Namespace) -> int:
    """Writes or prints the card."""
    checkpoint = load_checkpoint(args.checkpoint)
    done = _trained_with(checkpoint.manifest)
    config = replace(done, card=load_config(args.config).card) if args.config else done
    source = card_picture.pictured_source(checkpoint.manifest.metrics) if args.out else None
    picture = args.out.with_suffix(".svg") if source else None
    text = card(checkpoint, config, args.checkpoint, picture)
    if source and picture:
        card_picture.draw(checkpoint.manifest.metrics, source, picture)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


def card(checkpoint: Checkpoint, words: Config, path: Path, picture: Path | None = None) -> str:
    """The card as Markdown, with the picture beside it if there is one: first what whoever is to trust the checkpoint
    should know, then the tables."""
    manifest = checkpoint.manifest
    parts = [
        f"# {manifest.name} {manifest.version}",
        f"**{words.card.intended_use}**",
        *([f"![What it sees well and badly, and what its operating points trade]({picture.name})"] if picture else []),
        *words.card.notes,
        *(["## Failures", _items(words.card.failures)] if words.card.failures else []),
        *_examples(manifest.metrics),
        *(["## Not to be used for", _items(words.card.excluded_use)] if words.card.excluded_use else []),
        "## Limits",
        _items(words.card.limits),
        "## The checkpoint",
        _facts(checkpoint, words, path),
        "## Training data",
        _items(words.learnt_from),
        *([_PAIRED] if _trained_with(manifest).data.reports else []),
        "## Measured",
        *_measured(manifest.metrics),
        "## Decisions of the finding head",
        "A finding is called present from the threshold of the operating point on, in a study abnormal from its own "
        "on; its probability is the sigmoid of the logit over the temperature plus the bias. All were fitted on "
        "validation, and so were the sensitivity and specificity of each threshold by itself.",
        *_decisions(manifest),
        *(["## On the paired collection", _RETRAIN] if _trained_with(manifest).data.reports else []),
    ]
    return "\n\n".join(part if part.startswith(("|", "- ")) else _wrapped(part) for part in parts if part) + "\n"


def _trained_with(manifest: Manifest) -> Config:
    """What a card tells of the checkpoint's configuration. The rest is not read: its keys may be of another version."""
    config = manifest.config
    reports, start = config["data"].get("reports", ""), config["training"].get("start_from", "")
    excluded = config["data"].get("exclude", ())
    told = {"data": {"reports": reports, "exclude": excluded}, "training": {"start_from": start}}
    return config_from({"model": config["model"], "card": config["card"], **told})


def _items(lines: Sequence[str]) -> str:
    return "\n".join(_wrapped(f"- {line}", "  ") for line in lines)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _examples(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Reports drawn at random by `evaluate`, beside what the studies are labelled with."""
    if examples := metrics.get("examples"):
        yield "## Reports drawn at random"
        yield f"{len(examples)} of the {metrics['split']} split, after what is known of the study."
        yield _items([f"**{', '.join(one['labels'])}** ({one['source']}): {one['report']}" for one in examples])


def _facts(checkpoint: Checkpoint, words: Config, path: Path) -> str:
    manifest = checkpoint.manifest
    model = _trained_with(manifest).model
    parameters = sum(p.numel() for p in checkpoint.module.parameters())
    start = f"from {model.encoder_weights}" if model.encoder_weights else "from nothing"
    if first := _trained_with(manifest).training.start_from:
        start = f"from run {first}"
    shape = f"{model.layers} layers, width {model.width}" + (
        f", {model.heads} heads" if model.decoder == "transformer" else ""
    )
    fine = f", none finer than {model.detail}" if model.detail else ""
    facts = {
        "file": f"`{path.name}`, TorchScript, {path.stat().st_size / 1e6:.0f} MB, SHA-256 in `{path.name}.sha256`",
        "made by": words.card.made_by,
        "encoder": f"{model.encoder}, {start}, {model.image_size} × {model.image_size} pixels{fine}, one channel",
        "decoder": f"{model.decoder}, {shape}, attending to {model.conditioning}",
        "parameters": f"{parameters / 1e6:.1f} million, float32",
        "views": f"{' and '.join(manifest.views_read)}, 1 to {manifest.max_views} a study, order irrelevant",
        "sections": ", ".join(manifest.section_names),
        "made at": f"commit {manifest.git_commit[:12]}, torch {manifest.torch_version}",
    }
    return table({name: {"": value} for name, value in facts.items() if value}, [""], cell=str, align="---")


def _decisions(manifest: Manifest) -> Iterator[str]:
    """How each finding and the whole are decided on, and each operating point."""
    decided = [*manifest.findings, *filter(None, [manifest.abnormal])]
    yield table({one.name: one.to_json() for one in decided}, ("temperature", "bias", "denied_below"))
    for point in OPERATING_POINTS:
        yield f"Operating point `{point}`:"
        rows = {one.name: asdict(one.thresholds[point]) for one in decided}
        known = {name: {key: value for key, value in row.items() if value is not None} for name, row in rows.items()}
        yield table(known, ("probability", "sensitivity", "specificity"))


def _measured(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Whatever `evaluate` has put into the manifest."""
    if not metrics:
        yield "Nothing yet."
        return
    beams = metrics["options"]["num_beams"]
    yield (
        f"On {metrics['studies']} studies of the {metrics['split']} split, {beams} beams. Label F1 compares the "
        'findings that the rule labeller reads in the text with those of the study. "Shuffled images" gives every '
        "study another one's report: what is left there is what reciting earns."
    )
    for title, rows in metrics["compared"].items():
        yield "### " + title.replace("<unk>", "`<unk>`")  # or Markdown takes it for a tag
        yield table(rows, headline())
        if lead := metrics.get("leads", {}).get(title):
            shown = ", ".join(f"{name} {interval(lead[name])}" for name in headline() if name in lead)
            yield f"The model minus the best constant, with paired bootstrap 95% intervals: {shown}."
    head = metrics["finding head"]
    low, high = number(head["mean AUROC low"]), number(head["mean AUROC high"])
    yield (
        f"Finding head: mean AUROC {number(head['mean AUROC'])} ({low} to {high}), ECE {number(head['mean ECE'])} "
        f"after temperature, micro-F1 {number(head['micro-F1'])}. View accuracy {number(metrics['view accuracy'])}."
    )
    for part in (
        *consistency(metrics.get("consistency") or {}),
        *ood(metrics.get("acceptance") or {}),
        *pointing(metrics.get("pointing") or {}),
        *stated(metrics.get("stated") or {}),
        *places(metrics.get("places") or {}),
    ):
        yield part.replace("## ", "### ", 1) if part.startswith("## ") else part
    for name, part in metrics.get("sources", {}).items():
        yield f"### {name}"
        yield table({"finding head": {"studies": part["studies"], **part["head"]}}, HEAD)
        if part.get("findings"):
            yield table(part["findings"], AREAS)
        yield from decisions(name, part)
        if part["text"]:
            yield estimates(part["text"], TEXT_OF_LABELS)
        if part["abstaining"]:
            yield "Withholding the text where the finding head is unsure:"
            yield estimates(part["abstaining"], ABSTAINING)
