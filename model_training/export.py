"""Export: from a training run to the checkpoint that `app` serves."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.inference.checkpoint import save_checkpoint, script
from app.inference.encoder_output import EncoderOutput
from app.inference.errors import CheckpointError
from app.inference.manifest import FindingDecision, Manifest, OodDetection, Threshold
from app.inference.options import OPERATING_POINTS
from app.text.facts import ASSERTIONS
from app.text.tokenizer import BOS, SPECIAL_TOKENS, Tokenizer
from model_training.config import Config
from model_training.data.files import UnreadableFileError, read_json
from model_training.model.report_model import VIEW_NAMES, ReportModel
from model_training.training import fitted_parts, run_folder
from model_training.training.run_folder import Calibration


def export_model(
    model: ReportModel,
    tokenizer: Tokenizer,
    config: Config,
    path: Path,
    *,
    metrics: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
    intake: Mapping[str, Any] | None = None,
    anatomy: Mapping[str, Any] | None = None,
) -> str:
    """Writes the archive and its SHA-256 beside it. Returns the SHA-256.

    `calibration` is what `calibrate` fitted, `intake` what `fit_ood` found, `anatomy` what `fit_head` did.

    Raises `CheckpointError` when the scripted model does not agree with the eager one, or would not load.
    """
    if intake:
        model.attach_ood_head(intake["head"], intake["view_head"], laterals=intake["laterals"])
    if anatomy:
        model.attach_anatomy_head(anatomy["head"])
    model.eval()
    module = script(model)
    check_agreement(model, module, tokenizer, config.data.max_views)
    manifest = Manifest(
        name=config.card.name,
        version=config.card.version,
        intended_use=config.card.intended_use,
        training_data=config.learnt_from,
        image_size=config.model.image_size,
        vocabulary_size=len(tokenizer),
        max_new_tokens=config.model.max_new_tokens,
        max_views=config.data.max_views,
        section_names=config.data.sections,
        view_names=VIEW_NAMES,
        views_read=config.data.views,
        findings=tuple(calibration.findings if calibration else map(undecided, config.data.findings)),
        abnormal=calibration.abnormal if calibration else None,
        abstain=calibration.abstain if calibration else None,
        ood=OodDetection.of(intake) if intake else None,
        default_options=config.decoding_options,
        metrics=metrics or {},
        git_commit=run_folder.git_commit(),
        torch_version=torch.__version__,
        config=config.portable(),
    )
    return save_checkpoint(module, manifest, tokenizer, path)


def undecided(name: str) -> FindingDecision:
    """How a finding is decided on without calibration: by what is likelier."""
    likelier = dict.fromkeys(OPERATING_POINTS, Threshold(0.5))
    return FindingDecision(name, temperature=1.0, thresholds=likelier, denied_below=0.5)


def check_agreement(
    model: ReportModel, module: torch.jit.ScriptModule, tokenizer: Tokenizer, views: int, tolerance: float = 1e-4
) -> None:
    """Raises `CheckpointError` when eager training forward and scripted cached stepping differ on random studies."""
    generator = torch.Generator().manual_seed(0)
    size = model.image_size
    mask = torch.arange(views) < torch.tensor([[1], [views]])
    images = torch.rand(int(mask.sum()), size // 2, size + 7, generator=generator)
    tokens = torch.randint(len(SPECIAL_TOKENS), len(tokenizer), (2, 6), generator=generator)
    tokens[:, 0] = BOS
    facts = torch.randint(0, len(ASSERTIONS), (2, len(model.finding_bias), 3), generator=generator)
    with torch.inference_mode():
        views_eager = torch.stack([model.preprocess(image) for image in images])
        token_logits, findings, view_logits, *_ = model(views_eager, mask, tokens, facts)
        anatomy = model.anatomy(views_eager)
        encoded = EncoderOutput(*module.encode(torch.stack([module.preprocess(image) for image in images])))
        findings_scripted = module.join(model.spread(encoded.finding_logits, mask), mask)
        memory, seen = (model.spread(part, mask) for part in (encoded.memory, encoded.view_logits))
        cross_kv = module.begin(memory, seen, mask, facts)
        stepped = _step_plainly(module, tokens, cross_kv)
    spoken = stepped.isfinite()
    pairs: Sequence[tuple[str, Tensor, Tensor]] = (
        ("finding logits", findings, findings_scripted),
        ("view logits", view_logits, encoded.view_logits),
        ("anatomy logits", anatomy, encoded.anatomy),
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
        positions = torch.full((studies,), t)
        steps.append(module.decode_step(tokens[:, t : t + 1], positions, ancestors, cross_kv, kv_cache)[:, 0])
    return torch.stack(steps, 1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training export`."""
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    parser.add_argument("--out", type=Path, required=True, help="the archive to write")
    parser.add_argument("--evaluation", type=Path, help="JSON of `evaluate`, for the manifest's metrics")


def _metrics(path: Path) -> dict[str, Any]:
    """Those of an `evaluation.json`. Raises OSError and `UnreadableFileError`."""
    evaluation = read_json(path)
    if not isinstance(evaluation, dict) or not isinstance(evaluation.get("metrics"), dict):
        raise UnreadableFileError(f"{path}: not what `evaluate` writes, an object with metrics")
    metrics: dict[str, Any] = evaluation["metrics"]
    return metrics


def run(args: argparse.Namespace) -> int:
    """Writes the archive."""
    model, tokenizer, config = run_folder.load_run(args.run)
    fitted_parts.load_wording(args.run, model)
    if run_folder.unfinished(args.run):
        print(f"{args.run} is not finished ({run_folder.STATE} is there): this is its best epoch so far")
    sha256 = export_model(
        model,
        tokenizer,
        run_folder.as_done(config, args.run),
        args.out,
        metrics=_metrics(args.evaluation) if args.evaluation else None,
        calibration=run_folder.read_calibration(args.run, config.data.findings),
        intake=fitted_parts.load_ood_head(args.run, model),
        anatomy=fitted_parts.load_anatomy_head(args.run, model),
    )
    print(f"{args.out} ({args.out.stat().st_size / 1e6:.1f} MB), SHA-256 {sha256}")
    return 0
