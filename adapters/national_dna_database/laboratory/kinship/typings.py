"""Which loci of a profile can be used in a computation, and why the others cannot.

The rules depend only on the profile, never on the profile that it is compared with. So no locus is left out because it
disagrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from adapters.national_dna_database.certainty import SINGLE_SOURCES, UNCERTAIN_ALLELES
from adapters.national_dna_database.laboratory.kinship.frequencies import AUTOSOMAL
from adapters.values.alleles import allele_order
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapters.national_dna_database.laboratory.kinship.ratios import Genotype

_TWO: Final = 2
_MOST_TRI_ALLELIC: Final = 1
"""The most loci with three alleles that one person may have. With more, the sample counts as a mixture of two."""


class Unused(Enum):
    """Why a locus is not used. The value is the text in reports."""

    NOT_AUTOSOMAL = "a sex marker, a Y locus or an insertion: never part of the ratio"
    UNNAMED = "the source names the locus by a number only"
    UNCERTAIN = "the source calls the locus not definitive, or one of its alleles silent"
    NOT_NUMERIC = "an allele is off the ladder, beyond it, a range, a sequence, a wild card or not fully known"
    TRI_ALLELIC = "more than two alleles"
    POSSIBLE_DROP_OUT = "one allele in a partial profile, or a partial locus: another may have dropped out"
    NO_FREQUENCIES = "not in the frequency table"
    NOT_TYPED = "not typed, or not usable, in every profile compared"
    OTHER_PARENT_IMPOSSIBLE = "the undisputed parent could not pass on either allele under the mutation model"


class ProfileUnusable(Enum):
    """Why a whole profile is not used."""

    MIXTURE = "more than one person's: a mixture's category, or more than one locus with more than two alleles"
    SOURCE_UNCERTAIN = "perhaps not one person's: a stain of one or more people, or a part of a mixture"
    NO_LOCUS = "no locus that can be used"


@dataclass(frozen=True, slots=True)
class Typing:
    """A profile, prepared for computation.

    Attributes:
        barcode: of the sample.
        genotypes: of the loci that can be used.
        unused: why the other loci cannot be used.
    """

    barcode: str
    genotypes: Mapping[str, Genotype]
    unused: Mapping[str, Unused]


def read_profile(profile: dna_pb2.StrProfile) -> Typing | ProfileUnusable:
    """The loci of a valid profile, or why none of it can be used."""
    if "mixture" in profile.category.value.lower() or profile.source == dna_pb2.PROFILE_SOURCE_MIXTURE:
        return ProfileUnusable.MIXTURE
    if profile.source not in SINGLE_SOURCES:
        return ProfileUnusable.SOURCE_UNCERTAIN
    genotypes: dict[str, Genotype] = {}
    unused: dict[str, Unused] = {}
    for call in profile.loci:
        found = _read_locus(call, partial=profile.partial)
        if isinstance(found, Unused):
            unused[call.locus or call.reported_locus] = found
        else:
            genotypes[call.locus] = found
    if sum(reason is Unused.TRI_ALLELIC for reason in unused.values()) > _MOST_TRI_ALLELIC:
        return ProfileUnusable.MIXTURE
    return Typing(profile.barcode, genotypes, unused) if genotypes else ProfileUnusable.NO_LOCUS


def _read_locus(call: dna_pb2.LocusCall, *, partial: bool) -> Genotype | Unused:
    if call.locus not in AUTOSOMAL:
        return Unused.NOT_AUTOSOMAL if call.locus else Unused.UNNAMED
    # First, so that calling a third allele uncertain does not hide a mixture.
    if _many(call):
        return Unused.TRI_ALLELIC
    if call.quality in UNCERTAIN_ALLELES:
        return Unused.UNCERTAIN
    if any(allele.operator != dna_pb2.ALLELE_OPERATOR_EQUAL for allele in call.alleles):
        return Unused.NOT_NUMERIC
    values = list(dict.fromkeys(allele.value for allele in sorted(call.alleles, key=allele_order)))
    # The allele may be written once or twice. The other peak may be missing, so this is not a sure homozygote.
    if not values or call.quality == dna_pb2.LOCUS_QUALITY_PARTIAL or (len(values) == 1 and partial):
        return Unused.POSSIBLE_DROP_OUT if values else Unused.NOT_TYPED
    return values[0], values[-1]


def _many(call: dna_pb2.LocusCall) -> bool:
    """Whether a locus has more than two different alleles. A wild card may be one of the others."""
    alleles = {(allele.operator, allele.value, allele.value_to) for allele in call.alleles}
    return sum(operator != dna_pb2.ALLELE_OPERATOR_WILDCARD for operator, _, _ in alleles) > _TWO
