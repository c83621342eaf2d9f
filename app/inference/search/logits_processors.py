"""Options that change scores by what was written so far, as Hugging Face's logits processors of the same names do: of
N studies of K beams at once, each study at its own length. Nothing asks for values, so that a GPU can record it."""

from __future__ import annotations

import torch
from torch import Tensor


def penalised(scores: Tensor, past: Tensor, penalty: Tensor) -> Tensor:
    """Scores f32[N,K,V] after `repetition_penalty` f32[N] of what is in the past, i64[N,K,T]."""
    seen, factor = scores.gather(2, past), penalty[:, None, None]
    return scores.scatter(2, past, torch.where(seen < 0, seen * factor, seen / factor))


def without_repeats(scores: Tensor, past: Tensor, lengths: Tensor, size: int, chosen: Tensor) -> Tensor:
    """Scores f32[N,K,V] after `no_repeat_ngram_size` = `size` of the studies chosen, bool[N], given their past
    i64[N,K,T], of which the first `lengths` i64[N] positions count."""
    if size > past.shape[2]:
        return scores
    windows = past.unfold(2, size, 1)  # [N,K,T-size+1,size]
    starts = torch.arange(windows.shape[2], device=past.device)
    recent = lengths[:, None] + torch.arange(1 - size, 0, device=past.device)  # positions of the last size - 1 tokens
    latest = past.gather(2, recent.clamp(min=0)[:, None].expand(-1, past.shape[1], -1))
    within = (starts + size <= lengths[:, None]) & chosen[:, None]
    repeats = (windows[..., :-1] == latest[:, :, None]).all(-1) & within[:, None]
    banned = torch.zeros((*scores.shape[:2], scores.shape[2] + 1), dtype=torch.bool, device=scores.device)
    # Windows that do not repeat go to a spare column, where they cannot unban another's token.
    banned.scatter_(2, torch.where(repeats, windows[..., -1], scores.shape[2]), True)
    return scores.masked_fill(banned[..., :-1], float("-inf"))
