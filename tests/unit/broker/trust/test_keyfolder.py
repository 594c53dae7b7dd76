"""An agency's key folder: keys that come and go while a program runs, and keys that are destroyed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from broker.core.encryptionkeys import MLKEM768_X25519, P256, RECORDS
from broker.core.errors import KeyInvalid, KeyStatementInvalid, SealInvalid, SealKeyMissing
from broker.trust.hpke import HpkeWrapper, PrivateEncryptionKey
from broker.trust.keyfolder import (
    FolderEntry,
    FolderKeys,
    add_key,
    add_retirement,
    alone,
    destroy_private,
    entries,
    entry_of,
)
from broker.trust.keystatements import state_key, state_retirement

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pki import SamplePki

DOMAIN, AGENCY = "case-exchange.example", "shanxi-police"
INFO, CONTENT_KEYS = b"a record", bytes(32)


def make(pki: SamplePki, folder: Path, suite: str = P256) -> FolderEntry:
    private = PrivateEncryptionKey.generate(suite)
    key = private.stated_as(AGENCY, RECORDS, pki.now_ms, pki.now_ms + 1000)
    return add_key(folder, private, state_key(key, DOMAIN, pki.now_ms, pki.signer()))


def opens(keys: FolderKeys, entry: FolderEntry) -> bool:
    wrap = HpkeWrapper().wrap(entry.key, CONTENT_KEYS, INFO)
    try:
        return keys.unwrap(entry.key.key_id, wrap, INFO) == CONTENT_KEYS
    except SealKeyMissing:
        return False


@pytest.mark.parametrize("suite", [P256, MLKEM768_X25519])
def test_keys_are_taken_up_and_let_go_while_a_program_runs(pki: SamplePki, tmp_path: Path, suite: str) -> None:
    first = make(pki, tmp_path, suite)
    keys = FolderKeys(tmp_path)
    second = make(pki, tmp_path, suite)
    assert opens(keys, first)
    assert opens(keys, second)
    assert set(keys.key_ids()) == {first.key.key_id, second.key.key_id}
    destroy_private(first)
    assert set(keys.key_ids()) == {second.key.key_id}
    assert not opens(keys, first)
    assert opens(keys, second)


def test_a_key_is_found_by_its_id_alone_and_not_by_trying(pki: SamplePki, tmp_path: Path) -> None:
    first, second = make(pki, tmp_path), make(pki, tmp_path)
    wrap = HpkeWrapper().wrap(first.key, CONTENT_KEYS, INFO)
    with pytest.raises(SealInvalid):
        FolderKeys(tmp_path).unwrap(second.key.key_id, wrap, INFO)
    with pytest.raises(SealKeyMissing, match="not in the key folder"):
        FolderKeys(tmp_path).unwrap(bytes(32), wrap, INFO)


def test_private_files_are_private_and_what_is_open_to_others_is_not_used(pki: SamplePki, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    good, bad = make(pki, folder), make(pki, folder)
    assert good.private_file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    keys = FolderKeys(folder)
    bad.private_file.chmod(0o644)
    # A program that runs goes on with the others, and so does one that starts.
    third = make(pki, folder)
    for starts in (False, True):
        with capture_logs() as logs:
            used = FolderKeys(folder) if starts else keys
            assert opens(used, third)
        assert [line["reason"] for line in logs] == ["KEY_INVALID"]
        assert opens(used, good)
        assert bad.key.key_id not in used.key_ids()
    # Once its mode is right, it is used.
    bad.private_file.chmod(0o600)
    assert opens(keys, bad)
    assert bad.key.key_id in keys.key_ids()


def test_a_folder_that_is_away_for_a_moment_closes_nothing_and_one_that_never_was_there_is_refused(
    pki: SamplePki, tmp_path: Path
) -> None:
    folder = tmp_path / "keys"
    entry = make(pki, folder)
    keys = FolderKeys(folder)
    folder.rename(tmp_path / "away")
    with capture_logs() as logs:
        assert opens(keys, entry)
    assert [line["event"] for line in logs] == ["the key folder cannot be read"]
    with pytest.raises(KeyInvalid, match="cannot be read as a key folder"):
        FolderKeys(folder)
    with pytest.raises(KeyInvalid, match="cannot be read as a key folder"):
        entries(folder)


def test_destroying_overwrites_and_removes_the_private_key_and_keeps_what_was_stated(
    pki: SamplePki, tmp_path: Path
) -> None:
    entry = make(pki, tmp_path)
    copy = tmp_path / "copy"
    copy.hardlink_to(entry.private_file)
    size = copy.stat().st_size
    destroy_private(entry)
    assert not entry.private_file.exists()
    assert copy.read_bytes() == bytes(size)
    assert [(one.key, one.has_private) for one in entries(tmp_path)] == [(entry.key, False)]
    with pytest.raises(KeyInvalid, match="cannot be destroyed"):
        destroy_private(entry)


def test_a_retirement_ends_the_key_in_the_folder_also_one_whose_private_key_is_elsewhere(
    pki: SamplePki, tmp_path: Path
) -> None:
    elsewhere = make(pki, tmp_path / "elsewhere")
    entry = entry_of(tmp_path / "here", elsewhere.key)
    assert not entry.has_private
    add_retirement(entry, state_retirement(entry.key, pki.now_ms + 5, DOMAIN, pki.now_ms, pki.signer()))
    (found,) = entries(tmp_path / "here")
    assert found.key.retired_at_ms == pki.now_ms + 5
    assert found.key.key_id == elsewhere.key.key_id


def test_files_that_contradict_their_names_are_refused(pki: SamplePki, tmp_path: Path) -> None:
    first, second = make(pki, tmp_path), make(pki, tmp_path)
    ends = state_retirement(first.key, pki.now_ms, DOMAIN, pki.now_ms, pki.signer())
    add_retirement(first, ends)
    first.retirement_file.rename(second.retirement_file)
    with pytest.raises(KeyStatementInvalid, match="is not the retirement of its key"):
        entries(tmp_path)
    second.retirement_file.unlink()
    second.statement_file.write_bytes(ends.statement)
    with pytest.raises(KeyStatementInvalid, match="is not the statement of the key"):
        entries(tmp_path)
    second.statement_file.write_bytes(first.statement_file.read_bytes())
    with pytest.raises(KeyStatementInvalid, match="is not the statement of the key"):
        entries(tmp_path)


def test_what_cannot_be_written_is_refused(pki: SamplePki, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyInvalid, match="cannot be written"):
        make(pki, tmp_path / "file")
    entry = make(pki, tmp_path / "keys")
    with pytest.raises(KeyInvalid, match="cannot be written"):
        add_key(tmp_path / "keys", PrivateEncryptionKey.load(entry.private_file), entry.key)


def test_only_one_command_changes_a_folder_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(KeyInvalid, match="another command changes"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass
    with pytest.raises(KeyInvalid, match="cannot be read"), alone(tmp_path / "none"):
        pass
