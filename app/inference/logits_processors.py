"""Options that change scores by what was written so far, as Hugging Face's logits processors of the same names do."""

from __future__ import annotations

import torch
from torch import Tensor

from app.inference.options import DecodingOptions


def looks_back(options: DecodingOptions) -> bool:
    """Whether any of them depends on what was written so far."""
    return options.repetition_penalty != 1.0 or options.no_repeat_ngram_size > 0


def penalised(scores: Tensor, tokens: Tensor, options: DecodingOptions) -> Tensor:
    """Scores f32[K,V] after `repetition_penalty` and `no_repeat_ngram_size`, given the tokens i64[K,T] so far, bos
    included."""
    if options.repetition_penalty != 1.0:
        seen = scores.gather(1, tokens)
        penalty = options.repetition_penalty
        scores = scores.scatter(1, tokens, torch.where(seen < 0, seen * penalty, seen / penalty))
    size = options.no_repeat_ngram_size
    if 0 < size <= tokens.shape[1]:
        windows = tokens.unfold(1, size, 1)
        prefix = tokens[:, tokens.shape[1] - size + 1 :]
        repeats = (windows[..., :-1] == prefix[:, None]).all(-1)
        banned = torch.zeros(scores.shape[0], scores.shape[1] + 1, dtype=torch.bool, device=scores.device)
        # Windows that do not repeat go to a spare column, where they cannot unban another's token.
        banned.scatter_(1, torch.where(repeats, windows[..., -1], scores.shape[1]), True)
        scores = scores.masked_fill(banned[:, :-1], float("-inf"))
    return scores
