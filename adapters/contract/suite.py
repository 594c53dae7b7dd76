"""The tests of ``AdapterContract``."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.base import RECORD_TYPES, DecodedRecord, Limits, Severity, Source, StreamingAdapter, kind_of
from adapters.contract.checks import called, check_issue, refused, texts_of
from adapters.contract.hostile import CANARY, hostile_files
from adapters.contract.measured import run_measured
from adapters.contract.roundtrip import round_trip, thinned
from adapters.contract.tables import formulas, injected, is_table
from adapters.reading import ADAPTER_FAILED, SourceFile
from adapters.records.validate import validate
from adapters.registry import adapter, adapter_names, detect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from adapters.base import Adapter, Decoded

_GIGABYTE: Final = 1 << 30
_FILE_NAME: Final = "测试儿童乙 SYN-0001.dat"
"""A file's name can be a person's name."""
# Subclasses share the tests. Each test runs in one of them at a time.
_SETTINGS: Final = settings(deadline=None, suppress_health_check=[HealthCheck.differing_executors])
_found = lru_cache(adapter)
"""A look-up reads what is installed. That takes longer than reading an example of a few bytes."""


@dataclass(frozen=True)
class Subject:
    """An adapter to be tested.

    Attributes:
        name: the name under which it is installed.
        prefix: the beginning of a file of this format. Hostile content is put after it.
        sample: a good file.
        lossy: codes, besides FIELD_NOT_CARRIED, that say that a field may come back different.
        round_trips: whether it reads back every record that it wrote, unchanged.
    """

    name: str
    prefix: bytes
    sample: Path
    lossy: frozenset[str] = frozenset()
    round_trips: bool = True

    @property
    def adapter(self) -> Adapter:
        """The installed adapter."""
        return _found(self.name)

    def read(self, content: bytes | None = None) -> Decoded:
        """Decode a content, or the sample, without attachments."""
        return self.adapter.decode(Source(self.sample.read_bytes() if content is None else content), Limits())


class AdapterContract:
    """Subclass it in a test module, as ``TestSomething``, and list the subjects.

    Attributes:
        subjects: the adapters to be tested.
        cpu_seconds: the most CPU time for a hostile file.
        memory_bytes: the most memory that the process may grow by while it reads a hostile file.
        gigabyte_bytes: the most memory of the whole command when it inspects a file of a gigabyte.
    """

    subjects: ClassVar[Sequence[Subject]] = ()
    cpu_seconds: ClassVar[int] = 20
    memory_bytes: ClassVar[int] = 512 << 20
    gigabyte_bytes: ClassVar[int] = 256 << 20

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every test for every subject."""
        if "subject" in metafunc.fixturenames:
            metafunc.parametrize("subject", self.subjects, ids=[subject.name for subject in self.subjects])

    def test_it_speaks_of_known_kinds_only(self, subject: Subject) -> None:
        """Kinds are names of record messages. The adapter has the name under which it is installed."""
        assert subject.adapter.name == subject.name
        assert subject.adapter.decodes | subject.adapter.encodes <= set(RECORD_TYPES)
        assert subject.adapter.suffix.startswith(".")

    def test_its_sample_is_read(self, subject: Subject) -> None:
        """Every record is valid, has a kind that the adapter reads, and names its source."""
        content = subject.sample.read_bytes()
        found = subject.read(content)
        assert found.records
        assert found.source_sha256 == hashlib.sha256(content).digest()
        for item in found.records:
            assert kind_of(item.record) in subject.adapter.decodes
            assert item.locator
            assert validate(item.record) == []
            assert item.record.provenance.source_format

    def test_its_sample_is_taken_for_its_own_and_by_no_other(self, subject: Subject) -> None:
        """Only its own adapter takes the sample for its format."""
        with subject.sample.open("rb") as file:
            head = SourceFile(file, Limits()).head
        assert [name for name in adapter_names() if _found(name).sniff(head)] == [subject.name]

    def test_no_issue_quotes_what_a_field_holds(self, subject: Subject) -> None:
        """An issue has a stable code, a place and a message. None of a record's texts is in them."""
        content = subject.sample.read_bytes()
        texts = {text for item in subject.read(content).records for text in texts_of(item.record)}
        for cut in range(0, len(content), max(1, len(content) // 50)):
            for issue in subject.read(content[:cut] + b"\x01" + content[cut + 1 :]).issues:
                check_issue(issue)
                assert not any(text in issue.message or text in issue.locator for text in texts)

    @_SETTINGS
    @given(content=st.binary(max_size=200))
    def test_no_bytes_make_it_raise_and_what_it_reads_is_valid(self, subject: Subject, content: bytes) -> None:
        """Nothing raises, and every accepted record is valid."""
        for prefix in (b"", subject.prefix):
            for item in subject.read(prefix + content).records:
                assert kind_of(item.record) in subject.adapter.decodes
                assert validate(item.record) == []

    @_SETTINGS
    @given(data=st.data())
    def test_no_mangled_sample_makes_it_raise(self, subject: Subject, data: st.DataObject) -> None:
        """Bytes of a good file are replaced, and nothing raises."""
        content = bytearray(subject.sample.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(content) - 1))
            content[place : place + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=8))
        found = subject.read(bytes(content))
        assert found.records or found.issues
        assert not (found.rejected and found.records)

    def test_a_file_over_the_limits_is_refused(self, subject: Subject) -> None:
        """A file with too many bytes is refused. So is one with too many records, if the format can hold many."""
        content = subject.sample.read_bytes()
        small = subject.adapter.decode(Source(content), Limits(bytes=len(content) - 1))
        assert small.rejected
        assert small.records == ()
        few = subject.adapter.decode(Source(content), Limits(records=1))
        assert few.rejected or len(few.records) <= 1

    def test_a_stream_yields_what_decode_returns(self, subject: Subject) -> None:
        """For a ``StreamingAdapter``. For any other adapter, the commands read what ``decode`` returns."""
        whole = subject.read()
        with subject.sample.open("rb") as file:
            items = list(SourceFile(file, Limits()).items(subject.adapter, {}))
        assert [item for item in items if isinstance(item, DecodedRecord)] == list(whole.records)
        assert [item for item in items if not isinstance(item, DecodedRecord)] == list(whole.issues)
        if isinstance(subject.adapter, StreamingAdapter):
            with subject.sample.open("rb") as file:
                *_, last = SourceFile(file, Limits(streamed_records=0)).items(subject.adapter, {})
            assert not isinstance(last, DecodedRecord)
            assert last.severity is Severity.REJECT_FILE

    def test_hostile_files_end_in_a_code_within_bounded_time_and_memory(self, subject: Subject, tmp_path: Path) -> None:
        """In a process with limits, in which no socket, process or other file may be opened."""
        canary, folder = tmp_path / "canary", tmp_path / "files"
        canary.write_bytes(CANARY)
        folder.mkdir()
        (folder / "attachments").mkdir()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)  # noqa: FBT003 - the library's own call
            for name, content in hostile_files(str(canary), server.getsockname()[1]):
                (folder / name).write_bytes(content)
                (folder / f"{name}, after a prefix").write_bytes(subject.prefix + content)
            reports = self._reports(subject, folder)
            assert called(server) == 0
        for report in reports:
            assert "issues" in report, f"reading ended the process: {report['file']}"
            assert report["records"] or report["issues"], report
            assert all(code == code.upper() and where and words for _, code, where, words in report["issues"]), report
            assert not report["reached"], report
            assert not report["leaked"], report
            assert report["grown"] <= self.memory_bytes, report
            assert not any(code == ADAPTER_FAILED for _, code, _, _ in report["issues"]), report

    def test_a_file_of_a_gigabyte_is_inspected_in_little_memory(self, subject: Subject, tmp_path: Path) -> None:
        """It is refused by a code. Neither its name nor a traceback is shown."""
        path = tmp_path / _FILE_NAME
        with path.open("wb") as file:
            file.truncate(_GIGABYTE)
        done = run_measured("inspect", "--from", subject.name, path)
        assert done.code == 1, done.printed
        assert Severity.REJECT_FILE.value in done.printed
        assert _FILE_NAME not in done.printed
        assert "Traceback" not in done.printed
        assert done.peak <= self.gigabyte_bytes

    def test_a_kind_that_is_not_carried_is_refused_by_a_code(self, subject: Subject) -> None:
        """For an adapter that writes nothing, these are all kinds."""
        for kind in set(RECORD_TYPES) - subject.adapter.encodes:
            assert refused(subject.adapter.encode([RECORD_TYPES[kind]()], Limits()).issues)

    def test_one_that_only_reads_refuses_to_write_even_what_it_read(self, subject: Subject) -> None:
        """For an adapter that encodes nothing: an empty result must not look like a written file."""
        if not subject.adapter.encodes:
            for records in ([item.record for item in subject.read().records], []):
                written = subject.adapter.encode(records, Limits())
                assert [issue.severity for issue in written.issues] == [Severity.REJECT_FILE]
                assert (written.content, dict(written.attachments)) == (b"", {})

    def test_what_it_refuses_to_write_is_reported_by_its_place(self, subject: Subject) -> None:
        """A caller counts the refused records by their places."""
        for kind in subject.adapter.encodes:
            for issue in subject.adapter.encode([RECORD_TYPES[kind]()], Limits()).issues:
                check_issue(issue)
                assert issue.severity is not Severity.REJECT_RECORD or issue.locator.startswith("records[0]")

    def test_what_it_writes_it_takes_for_its_own(self, subject: Subject) -> None:
        """It detects what it wrote as its own format, and reads the same number of records from it."""
        records = [item.record for item in subject.read().records if kind_of(item.record) in subject.adapter.encodes]
        if records:
            written = subject.adapter.encode(records, Limits())
            assert written.content
            assert detect(written.content) is subject.adapter
            again = subject.adapter.decode(Source(written.content, written.attachments), Limits())
            assert len(again.records) == len(records)

    @_SETTINGS
    @given(data=st.data())
    def test_a_record_reads_back_equal_on_what_the_format_carries(self, subject: Subject, data: st.DataObject) -> None:
        """Whole or without some fields. Every lost field is named. What was read back once does not change again."""
        records = [item.record for item in subject.read().records if kind_of(item.record) in subject.adapter.encodes]
        if records and subject.round_trips:
            record = data.draw(st.sampled_from(records).flatmap(thinned))
            made = round_trip(subject.adapter, record, lossy=subject.lossy)
            assert made.lost == ()
            assert made.read is not None or made.issues
            if made.read is not None:
                again = round_trip(subject.adapter, made.read, lossy=subject.lossy)
                assert (again.lost, again.read is None) == ((), False)

    def test_no_cell_of_a_table_is_a_formula(self, subject: Subject) -> None:
        """For formats that spreadsheet programs open, whatever the fields of a record contain."""
        if not is_table(subject.adapter.media_type):
            return
        records = [item.record for item in subject.read().records if kind_of(item.record) in subject.adapter.encodes]
        for record in (made for kept in records for made in injected(kept)):
            content = subject.adapter.encode([record], Limits()).content
            assert not list(formulas(content, subject.adapter.media_type))

    def _reports(self, subject: Subject, folder: Path) -> list[dict[str, Any]]:
        """The child's last report on each file."""
        arguments = [subject.name, str(folder), str(self.cpu_seconds), str(self.memory_bytes)]
        command = [sys.executable, "-m", "adapters.contract.child", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - this program
        reports = {report["file"]: report for report in map(json.loads, done.stdout.splitlines())}
        assert reports, done.stderr
        return list(reports.values())
