"""What the formats in an ANSI/NIST-ITL XML package share: the root, the header, and that they are not written here.

A package must state its date, its sender and receiver and its transaction number (Type-1 record, fields 1.005, 1.007,
1.008 and 1.009). A record of the exchange has none of them, and an adapter has neither a clock nor a counter. Only the
system that answers can issue a package.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from adapters.syntax.hardened_xml import local_name, namespace, parse_xml, where

if TYPE_CHECKING:
    from lxml import etree

    from adapters.base import IssueList, Limits
    from adapters.national_dna_database.xml_fields import Fields

ROOT: Final = "NISTBiometricInformationExchangePackage"
HEADER: Final = ("PackageInformationRecord", "Transaction")
INT_I: Final = "http://interpol.gov/int-i/"
"""The beginning of INTERPOL's namespaces in a package."""
NOT_WRITTEN: Final = "only the system that answers can issue such a package"
_FAMILY: Final = re.compile(r"http://biometrics\.nist\.gov/standard/(20[0-9]{2})")


def read_package(content: bytes, limits: Limits, issues: IssueList) -> etree._Element | None:
    """The package's root element. None if it is refused; an issue then says why."""
    root = parse_xml(content, limits, issues)
    if root is None:
        return None
    if local_name(root) != ROOT:
        issues.reject_file("NOT_ITL", where(root), "the document is not an ANSI/NIST-ITL package")
        return None
    if _FAMILY.fullmatch(namespace(root)) is None:
        issues.warn("NAMESPACE_UNKNOWN", where(root), "the package does not have a namespace of ANSI/NIST-ITL")
    return root


def edition(root: etree._Element) -> str:
    """The year of the standard's edition, or ""."""
    match = _FAMILY.fullmatch(namespace(root))
    return match[1] if match else ""


def identification(fields: Fields, *path: str, within: etree._Element | None = None) -> str:
    """The number in an identification element."""
    return fields.text(*path, "IdentificationID", within=within)
