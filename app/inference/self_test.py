"""The checkpoint's self-test: a picture made by a formula, and the logits that the network must give for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from app.inference.encoder_output import EncoderOutput
from app.inference.errors import CheckpointError
from app.text.tokenizer import BOS


def self_test_image(size: int = 96) -> Tensor:
    """The self-test's picture, f32[size, 1.25·size] in 0..1: made by a formula, so that nothing needs to be stored."""
    y = torch.arange(size, dtype=torch.float64)[:, None] / size
    x = torch.arange(size + size // 4, dtype=torch.float64)[None] / size
    image = 0.5 + 0.25 * torch.sin(9.0 * x + 5.0 * y) + 0.25 * torch.cos(23.0 * x * y)
    return image.float()


def run_self_test(module: torch.jit.ScriptModule, device: torch.device) -> dict[str, list[float]]:
    """Finding, view and first-token logits for the self-test's picture, told to state every other finding."""
    with torch.inference_mode():
        views = module.preprocess(self_test_image().to(device))[None]
        encoded = EncoderOutput(*module.encode(views))
        mask = torch.ones(1, 1, dtype=torch.bool, device=device)
        findings = module.join(encoded.finding_logits[None], mask)
        facts = torch.zeros(*findings.shape, 3, dtype=torch.long, device=device)
        facts[:, ::2, 0] = 1
        cross_kv = module.begin(encoded.memory[None], encoded.view_logits[None], mask, facts)
        first = torch.zeros(1, dtype=torch.long, device=device)
        bos = torch.full((1, 1), BOS, device=device)
        kv_cache = module.allocate(1, 1, 1)
        token_logits = module.decode_step(bos, first, first[:, None, None], cross_kv, kv_cache)
    return {
        "finding_logits": findings[0].float().tolist(),
        "view_logits": encoded.view_logits[0].float().tolist(),
        "token_logits": token_logits[0, 0].float().tolist(),
    }


def measure_self_test(module: torch.jit.ScriptModule) -> dict[str, list[float | None]]:
    # JSON has no infinity: a token that is never said has no logit.
    measured = run_self_test(module, torch.device("cpu"))
    return {name: [round(v, 5) if v > -1e30 else None for v in values] for name, values in measured.items()}


def compare_self_test(
    measured: Mapping[str, list[float]], expected: Mapping[str, Sequence[float | None]], tolerance: float
) -> None:
    """Raises `CheckpointError` naming the logits that differ from the manifest's by more than `tolerance`."""
    for name, values in measured.items():
        wanted = [float("-inf") if v is None else float(v) for v in expected.get(name, [])]
        if len(wanted) != len(values):
            raise CheckpointError(f"self-test: {len(values)} {name}, the manifest expects {len(wanted)}")
        close = torch.isclose(torch.tensor(values), torch.tensor(wanted), rtol=tolerance, atol=tolerance)
        if not bool(close.all()):
            raise CheckpointError(f"self-test: {name} differ from the manifest's by more than {tolerance}")
