"""`python -m benchmarks`: one table of what the service does, beside the floor the same SQL has without it."""

import argparse
import json
import sys
from pathlib import Path

import msgspec

from benchmarks.places import place_named
from benchmarks.table import WORKLOADS, measure, table
from benchmarks.transactions import measure_costs, measure_throughput
from benchmarks.transactions import table as transactions_table

TRANSACTIONS = "transactions"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each measurement")
    parser.add_argument("--only", help=f"one workload: {', '.join(WORKLOADS)} or {TRANSACTIONS}")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "mariadb"), default="sqlite")
    parser.add_argument("--directory", type=Path, help="where SQLite databases lie (default: the temporary directory)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    seconds, directory, only = arguments.seconds, arguments.directory, arguments.only
    with place_named(arguments.database, directory) as place:
        title = place.title
        rows = [] if only == TRANSACTIONS else measure(place, seconds, only)
    # What a transaction of an application's costs does not depend on the node's database.
    sdk = only == TRANSACTIONS or (only is None and arguments.database == "sqlite")
    costs = measure_costs(seconds * 2, directory) if sdk else []
    throughputs = measure_throughput(seconds, directory) if sdk else []
    if arguments.json:
        found = {"database": arguments.database, "rows": rows, "costs": costs, "throughputs": throughputs}
        print(json.dumps(msgspec.to_builtins(found)))
        return 0
    if rows:
        print(table(title, rows))
    if sdk:
        print(f"\n{transactions_table(costs, throughputs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
