"""`python -m benchmarks`: runs the benchmarks, prints tables, writes `benchmarks/results/<name>.json`."""

from __future__ import annotations

import argparse
import sys

from benchmarks import decode
from benchmarks.results import print_table, write


def main() -> int:
    """Exit status 0 whether or not goals were met: a missed one stands in the table as missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each contestant has its turn (default 3)")
    args = parser.parse_args()
    for name, run in (("decode", decode.run),):
        rows = run(args.rounds)
        print_table(name, rows)
        print(f"written to {write(name, rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
