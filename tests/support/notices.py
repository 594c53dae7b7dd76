"""Synthetic notices, drawn pictures, and an outbox in the form that a gateway writes."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any
from uuid import UUID

from PIL import Image, ImageDraw

from adapters.base import Limits, Record, kind_of
from adapters.folders import About, delivered_path, write_about
from adapters.public_notice.history import Filed
from adapters.records.record_json import ADAPTER as RECORD_JSON
from caseexchange.records.v1 import case_pb2, common_pb2, notice_pb2

if TYPE_CHECKING:
    from pathlib import Path

EPOCH_SECONDS = 1_750_000_000
"""June 2025: when the first synthetic record was issued."""
EXPIRY_SECONDS = EPOCH_SECONDS + 3_000_000_000
"""Far in the future, because the command has its own clock."""
MINISTRY = "cn-ministry"


def record_id(number: int) -> str:
    """A UUIDv7 of a record that was issued this many minutes after the first."""
    milliseconds = (EPOCH_SECONDS + 60 * number) * 1000
    return str(UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | number))


def drawing(coat: str = "firebrick", hair: str = "#2d2420", ground: str = "#cfd8cf") -> bytes:
    """A drawing like a child's. It clearly shows no real person."""
    image = Image.new("RGB", (480, 600), ground)
    draw = ImageDraw.Draw(image)
    draw.ellipse([40, 400, 440, 900], fill=coat)
    draw.rectangle([205, 350, 275, 430], fill="#e0b794")
    draw.ellipse([125, 95, 355, 375], fill=hair)
    draw.ellipse([145, 140, 335, 375], fill="#f0c9a6")
    draw.pieslice([135, 90, 345, 300], 180, 360, fill=hair)
    for x in (195, 275):
        draw.ellipse([x - 10, 245, x + 10, 271], fill="#2b2b2b")
        draw.ellipse([x - 32, 285, x + 2, 307], fill="#e8ad8c")
    draw.arc([205, 270, 275, 330], 20, 160, fill="#8c3b33", width=6)
    out = io.BytesIO()
    image.save(out, "JPEG", comment="SECRET of the camera")
    return out.getvalue()


def photo(content: bytes, media_type: str = "image/jpeg") -> common_pb2.Photo:
    return common_pb2.Photo(content=content, media_type=media_type, sha256=hashlib.sha256(content).digest())


def notice(number: int = 1, action: str = "PUBLISH", **fields: Any) -> notice_pb2.PublicNotice:
    """A notice of an invented girl. ``fields`` replace its fields."""
    found = notice_pb2.PublicNotice(
        notice_id=f"notices.example/SYN-{number:04}",
        action=notice_pb2.NoticeAction.Value(f"NOTICE_ACTION_{action}"),
        sex=common_pb2.SEX_FEMALE,
        age=common_pb2.AgeRange(least=5, greatest=7, apparent=True),
        place=common_pb2.Place(text="虚构省样例县"),
        report_to=common_pb2.Contact(
            name="NEVER-SHOWN",
            organisation="样例县公安局（虚构）",
            phone="000-0000-0009",
            email="office@notices.example",
        ),
    )
    found.features.add(kind=common_pb2.FEATURE_KIND_BODY, text="左眉上有一颗小痣")
    found.texts.add(language="zh", headline="寻找她的家人", text="演练内容：这是虚构的儿童。")
    found.texts.add(language="en", headline="Looking for her family", text="Exercise: an invented child.")
    found.effective_at.seconds, found.expires_at.seconds = EPOCH_SECONDS, EXPIRY_SECONDS
    for name, value in fields.items():
        found.ClearField(name)  # type: ignore[arg-type] # the tests name real fields
        if isinstance(value, list):
            getattr(found, name).extend(value)
        elif hasattr(value, "DESCRIPTOR"):
            getattr(found, name).CopyFrom(value)
        elif value is not None:
            setattr(found, name, value)
    return found


def correction(target: str, kind: str = "WITHDRAW") -> case_pb2.Correction:
    return case_pb2.Correction(
        target_record_id=target, kind=case_pb2.CorrectionKind.Value(f"CORRECTION_KIND_{kind}"), reason="synthetic"
    )


def closure() -> case_pb2.Closure:
    return case_pb2.Closure(outcome=case_pb2.OUTCOME_REUNITED, local_id="SYN-1")


def filed(record: Record, number: int, case_id: str = "case-1", **routing: Any) -> Filed:
    return Filed(record, record_id(number), about(record, record_id(number), case_id, **routing))


def about(record: Record, name: str, case_id: str = "case-1", **routing: Any) -> About:
    """What a gateway writes beside a record. Without ``publisher`` it is the ministry's."""
    return About(record_id=name, kind=kind_of(record), case_id=case_id, **{"publisher": MINISTRY, **routing})


def file_into(outbox: Path, *items: Filed) -> None:
    """Write records as the gateway does (adapters/gateway/inbound.py)."""
    outbox.mkdir(exist_ok=True, parents=True)
    for item in items:
        write_about(outbox, item.about)
        path = delivered_path(outbox, item.about.kind, item.record_id, ".json")
        path.write_bytes(RECORD_JSON.encode([item.record], Limits()).content)
