from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from adapters.national_dna_database.laboratory.commands import dna
from adapters.national_dna_database.laboratory.kinship.frequencies import parse_table
from adapters.national_dna_database.laboratory.kinship.transcription import table_file, transcribe
from broker.core.errors import InputRefused

if TYPE_CHECKING:
    from pathlib import Path

TH01 = {"6": 0.25, "9.3": 0.75}
MATRIX = "Allele{s}THO1{s}vWA{s}AMEL{s}\n6{s}0.25{s}{s}{s}\n9.3{s}0.75{s}{s}{s}\n17{s}{s}0.9{s}{s}\nX{s}{s}{s}0.5{s}\n"
XML = """<frequencies><marker><name>TH01</name>
<origin name="HERE" n="100"><frequency allele="6">2.5e-1</frequency><frequency allele="9.3">0.75</frequency></origin>
<origin name="THERE" n="200"><frequency allele="6">1e-1</frequency><frequency allele="9.3">0.9</frequency></origin>
</marker></frequencies>"""
SEVERAL = "Database\tN\tAllele\tTH01\nHERE\t100\t6\t0.25\nHERE\t100\t9.3\t0.75\nTHERE\t60\t7\t0.9999\n"


@pytest.mark.parametrize(
    "text",
    [
        MATRIX.format(s=","),
        MATRIX.format(s=";"),
        MATRIX.format(s="\t"),
        "\ufeff" + MATRIX.format(s=","),
        "# a source\nTH01:\n  6: 0.25\n  9.3: 0.75\n",
        "TH01\n6\t0.25\n9.3\t0.75\n\nD3S1358\n10 0.1\n",
    ],
)
def test_a_table_of_one_population_is_read_in_every_layout(text: str) -> None:
    found = transcribe(text.encode(), population="", individuals=120)
    assert (found.loci, found.individuals) == ({"TH01": TH01}, {"TH01": 120})


@pytest.mark.parametrize("text", [XML, SEVERAL])
def test_of_several_populations_one_is_named_and_its_own_size_counts(text: str) -> None:
    found = transcribe(text.encode(), population="HERE", individuals=0)
    assert (found.loci, found.individuals) == ({"TH01": TH01}, {"TH01": 100})
    for population in ("", "ELSEWHERE"):
        with pytest.raises(InputRefused, match="HERE, THERE"):
            transcribe(text.encode(), population=population, individuals=0)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("AMEL:\n X: 0.5\n Y: 0.5", "is not an autosomal locus that is known here"),
        ("FGA:\n 20: 0.5\n 21: 0.4", "has frequencies that add up to 0.900"),
        ("FGA:\n 20: 0.5\n 20.0: 0.5", "has an invalid allele, or one allele twice"),
        ("FGA:\n 20: 1e0", "has a frequency that is not between 0 and 1"),
        ("FGA:\n 20: 0,5", "has a frequency that is not a number"),
        ("THO1:\n 6: 0.5\n 7: 0.5", "is there twice, in different spellings"),
    ],
)
def test_a_locus_that_cannot_be_relied_on_is_left_out_with_the_reason(lines: str, reason: str) -> None:
    found = transcribe(f"TH01:\n 6: 0.25\n 9.3: 0.75\n{lines}\n".encode(), population="", individuals=120)
    assert found.loci == {"TH01": TH01}
    assert [why for _, why in found.left_out] == [reason]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"<a/>", b"<a>", b"Allele,TH01\n", b"some words\nand more of them\n", b'Allele,"TH01\n6'],
)
def test_what_is_no_table_is_refused(content: bytes) -> None:
    with pytest.raises(InputRefused, match="not a table"):
        transcribe(content, population="", individuals=120)


@pytest.mark.parametrize(
    "columns",
    ["Allele,TH01,TH01,vWA\n6,0.5,0.1,0.4\n9.3,0.5,0.9,0.6\n", "TH01,vWA,Allele\n0.5,0.4,6\n,0.6,9.3\n0.5\n"],
    ids=["two columns of a locus", "a row that ends before its allele"],
)
def test_a_matrix_in_doubt_loses_the_locus_and_not_the_others(columns: str) -> None:
    found = transcribe(columns.encode(), population="", individuals=100)
    assert found.loci == {"vWA": {"6": 0.4, "9.3": 0.6}}
    assert found.left_out == (("TH01", "has an invalid allele, or one allele twice"),)


def test_a_table_that_does_not_say_how_many_people_were_typed_is_refused() -> None:
    with pytest.raises(InputRefused, match="fewer than 50 typed people"):
        transcribe(b"TH01:\n 6: 0.25\n 9.3: 0.75\n", population="", individuals=0)


def test_what_is_written_is_the_table_that_figures_are_computed_with() -> None:
    text = XML.replace("</frequencies>", "") + XML.replace("<frequencies>", "").replace("TH01", "FGA").replace(
        'n="100"', 'n="80"'
    ).replace('"9.3"', '"20.2"')
    found = transcribe(text.encode(), population="HERE", individuals=0)
    table = parse_table(table_file(found, 'a "name"', "a source"))
    assert (table.name, table.source) == ('a "name"', "a source")
    assert {locus: item.individuals for locus, item in table.loci.items()} == {"TH01": 100, "FGA": 80}
    assert table.loci["TH01"].of("9.3") == 0.75


def test_the_command_writes_the_table_and_names_what_it_left_out(tmp_path: Path) -> None:
    (tmp_path / "published.csv").write_text(MATRIX.format(s=","))
    options = ["--name", "n", "--source", "s", "--individuals", "97", "--out", str(tmp_path / "table.toml")]
    done = CliRunner().invoke(dna, ["table", str(tmp_path / "published.csv"), *options])
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "left out: vWA has frequencies that add up to 0.900",
        "left out: AMEL is not an autosomal locus that is known here",
    ]
    assert parse_table((tmp_path / "table.toml").read_bytes()).loci["TH01"].individuals == 97
