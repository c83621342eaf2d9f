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
    print(f"{args.split}: {len(studies)} coded studies")
    print(finding_table(agreement.label_counts(codes, labels), agreement.side_counts(codes, labels)))
    return 0


def finding_table(counts: FloatArray, sides: FloatArray) -> str:
    """Support, precision, recall and F1 of every finding, and the averages, as text."""
    total = counts.sum(axis=0)
    lines = [f"{'finding':28s} support  precision  recall     F1"]
    for finding, row in zip(FINDINGS, total, strict=True):
        true_positive, false_positive, false_negative = row
        precision = ratio(true_positive, true_positive + false_positive)
        recall = ratio(true_positive, true_positive + false_negative)
        support = int(true_positive + false_negative)
        lines.append(f"{finding:28s} {support:7d}  {precision:9.3f}  {recall:6.3f}  {f1(row):5.3f}")
    judged, equal = sides.sum(axis=0)
    lines.append(f"micro F1 {micro_f1(total):.3f}  macro F1 {macro_f1(total):.3f}")
    lines.append(f"side accuracy {ratio(equal, judged):.3f} of {int(judged)} findings with a side")
    return "\n".join(lines)
