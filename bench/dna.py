"""Measure the laboratory's search: recall and false matches of a simulated population, and time for one child.

    python bench/dna.py [--parents 100000] [--loci 23] [--frequencies table.toml] [--seed 1]

Prints the figures of docs/dna-search.md. The simulated recall and false matches are true only for the table that the
population was drawn from. The synthetic table is not of a real population.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from adapters.national_dna_database.laboratory.kinship.frequencies import parse_table
from adapters.national_dna_database.laboratory.kinship.mutation import MutationModel
from adapters.national_dna_database.laboratory.kinship.ratios import LocusRatios
from adapters.national_dna_database.laboratory.search.index import KinshipIndex
from adapters.national_dna_database.laboratory.search.search import Laboratory, SearchRules
from adapters.national_dna_database.laboratory.search.store import ProfileStore
from adapters.values.alleles import CODIS_20
from caseexchange.records.v1 import dna_pb2
from synthetic.dna import TABLE_FILE, Genotypes, Population, str_profile
from synthetic.families import Sizes, simulate

if TYPE_CHECKING:
    from collections.abc import Collection

    from adapters.national_dna_database.laboratory.kinship.frequencies import FrequencyTable

GA_469 = (
    "D16S539 vWA D3S1358 D18S51 D21S11 D8S1179 FGA TH01 D7S820 D5S818 D13S317 CSF1PO TPOX".split()  # noqa: SIM905
)
SIZES = Sizes(families=300, strangers=5_000, brothers=100, orphans=300)
QUERIES = 50
CHUNK = 50_000


KITS = {
    13: GA_469,
    20: CODIS_20,
    23: (*CODIS_20, "D6S1043", "Penta D", "Penta E"),
}
"""Loci of GA 469-2004, of CODIS, and of both with those that Chinese kits add."""


def recall(table: FrequencyTable, seed: int) -> None:
    for count, loci in KITS.items():
        print(f"\n{count} loci, seed {seed}")
        for line in simulate(table, loci, SIZES, seed).lines():
            print(f"  {line}")


def speed(table: FrequencyTable, loci: Collection[str], parents: int, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - synthetic

    def typed(person: Genotypes) -> Genotypes:
        return {locus: person[locus] for locus in loci}

    people = Population(table, MutationModel(), random)
    print(f"\n{parents} profiles of parents, {len(loci)} loci")
    with tempfile.TemporaryDirectory() as folder, closing(ProfileStore(Path(folder) / "lab.db", "bench")) as store:
        laboratory = Laboratory(store, LocusRatios(table, MutationModel()), SearchRules())
        roles = (dna_pb2.SAMPLE_ROLE_FATHER, dna_pb2.SAMPLE_ROLE_MOTHER)
        now = datetime.now(UTC)
        started = time.perf_counter()
        laboratory.add(
            (
                str_profile(f"P{number}", typed(people.stranger()), role=roles[number % 2], family=f"F{number // 2}")
                for number in range(parents)
            ),
            now,
        )
        print(f"  made and kept in {time.perf_counter() - started:.1f} s")
        children = []
        for number in range(QUERIES):
            father, mother = people.stranger(), people.stranger()
            children.append(str_profile(f"C{number}", typed(people.child(father, mother))))
            laboratory.add([children[-1], str_profile(f"PF{number}", typed(father), role=roles[0])], now)
        started = time.perf_counter()
        again = Laboratory(store, LocusRatios(table, MutationModel()), SearchRules())
        print(f"  read into the index in {time.perf_counter() - started:.1f} s")
        times, processor, screened, found = [], [], [], 0
        for number, child in enumerate(children):
            started, worked = time.perf_counter(), time.process_time()
            result = again.search(child.barcode)
            times.append(time.perf_counter() - started)
            processor.append(time.process_time() - worked)
            screened.append(result.screened)
            found += any(item.father == f"PF{number}" for item in result.supported)
        print(f"  first search {times[0] * 1000:.1f} ms (makes the bitmaps), then median ", end="")
        print(f"{statistics.median(times[1:]) * 1000:.1f} ms, longest {max(times[1:]) * 1000:.1f} ms")
        print(f"  of processor time: first {processor[0] * 1000:.1f} ms, ", end="")
        print(f"median {statistics.median(processor[1:]) * 1000:.1f} ms, longest {max(processor[1:]) * 1000:.1f} ms")
        print(f"  left over by the index: median {statistics.median(screened):.0f}; found {found} of {QUERIES} fathers")


def index(table: FrequencyTable, loci: Collection[str], parents: int, seed: int) -> None:
    """Measure only the index, which alone grows with the profiles that do not fit."""
    random = Random(seed)  # noqa: S311 - synthetic
    made, built = KinshipIndex(), 0.0
    print(f"\n{parents} profiles, {len(loci)} loci, the index alone")
    for start in range(0, parents, CHUNK):
        columns = {
            locus: random.choices(
                tuple(table.loci[locus].relative), tuple(table.loci[locus].relative.values()), k=2 * CHUNK
            )
            for locus in loci
        }
        started = time.process_time()
        for place in range(min(CHUNK, parents - start)):
            made.add(
                start + place, {locus: (drawn[2 * place], drawn[2 * place + 1]) for locus, drawn in columns.items()}
            )
        built += time.process_time() - started
    people = Population(table, MutationModel(), random)
    times, left = [], []
    for _ in range(QUERIES):
        query = people.stranger()
        started = time.process_time()
        left.append(len(list(made.candidates(query, loci, SearchRules().most_mismatches))))
        times.append(time.process_time() - started)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"  built in {built:.1f} s of processor time; the process has {memory} MiB")
    print(f"  first query {times[0] * 1000:.0f} ms (makes the bitmaps), then median ", end="")
    print(f"{statistics.median(times[1:]) * 1000:.1f} ms; left over: median {statistics.median(left):.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parents", type=int, default=100_000, help="profiles to search among")
    parser.add_argument("--frequencies", type=Path, default=TABLE_FILE, help="a frequency table")
    parser.add_argument("--loci", type=int, choices=KITS, default=23, help="loci typed, for the time of a search")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["all", "recall", "speed", "index"], default="all")
    arguments = parser.parse_args()
    table = parse_table(arguments.frequencies.read_bytes())
    print(f"table {table.label}")
    searched = (table, KITS[arguments.loci], arguments.parents, arguments.seed)
    if arguments.only in {"all", "recall"}:
        recall(table, arguments.seed)
    if arguments.only in {"all", "speed"}:
        speed(*searched)
    if arguments.only in {"all", "index"}:
        index(*searched)


if __name__ == "__main__":
    main()
