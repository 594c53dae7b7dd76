"""The adapter ``codis-cmf``: a SPECIMEN of CODIS CMF is an StrProfile. Three versions are read, and 3.2 is written.

- 3.2, in XML; the lists of 2017 are read and written. Source: CODIS CMF 3.2 Interface Specification and its appendix B.
- Rapid Import, in XML with other headers (rapid.py).
- 1.0, in lines of text (lines.py).

Reading is lenient, because real files break the XSD in harmless ways (other spellings of kits, long laboratory codes, a
byte order mark). Only faults that make the profile uncertain are refused. Writing is strict: in the XSD's order and
within its limits.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source, collect, provenance
from adapters.national_dna_database.cmf.lines import TEXT_VERSION, is_cmf_text, read_text
from adapters.national_dna_database.cmf.rapid import RAPID_NAMESPACE, RAPID_ROOT, reshape_header, reshape_specimen
from adapters.national_dna_database.cmf.read import SpecimenReader, read_header, repeated_field
from adapters.national_dna_database.cmf.write import write_file
from adapters.national_dna_database.codes import NAMESPACE
from adapters.national_dna_database.profiles import profiles_of
from adapters.syntax.hardened_xml import by_name, child_text, local_name, longer_than, namespace, new_root, where
from adapters.syntax.xml_stream import XmlStream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lxml import etree

    from adapters.base import Issue
    from caseexchange.records.v1 import dna_pb2

NAME: Final = "codis-cmf"
_ROOT: Final = "CODISImportFile"
_HEAD: Final = 4096
MAX_HEADER_FIELDS: Final = 1_000
MAX_HEADER_BYTES: Final = 64 * 1024
"""The largest header. It goes into every record."""


class CodisCmf:
    """See the module."""

    name: Final = NAME
    media_type: Final = "application/xml"
    suffix: Final = ".xml"
    decodes: Final = frozenset({"StrProfile"})
    encodes: Final = frozenset({"StrProfile"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        marks = (NAMESPACE, _ROOT, RAPID_NAMESPACE, RAPID_ROOT)
        return any(mark.encode() in content for mark in marks) or is_cmf_text(content)

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        whole = replace(limits, streamed_bytes=limits.bytes, streamed_records=limits.records)
        items = self.stream(io.BytesIO(source.content), source.attachments, whole)
        return collect(items, hashlib.sha256(source.content).digest())

    def stream(
        self,
        file: BinaryIO,
        attachments: Mapping[str, bytes],  # noqa: ARG002 - the format refers to no other file
        limits: Limits,
    ) -> Iterator[DecodedRecord | Issue]:
        """See ``StreamingAdapter``. XML is read twice: the whole file is checked before its first record is yielded.

        Memory grows by about 100 bytes for each accepted specimen, because no id may occur twice. A file of version 1.0
        is read whole, within ``limits.bytes``.
        """
        file.seek(0)
        if is_cmf_text(file.read(_HEAD)):
            yield from _text(file, limits)
            return
        issues = IssueList()
        checked = _check(file, limits, issues)
        yield from issues.taken()
        if checked is None:
            return
        seen: set[bytes] = set()
        reader = SpecimenReader(checked.header, limits, issues)
        for specimen in XmlStream(file, "SPECIMEN", limits, issues, again=True).children():
            if local_name(specimen) != "SPECIMEN":
                continue
            if checked.rapid:
                reshape_specimen(specimen)
            record = reader.read(specimen, seen)
            yield from issues.taken()
            if record is not None:
                yield record
        yield from issues.taken()

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        issues = IssueList()
        profiles = profiles_of(records, limits, issues)
        return issues.encoded(write_file(profiles, issues), {})


class _Checked(NamedTuple):
    """What is known after a file was read once and can be used: what is true for every specimen."""

    header: dna_pb2.StrProfile
    rapid: bool


def _text(file: BinaryIO, limits: Limits) -> Iterator[DecodedRecord | Issue]:
    issues = IssueList()
    file.seek(0)
    content = file.read(limits.bytes + 1)
    origin = provenance(NAME, TEXT_VERSION, "", hashlib.sha256(content).digest())
    records = read_text(content, origin, limits, issues)
    yield from issues.items
    yield from records


def _check(file: BinaryIO, limits: Limits, issues: IssueList) -> _Checked | None:
    """Read the whole document once, and keep everything but the specimens. None if it is refused; an issue says why."""
    digest = hashlib.sha256()
    document = XmlStream(file, "SPECIMEN", limits, issues)
    header: etree._Element | None = None
    specimens = 0
    for child in document.children(digest.update):
        if header is None:
            header = _without_children(document.root)
        if local_name(child) == "SPECIMEN":
            specimens += 1
        elif len(header) < MAX_HEADER_FIELDS:
            header.append(child)
        else:
            issues.reject_file("HEADER_TOO_LARGE", where(child), f"the header has more than {MAX_HEADER_FIELDS} fields")
            return None
    if issues.items:
        return None
    header = _without_children(document.root) if header is None else header
    if not _is_cmf(header, limits, issues):
        return None
    rapid = local_name(header) == RAPID_ROOT
    version = reshape_header(header) if rapid else child_text(header, "HEADERVERSION")
    if not _has_specimens(header, specimens, limits, issues):
        return None
    profile = read_header(header, provenance(NAME, version, "", digest.digest()), issues)
    if profile.ByteSize() > MAX_HEADER_BYTES:
        issues.reject_file("HEADER_TOO_LARGE", where(header), f"the header has more than {MAX_HEADER_BYTES} bytes")
        return None
    return _Checked(profile, rapid)


def _without_children(root: etree._Element | None) -> etree._Element:
    if root is None:
        # A document that was read to its end has a root.
        raise AssertionError
    copy: etree._Element = new_root(namespace(root), local_name(root))
    for name, value in root.attrib.items():
        copy.set(name, value)
    copy.sourceline = root.sourceline
    return copy


def _is_cmf(root: etree._Element, limits: Limits, issues: IssueList) -> bool:
    name = local_name(root)
    if name not in {_ROOT, RAPID_ROOT}:
        issues.reject_file("NOT_CMF", where(root), "the document is not a CODISImportFile or a Rapid one")
        return False
    if any(longer_than(child, limits.field_characters) for child in root):
        issues.reject_file("FIELD_TOO_LONG", where(root), f"a field has more than {limits.field_characters} characters")
        return False
    if namespace(root) != (NAMESPACE if name == _ROOT else RAPID_NAMESPACE):
        issues.warn("NAMESPACE_MISSING", where(root), "the document is not in the CMF namespace")
    if name == _ROOT and child_text(root, "HEADERVERSION") != "3.2":
        issues.warn("CMF_VERSION", where(root), "the header does not state version 3.2")
    return True


def _has_specimens(root: etree._Element, specimens: int, limits: Limits, issues: IssueList) -> bool:
    before = len(issues.items)
    if child_text(root, "MESSAGETYPE") not in {"", "Import"}:
        issues.reject_file("NOT_IMPORT", where(root), "the message is not of the type Import")
    if repeated_field(_ROOT, by_name(root)):
        issues.reject_file("FIELD_REPEATED", where(root), "a field of the header is there twice")
    if not specimens:
        issues.reject_file("NO_SPECIMEN", where(root), "the file has no specimen")
    if specimens > limits.streamed_records:
        issues.reject_file("TOO_MANY_RECORDS", where(root), f"more than {limits.streamed_records} specimens")
    return len(issues.items) == before


ADAPTER: Final = CodisCmf()
