"""A laboratory's own program: it types each requested sample, and answers with the profile.

Start it with ``python typing_desk.py typing-desk.toml``. It continues after every restart of the broker or of itself.
"""

from __future__ import annotations

import asyncio
import sys

from adapters.agency import open_agency
from caseexchange.records.v1 import dna_pb2


def type_sample(request: dna_pb2.SampleRequest) -> dna_pb2.StrProfile:
    """The result of the laboratory's own instruments. These alleles are invented."""
    loci = [
        dna_pb2.LocusCall(locus=locus, alleles=[dna_pb2.Allele(value=value, operator="ALLELE_OPERATOR_EQUAL")])
        for locus, value in (("TH01", "9.3"), ("FGA", "22"))
    ]
    return dna_pb2.StrProfile(barcode=request.barcode, role=request.role, loci=loci)


async def main(profile: str) -> None:
    """Answer until the program is ended."""
    async with open_agency(profile) as agency:
        async for delivery in agency.subscribe("typing", kinds=["SampleRequest"]):
            await delivery.reply(type_sample(delivery.record), recipients=["national-dna-database"])
            await delivery.ack()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
