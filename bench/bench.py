"""Measure publish, subscribe, replay, verify and latency, and the best that the same machine does in the same run.

Figures are records per second, and microseconds of processor time that each process spends on a record. Ratios are to
floors of the same run, so they can be compared between machines. `make bench` prints a table and writes it to
bench/results.json. If Java and Maven are installed, it also measures the log on Kafka (bench/onkafka.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

from exchange import IN_FLIGHT, Bench
from latency import latencies
from onkafka import OnKafka, missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?", default=20_000, help="records a row")
    parser.add_argument("--kafka", type=int, nargs="*", choices=(1, 3), default=(1, 3), help="nodes of each cluster")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="case-exchange-bench-") as folder:
        bench = Bench(Path(folder), arguments.records)
        try:
            bench.run()
            latencies(bench, bench.world.start_broker("latency"), "")
            bench.world.stop()
            if lacking := missing():
                print(f"Kafka was not measured: {lacking} cannot be found")
            else:
                for nodes in arguments.kafka:
                    OnKafka(bench, nodes, in_flight=IN_FLIGHT).run()
        finally:
            bench.world.stop()
    result = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "records_per_second": bench.rows,
        "cpu_microseconds_a_record": bench.cpu,
        "latency_milliseconds": bench.latency,
    }
    Path(__file__).with_name("results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
