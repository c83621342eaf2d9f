"""What an archive's `encode` returns, by name."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class EncoderOutput(NamedTuple):
    """Of images f32[B,1,S,S], each on its own; TorchScript and OpenVINO return the same as a plain tuple.

    `memory` f32[B,P,D]; `finding_logits` f32[B,F+1], that the whole is abnormal behind the findings; `view_logits`
    f32[B,2]; `evidence` f32[B,P,F+1] for the same by position; `ood_logits` f32[B,K], what the out-of-distribution head
    says; `anatomy` f32[B,C,A,A], over the square that the network sees: logits of `app.inference.chest.STRUCTURES`,
    or of one class alone where no head for them was fitted.
    """

    memory: Tensor
    finding_logits: Tensor
    view_logits: Tensor
    evidence: Tensor
    ood_logits: Tensor
    anatomy: Tensor
