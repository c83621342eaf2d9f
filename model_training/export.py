"""Export: from a training run to the checkpoint that `app` serves."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.inference.checkpoint import CheckpointError, save_checkpoint, script
from app.inference.options import DecodingOptions
from app.inference.uncertainty import RULE
from app.text.tokenizer import BOS, Tokenizer
from model_training.config import Config
from model_training.model.report_model import VIEW_NAMES, ReportModel
from model_training.training import run_folder


def export_model(
    model: ReportModel,
    tokenizer: Tokenizer,
    config: Config,
    path: Path,
    *,
    metrics: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Any] | None = None,
    intake: Mapping[str, Any] | None = None,
) -> str:
    """Writes the archive and its SHA-256 beside it. Returns the SHA-256.

    `calibration` is what `calibrate` fitted, `intake` what `fit_ood` found.

    Raises `CheckpointError` when the scripted model does not agree with the eager one, or would not load.
    """
    if intake:
        model.attach_intake(intake["head"], intake["view_head"], laterals=intake["laterals"])
    model.eval()
    findings = [decision(name, calibration) for name in config.data.findings]
    model.set_decisions(
        *([f["temperature"] * logit(f[key]) for f in findings] for key in ("threshold", "denied_below"))
    )
    module = script(model)
    check_agreement(model, module, len(tokenizer), config.data.max_views)
    manifest = {
        "name": config.card.name,
        "version": config.card.version,
        "intended_use": config.card.intended_use,
        "training_data": list(config.card.training_data),
        "image_size": config.model.image_size,
        "vocabulary_size": len(tokenizer),
        "max_new_tokens": config.model.max_new_tokens,
        "max_views": config.data.max_views,
        "section_names": list(config.data.sections),
        "view_names": list(VIEW_NAMES),
        "findings": findings,
        "abstain": calibration
        and {"rule": RULE, "balance": calibration["balance"], "below": calibration["uncertain_below"]},
        # What the network's intake says and from which logit on it counts; null: it says nothing.
        "intake": {k: v for k, v in intake.items() if k not in ("head", "view_head")} if intake else None,
        "default_options": DecodingOptions(
            num_beams=config.decoding.num_beams,
            length_penalty=config.decoding.length_penalty,
            repetition_penalty=config.decoding.repetition_penalty,
            max_new_tokens=config.model.max_new_tokens,
        ).as_dict(),
        "metrics": dict(metrics or {}),
        "git_commit": git_commit(),
        "torch_version": torch.__version__,
        "config": config.portable(),
    }
    return save_checkpoint(module, manifest, tokenizer, path)


def decision(name: str, calibration: Mapping[str, Any] | None) -> dict[str, Any]:
    """How a finding is decided on, for the manifest: without calibration, by what is likelier."""
    if calibration is None:
        return {"name": name, "temperature": 1.0, "threshold": 0.5, "denied_below": 0.5}
    return {
        "name": name,
        "temperature": round(calibration["temperatures"][name], 4),
        "threshold": round(calibration["threshold"], 4),
        "denied_below": round(calibration["denied_below"], 4),
    }


def logit(probability: float) -> float:
    """The inverse of the logistic function; of 0 and 1, that of the numbers nearest to them."""
    bounded = min(max(probability, 1e-9), 1 - 1e-9)
    return math.log(bounded / (1 - bounded))


def check_agreement(
    model: ReportModel, module: torch.jit.ScriptModule, vocabulary: int, views: int, tolerance: float = 1e-4
) -> None:
    """Raises `CheckpointError` when eager training forward and scripted cached stepping differ on random studies."""
    generator = torch.Generator().manual_seed(0)
    size = model.image_size
    mask = torch.arange(views) < torch.tensor([[1], [views]])
    images = torch.rand(int(mask.sum()), size // 2, size + 7, generator=generator)
    tokens = torch.randint(len(VIEW_NAMES) + 4, vocabulary, (2, 6), generator=generator)
    tokens[:, 0] = BOS
    with torch.inference_mode():
        views_eager = torch.stack([model.preprocess(image) for image in images])
        token_logits, findings, view_logits, _ = model(views_eager, mask, tokens)
        encoded = module.encode(torch.stack([module.preprocess(image) for image in images]))
        spread = [model.spread(part, mask) for part in encoded[:3]]
        findings_scripted, cross_kv = module.begin(spread[0], spread[1], spread[2], mask)
        stepped = _step_plainly(module, tokens, cross_kv)
    spoken = stepped.isfinite()
    pairs: Sequence[tuple[str, Tensor, Tensor]] = (
        ("finding logits", findings, findings_scripted),
        ("view logits", view_logits, encoded[2]),
        ("token logits", token_logits[spoken], stepped[spoken]),
    )
    for name, eager, scripted in pairs:
        if not torch.allclose(eager, scripted, atol=tolerance, rtol=tolerance):
            worst = float((eager - scripted).abs().max())
            raise CheckpointError(f"eager and scripted {name} disagree by {worst:.2e}")


def _step_plainly(module: torch.jit.ScriptModule, tokens: Tensor, cross_kv: list[Tensor]) -> Tensor:
    """Logits f32[N,T,V] of stepping one beam through `tokens` i64[N,T]."""
    studies, length = tokens.shape
    kv_cache = module.allocate(studies, 1, length)
    steps = []
    for t in range(length):
        ancestors = torch.zeros(studies, 1, t + 1, dtype=torch.long)
        position = torch.full((studies,), t)
        steps.append(module.decode_step(tokens[:, t : t + 1], position, ancestors, cross_kv, kv_cache)[:, 0])
    return torch.stack(steps, 1)


def git_commit() -> str:
    """The commit of the working tree, "unknown" outside of one."""
    try:
        command = ["git", "rev-parse", "HEAD"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent)  # noqa: S603 fixed words
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training export`."""
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    parser.add_argument("--out", type=Path, required=True, help="the archive to write")
    parser.add_argument("--evaluation", type=Path, help="JSON of `evaluate`, for the manifest's metrics")


def run(args: argparse.Namespace) -> int:
    """Writes the archive."""
    try:
        model, tokenizer, config = run_folder.load_run(args.run)
        evaluation = json.loads(args.evaluation.read_text()) if args.evaluation else {}
        sha256 = export_model(
            model,
            tokenizer,
            config,
            args.out,
            metrics=evaluation.get("metrics"),
            calibration=run_folder.read_calibration(args.run),
            intake=run_folder.load_intake(args.run),
        )
    except (OSError, CheckpointError) as error:
        print(f"error: {error}")
        return 1
    print(f"{args.out} ({args.out.stat().st_size / 1e6:.1f} MB), SHA-256 {sha256}")
    return 0
