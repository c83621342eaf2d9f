"""How well the rule labeller agrees with those who coded the Indiana collection."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.text.findings import FINDINGS
from app.text.labeller import label_report
from model_training.data import read_collection
from model_training.data.mesh import label_mesh
from model_training.metrics import agreement
from model_training.metrics.agreement import FloatArray, f1, macro_f1, micro_f1, ratio
from model_training.reporting.tables import number, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `python -m model_training labeller`."""
    parser.add_argument("--data", type=Path, required=True, help="folder of a collection with human MeSH codes")
    parser.add_argument("--layout", default="r2gen_json", help="its layout (default: the official split of R2Gen)")
    parser.add_argument("--split", default="test", help="the split to compare on (default: test)")


def run(args: argparse.Namespace) -> int:
    """Print how far the labels of the findings sections agree with the codes of their studies."""
    studies = [s for s in read_collection(args.data, args.layout).split(args.split) if s.findings and s.mesh]
    if not studies:
        print(f"error: {args.data} has no findings with MeSH codes in its {args.split} split")
        return 2
    codes, labels = [label_mesh(s.mesh) for s in studies], [label_report(s.findings) for s in studies]
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
