"""Which figures each table of an evaluation shows, in this order."""

from __future__ import annotations

from model_training.metrics import registry

NAMING = "names a finding"
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


def text() -> list[str]:
    """Every score of texts."""
    scores = [metric.name for metric in registry.METRICS]
    return [*scores, *(metric.name for metric in registry.CORPUS_METRICS if not metric.memorisation)]


def memorisation() -> list[str]:
    """The signs of it."""
    return [metric.name for metric in registry.CORPUS_METRICS if metric.memorisation]


def headline() -> list[str]:
    """The scores of texts by which systems are compared."""
    return [metric.name for metric in registry.METRICS if metric.headline]


def group(normal: bool) -> list[str]:
    """What is resampled of normal or of abnormal studies alone. Where nothing is to be found, F1 is 0 or undefined and
    only the false alarms count."""
    return [*(metric.name for metric in registry.METRICS if not (normal and metric.of_findings)), NAMING]
