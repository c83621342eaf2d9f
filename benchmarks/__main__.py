"""`python -m benchmarks [NAME …]`: runs the benchmarks, prints tables, writes `benchmarks/results/<name>.json`."""

from __future__ import annotations

import argparse
import sys
import warnings

from benchmarks import bulk, decode, encoder, front, gateway, loading, service
from benchmarks.capacity import measure as capacity
from benchmarks.results import print_table, write

BENCHMARKS = {
    "decode": decode.run,
    "encoder": encoder.run,
    "front": front.run,
    "loading": loading.run,
    "service": service.run,
    "bulk": bulk.run,
    "gateway": gateway.run,
    "capacity": capacity.run,
}


def main() -> int:
    """Exit status 0 whether or not goals were met: a missed one stands in the table as missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contestant has its turn (default 5)")
    parser.add_argument("--short", action="store_true", help="one round of the main rows: 5 minutes in all")
    args = parser.parse_args()
    if unknown := set(args.names) - set(BENCHMARKS):
        parser.error(f"unknown benchmark {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}")
    warnings.filterwarnings("ignore")  # those of the contestants
    for name in args.names or BENCHMARKS:
        rows = BENCHMARKS[name](1 if args.short else args.rounds, args.short)
        print_table(name, rows)
        if not args.short:
            print(f"written to {write(name, rows)}")
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
