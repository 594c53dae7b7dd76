"""Finds possible parents and children among millions of profiles, without computing a ratio.

**What is stored.** For each locus there is one bitmap of the profiles in which the locus can be used. For each of its
alleles there is one bitmap of the profiles that have the allele. A profile is one bit. At a locus, a profile needs a
mutation if it has the locus but neither of the query's two alleles: three operations on whole bitmaps find these. To
count such loci for each profile up to a bound takes two more operations for each step of the bound.

**No true parent is lost.** Let m be the mutation bound. A parent passes on one of two alleles at each locus. If the
allele arrives unchanged, the child has an allele of the parent, and the bit is not set. So a true parent has at most as
many bits set as there were mutations, counted over the loci that can be used in both profiles. Only a profile that
needs more than m mutations is left out. The test is the same from child to parent and from parent to child. It also
applies to both parents of a couple, and to a second parent beside a known one: if a parent and the child share no
allele at a locus, the locus is against inheritance, with any other parent. Loci with a possible drop-out, three alleles
and so on are in no bitmap, so they count against nobody. An allele that a primer does not amplify (a null allele)
counts as a mutation.

With the defaults (m = 2, 20 loci, 0.0031 mutations for each paternal meiosis), about 4 fathers in 100,000 have three or
more mutations, and shared alleles hide many of these. With three loci against inheritance, the standard's thresholds
support no relationship. So a greater m would find no more supported relationships.

**Why not only rare alleles.** They would lose nobody either: of m + 1 loci at least one has no mutation. So take the
m + 1 loci at which the child's alleles are rarest: their carriers include every true parent. But with m = 2 and the 20
loci of CODIS these carriers are six in ten of all profiles, and each has to be fetched. The bitmaps read all loci in
less time, and an allele that nobody in a segment has costs nothing there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from adapters.national_dna_database.laboratory.kinship.ratios import Genotype

SEGMENT: Final = 1 << 16
"""The profiles of a segment. Adding a profile copies at most 8 KiB for each bitmap that it is in."""


class _Segment:
    """Bitmaps of up to ``SEGMENT`` profiles, written as bytes and read as whole numbers."""

    def __init__(self) -> None:
        self._bytes: dict[tuple[str, str], bytearray] = {}
        self._numbers: dict[tuple[str, str], int] = {}

    def put(self, key: tuple[str, str], place: int) -> None:
        """Set a bit."""
        bitmap = self._bytes.get(key)
        if bitmap is None:
            bitmap = self._bytes[key] = bytearray()
        at = place >> 3
        if at >= len(bitmap):
            bitmap.extend(bytes(at + 1 - len(bitmap)))
        bitmap[at] |= 1 << (place & 7)
        self._numbers.pop(key, None)

    def clear(self, key: tuple[str, str], place: int) -> None:
        """Clear a bit that was set."""
        self._bytes[key][place >> 3] &= ~(1 << (place & 7))
        self._numbers.pop(key, None)

    def number(self, key: tuple[str, str]) -> int:
        """A bitmap as a number; 0 if no profile has this."""
        known = self._numbers.get(key)
        if known is None:
            known = self._numbers[key] = int.from_bytes(self._bytes.get(key, b""), "little")
        return known


_PRESENT: Final = ("", "")
_TYPED: Final = ""


class KinshipIndex:
    """Bitmaps of profiles. The caller chooses a position for each. See the module. For one thread."""

    def __init__(self) -> None:
        self._segments: dict[int, _Segment] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, position: int, genotypes: Mapping[str, Genotype]) -> None:
        """Put a profile at a position that was never used before."""
        segment = self._segments.setdefault(position // SEGMENT, _Segment())
        place = position % SEGMENT
        segment.put(_PRESENT, place)
        for locus, alleles in genotypes.items():
            segment.put((locus, _TYPED), place)
            for allele in alleles:
                segment.put((locus, allele), place)
        self._count += 1

    def remove(self, position: int) -> None:
        """Leave a profile out from now on. Its other bits stay, but have no effect."""
        self._segments[position // SEGMENT].clear(_PRESENT, position % SEGMENT)
        self._count -= 1

    def candidates(self, genotypes: Mapping[str, Genotype], loci: Collection[str], most: int) -> Iterator[int]:
        """Positions of all profiles that need at most ``most`` mutations to be this one's parent or child.

        Only these loci count. The time is that of 2 * most + 5 operations on bitmaps of all profiles for each locus:
        about a millisecond for 100,000 profiles.
        """
        compared = [(locus, genotypes[locus]) for locus in loci if locus in genotypes]
        for number, segment in sorted(self._segments.items()):
            # at_least[k] has the profiles with more than k loci against inheritance, as counted so far.
            at_least = [0] * (most + 1)
            for locus, (first, second) in compared:
                against = segment.number((locus, _TYPED)) & ~(
                    segment.number((locus, first)) | segment.number((locus, second))
                )
                for count in range(most, 0, -1):
                    at_least[count] |= at_least[count - 1] & against
                at_least[0] |= against
            found = segment.number(_PRESENT) & ~at_least[most]
            yield from (number * SEGMENT + place for place in _places(found))


def _places(bitmap: int) -> Iterator[int]:
    """The places of the set bits, ascending."""
    for at, byte in enumerate(bitmap.to_bytes((bitmap.bit_length() + 7) // 8, "little")):
        if byte:
            yield from (at * 8 + bit for bit in range(8) if byte >> bit & 1)
