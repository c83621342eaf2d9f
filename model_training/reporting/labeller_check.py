"""How well the rule labeller agrees with those who coded the Indiana collection."""

from __future__ import annotations

import argparse

from app.text.findings import FINDINGS
from app.text.labeller import label_report
from model_training.data.arguments import add_data_arguments, open_collection
from model_training.data.mesh import label_mesh
from model_training.metrics import agreement
from model_training.metrics.agreement import FloatArray, f1, macro_f1, micro_f1, ratio
from model_training.progress import Progress
from model_training.reporting.tables import number, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training labeller`."""
    add_data_arguments(parser, split="test", purpose="compare on, with human MeSH codes")


def run(args: argparse.Namespace) -> int:
    """Print how far the labels of the findings sections agree with the codes of their studies."""
    collection = open_collection(args)
    studies = [s for s in collection.studies_of(args.split) if s.findings and s.mesh]
    if not studies:
        raise ValueError(f"{args.data} has no findings with MeSH codes in its {args.split} split")
    print(collection.origin(args.split))
    codes, labels = [], []
    with Progress("label", len(studies), "study") as progress:
        for study in studies:
            codes.append(label_mesh(study.mesh))
            labels.append(label_report(study.findings))
            progress.advance()
    print(f"{args.split}: {len(studies)} coded studies\n")
    print(finding_table(agreement.label_counts(codes, labels), agreement.side_counts(codes, labels)))
    return 0


def finding_table(counts: FloatArray, sides: FloatArray) -> str:
    """Support, precision, recall and F1 of every finding, and the averages, as Markdown."""
    total = counts.sum(axis=0)
    true_positives, false_positives, false_negatives = total.T
    support = true_positives + false_negatives
    columns = {
        "support": [str(int(count)) for count in support],
        "precision": [number(share) for share in ratio(true_positives, true_positives + false_positives)],
        "recall": [number(share) for share in ratio(true_positives, support)],
        "F1": [number(score) for score in f1(total)],
    }
    rows = {finding: {name: cells[i] for name, cells in columns.items()} for i, finding in enumerate(FINDINGS)}
    judged, equal = sides.sum(axis=0)
    return (
        f"{table(rows, list(columns), cell=str)}\n\n"
        f"Micro-F1 {number(float(micro_f1(total)))}, macro-F1 {number(float(macro_f1(total)))}. "
        f"Side accuracy {number(float(ratio(equal, judged)))} of {int(judged)} findings with a side."
    )
