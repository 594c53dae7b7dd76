"""``case-exchange disclose``, and what `case-exchange verify` says of disclosures."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broker.cli.options import profile_option
from broker.core.errors import InputRefused, SetupInvalid
from broker.files import make_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.bootstrap.disclosing import CheckedDisclosure
    from broker.core.errors import CaseExchangeError

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
disclosures_option: Final = click.option(
    "--disclosure",
    "disclosures",
    multiple=True,
    type=_FILE,
    help="A section that its holder disclosed (`case-exchange disclose`). May be repeated.",
)


@click.command()
@click.argument("record_id")
@click.option("--section", required=True, help="The name of the section.")
@click.option(
    "--from",
    "source",
    required=True,
    type=_FILE,
    help="A proof or bundle with the record, or a refused record that the edge kept (`….envelope`).",
)
@profile_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write. It must not exist.")
def disclose(record_id: str, *, section: str, source: Path, profile: Path, out: Path) -> None:
    """Show one section to somebody without keys.

    The file has the section's content, its content key, and the record that the publisher signed. It opens this section
    of this record and nothing else. Whoever has the file can read the section and pass it on.

    Give it together with a proof of the record: `case-exchange verify PROOF --disclosure FILE` needs no key.

    Example:  case-exchange disclose 01990000-0000-7000-8000-000000000001 --section case --from r.proof --profile edge.toml --out case.disclosure
    """  # noqa: E501 - an example is one line
    from broker.bootstrap.disclosing import disclose_section  # noqa: PLC0415 - `verify` loads it only for a disclosure

    try:
        made = disclose_section(profile, source, record_id, section)
    except OSError as error:
        message = f"{error.filename or source} cannot be used: {error.strerror}"
        raise InputRefused(message) from error
    try:
        make_file(out, made.marshal())
    except FileExistsError as error:
        message = f"{out} exists already; a disclosure is evidence and is never overwritten"
        raise SetupInvalid(message) from error
    except OSError as error:
        # The error names the temporary file.
        message = f"{out} cannot be used: {error.strerror}"
        raise InputRefused(message) from error
    click.echo(f"{out}: section {section} of record {record_id}, {len(made.content)} bytes in the clear,")
    click.echo(f"SHA-256 {hashlib.sha256(made.content).hexdigest()}")
    click.echo("It opens this section alone. Everybody who has the file can read it")


def disclosure_lines(disclosures: Sequence[CheckedDisclosure]) -> Iterator[str]:
    """What disclosures prove, and what they do not."""
    for item in disclosures:
        which = f"{item.file}: section {item.section} of record {item.record_id}" if item.record_id else item.file
        if item.refusal is not None:
            yield f"DISCLOSURE REFUSED: {which}: {item.refusal.line}"
            continue
        if item.unchecked is not None:
            yield f"DISCLOSURE NOT CHECKED: {which}: the bundle cannot be used: {item.unchecked.line}"
            continue
        how = "sealed it to this content" if item.sealed else "published it plain with this content"
        yield (
            f"disclosed: {which}: {item.publisher} signed this {item.kind} and {how}, {item.content_bytes} bytes, "
            f"SHA-256 {item.content_sha256}"
        )
    if any(item.holds for item in disclosures):
        yield (
            "a disclosure says nothing of other sections, and not who disclosed it: everybody who could read the "
            "section could"
        )


def disclosure_facts(disclosures: Sequence[CheckedDisclosure]) -> list[dict[str, Any]]:
    """The same for ``json.dumps``."""
    return [
        {**item._asdict(), "refusal": _facts(item.refusal), "unchecked": _facts(item.unchecked)} for item in disclosures
    ]


def _facts(error: CaseExchangeError | None) -> dict[str, str] | None:
    return None if error is None else {"reason": error.reason, "message": error.message, "remedy": error.remedy}
