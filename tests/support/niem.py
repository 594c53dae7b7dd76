"""NIEM documents for tests, built from elements. All data are synthetic."""

from __future__ import annotations

import base64

from adapters.base import Decoded, Encoded, Limits, Severity, Source
from adapters.provincial_police.niem.adapter import NIEM_MISSING_PERSON
from caseexchange.records.v1 import case_pb2

LIMITS = Limits()
PICTURE = b"\x89PNG\r\n\x1a\nsynthetic"
OASIS = "https://docs.oasis-open.org/niemopen/ns/model"
RELEASE = "http://release.niem.gov/niem"
NAMESPACES = {
    "2.0": ("http://niem.gov/niem/niem-core/2.0", "http://niem.gov/niem/domains/jxdm/4.0"),
    "3.0": (f"{RELEASE}/niem-core/3.0/", f"{RELEASE}/domains/jxdm/5.0/"),
    "4.0": (f"{RELEASE}/niem-core/4.0/", f"{RELEASE}/domains/jxdm/6.1/"),
    "5.0": (f"{RELEASE}/niem-core/5.0/", f"{RELEASE}/domains/jxdm/7.2/"),
    "6.0": (f"{OASIS}/niem-core/6.0/", f"{OASIS}/domains/justice/6.0/"),
}
DEFAULT = "5.0"
NUMBER = (
    "<j:MissingPersonIdentification><nc:IdentificationID>SYN-1</nc:IdentificationID></j:MissingPersonIdentification>"
)

VALUE = "<nc:MeasureValueText>{}</nc:MeasureValueText>"
SPAN = (
    "<nc:MeasureRangeValue><nc:RangeMaximumValue>{}</nc:RangeMaximumValue>"
    "<nc:RangeMinimumValue>{}</nc:RangeMinimumValue></nc:MeasureRangeValue>"
)


def document(*elements: str, version: str = DEFAULT) -> bytes:
    nc, j = NAMESPACES[version]
    return (
        f'<m:Message xmlns:m="urn:synthetic" xmlns:nc="{nc}" xmlns:j="{j}"'
        f' xmlns:hs="{RELEASE}/domains/humanServices/5.0/" xmlns:s="{RELEASE}/structures/5.0/"'
        ' xmlns:a="http://www.nlets.org/niem/nlets-amber-alert/1.0"'
        f' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">{"".join(elements)}</m:Message>'
    ).encode()


def missing(person: str = "", details: str = "", number: str = NUMBER) -> str:
    return f"<j:MissingPerson><nc:RoleOfPerson>{person}</nc:RoleOfPerson>{number}{details}</j:MissingPerson>"


def decode(content: bytes, limits: Limits = LIMITS, **attachments: bytes) -> Decoded:
    return NIEM_MISSING_PERSON.decode(Source(content, attachments), limits)


def cases(found: Decoded) -> list[case_pb2.CaseRecord]:
    records = [item.record for item in found.records]
    return [record for record in records if isinstance(record, case_pb2.CaseRecord)]


def one(person: str = "", details: str = "", version: str = DEFAULT) -> case_pb2.CaseRecord:
    (record,) = cases(decode(document(missing(person, details), version=version)))
    return record


def codes(found: Decoded | Encoded, *severities: Severity) -> list[str]:
    return sorted({issue.code for issue in found.issues if not severities or issue.severity in severities})


def unmapped(record: case_pb2.CaseRecord) -> dict[str, str]:
    return {item.path: item.value for item in record.provenance.unmapped}


def name(full: str = "", given: str = "", middle: str = "", family: str = "", category: str = "") -> str:
    parts = (
        ("Given", given),
        ("Middle", middle),
        ("Sur", family),
    )
    inner = "".join(f"<nc:Person{kind}Name>{text}</nc:Person{kind}Name>" for kind, text in parts if text)
    inner += f"<nc:PersonFullName>{full}</nc:PersonFullName>" if full else ""
    inner += f"<nc:PersonNameCategoryText>{category}</nc:PersonNameCategoryText>" if category else ""
    return f"<nc:PersonName>{inner}</nc:PersonName>"


def measure(kind: str, value: str, unit: str = "", unit_name: str = "MeasureUnitText") -> str:
    stated = f"<nc:{unit_name}>{unit}</nc:{unit_name}>" if unit else ""
    return (
        f"<nc:Person{kind}Measure><nc:MeasureValueText>{value}</nc:MeasureValueText>{stated}</nc:Person{kind}Measure>"
    )


def identification(element: str, number: str, category: str = "") -> str:
    stated = f"<nc:IdentificationCategoryDescriptionText>{category}</nc:IdentificationCategoryDescriptionText>"
    return f"<{element}><nc:IdentificationID>{number}</nc:IdentificationID>{stated if category else ''}</{element}>"


def image(inner: str) -> str:
    return f"<nc:PersonDigitalImage>{inner}</nc:PersonDigitalImage>"


def picture(content: bytes) -> str:
    return image(f"<nc:BinaryBase64Object>{base64.b64encode(content).decode()}</nc:BinaryBase64Object>")
