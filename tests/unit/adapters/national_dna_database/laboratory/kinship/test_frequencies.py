from __future__ import annotations

import math

import pytest

from adapters.national_dna_database.laboratory.kinship.frequencies import AUTOSOMAL, parse_table
from broker.core.errors import InputRefused
from synthetic.dna import TABLE_FILE, synthetic_table

HEAD = 'name = "t"\nsource = "made up"\nindividuals = 100\n'
GOOD = '[loci.TH01]\n"6" = 0.25\n"9.3" = 0.75\n'


def test_the_synthetic_table_says_that_it_is_synthetic_and_each_locus_adds_up() -> None:
    table = synthetic_table()
    assert "of no population" in table.source
    assert "SYNTHETIC" in TABLE_FILE.read_text(encoding="utf-8").splitlines()[0]
    assert len(table.loci) == 23
    assert set(table.loci) <= AUTOSOMAL
    assert all(math.isclose(math.fsum(locus.relative.values()), 1) for locus in table.loci.values())


def test_rounded_figures_are_scaled_to_add_up_to_one() -> None:
    table = parse_table((HEAD + '[loci.TH01]\n"6" = 0.25\n"9.3" = 0.7452\n').encode())
    assert math.isclose(table.loci["TH01"].relative["9.3"], 0.7452 / 0.9952)


def test_no_frequency_is_less_than_five_of_two_n() -> None:
    locus = parse_table((HEAD + '[loci.TH01]\n"6" = 0.001\n"9.3" = 0.999\n').encode()).loci["TH01"]
    assert locus.of("6") == locus.of("11") == locus.least == 5 / 200
    assert locus.of("9.3") == 0.999


def test_a_locus_may_have_a_sample_of_its_own() -> None:
    table = parse_table((HEAD + "[individuals_by_locus]\nTH01 = 1000\n" + GOOD).encode())
    assert table.loci["TH01"].least == 5 / 2000


def test_two_files_have_two_labels() -> None:
    first, second = (parse_table(text.encode()) for text in (HEAD + GOOD, HEAD + GOOD + "# a remark\n"))
    assert first.name == second.name
    assert first.label != second.label


@pytest.mark.parametrize(
    "text",
    [
        "not TOML",
        'name = "t"\nindividuals = 100\n' + GOOD,
        'source = "s"\nindividuals = 100\n' + GOOD,
        'name = "t"\nsource = "s"\n' + GOOD,
        HEAD,
        HEAD + "unknown = 1\n" + GOOD,
        HEAD.replace("100", "49") + GOOD,
        HEAD.replace("100", "true") + GOOD,
        HEAD + "[individuals_by_locus]\nFGA = 100\n" + GOOD,
        HEAD + "[loci]\nTH01 = 1\n",
        HEAD + "[loci.TH01]\n",
        HEAD + '[loci.TH01]\n"6" = 0.25\n9.3 = 0.75\n',
        HEAD + '[loci.TH01]\n"6" = 0.25\n"9.30" = 0.75\n',
        HEAD + '[loci.TH01]\n"<6" = 0.25\n"9.3" = 0.75\n',
        HEAD + '[loci.TH01]\n"6" = 0.25\n"9.3" = 0.70\n',
        HEAD + '[loci.TH01]\n"6" = -0.25\n"9.3" = 0.75\n',
        HEAD + '[loci.TH01]\n"6" = nan\n"9.3" = 0.75\n',
        HEAD + '[loci.TH01]\n"6" = 1\n',
        HEAD + '[loci.THO1]\n"6" = 0.25\n"9.3" = 0.75\n',
        HEAD + '[loci.DYS391]\n"6" = 0.25\n"9" = 0.75\n',
        HEAD + '[loci.Amelogenin]\n"X" = 0.75\n"Y" = 0.25\n',
    ],
)
def test_a_table_that_cannot_be_relied_on_is_refused(text: str) -> None:
    with pytest.raises(InputRefused):
        parse_table(text.encode())
