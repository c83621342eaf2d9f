"""Which figures each table of an evaluation shows, in this order."""

from __future__ import annotations

WORDS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
TEXT = (*WORDS, "micro-F1", "macro-F1", "side accuracy", "sacreBLEU")
NAMING = "names a finding"
MEMORISATION = ("distinct", "copied", "prior")
COMPARED = ("BLEU-4", "ROUGE-L", "CIDEr", "micro-F1", "macro-F1", "side accuracy")
FINDING = (
    "positive", "labelled", "AUROC", "AUROC low", "AUROC high", "AP", "F1", "ECE before", "ECE", "Brier before",
    "Brier", "temperature", "threshold",
)  # fmt: skip
MEAN = ("AUROC", "AP", "F1", "ECE before", "ECE", "Brier before", "Brier")
HEAD = (
    "studies", "common findings", "AUROC", "AUROC low", "AUROC high", "mean AUROC", "micro-F1", "mean ECE", "ECE of all"
)  # fmt: skip
TEXT_OF_LABELS = (
    "micro-F1", "micro-F1 low", "micro-F1 high", "lead", "lead low", "lead high", "macro-F1", "distinct", "marks",
    "prior", "beyond labels",
)  # fmt: skip
AREAS = ("positive", "AUROC", "AUROC low", "AUROC high", "ECE")
ACCEPTED = ("images", "accepted")
POINTING = ("images", "hit", "hit low", "hit high", "middle", "lead", "lead low", "lead high")
ABSTAINING = ("answered", "micro-F1", "micro-F1 low", "micro-F1 high", "gain", "gain low", "gain high")
