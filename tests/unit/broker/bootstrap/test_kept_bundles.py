"""Bundles from an earlier time, and perhaps from another release of protobuf, still prove what they proved then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.bootstrap.verify import verify_bundle
from broker.cli.verify import verify
from broker.wire.bundle import MAGIC, read_frames, write_frame
from broker.wire.frames import frame_from, frame_to

KEPT = Path(__file__).parents[3] / "vectors" / "bundles"
ROOT = KEPT / "governance.pem"


def frames(name: str) -> list[bytes]:
    with (KEPT / f"{name}.bundle").open("rb") as file:
        return list(read_frames(file))


@pytest.mark.parametrize("name", ["plain", "odd"])
def test_a_kept_bundle_says_what_it_said_when_it_was_written(name: str) -> None:
    done = CliRunner().invoke(verify, [str(KEPT / f"{name}.bundle"), "--root", str(ROOT), "--json"])
    assert done.exit_code == 0, done.output
    kept = json.loads((KEPT / f"{name}.json").read_text())
    # A later release may say more.
    assert {key: value for key, value in json.loads(done.stdout).items() if key in kept} == kept


def test_a_frame_that_is_serialised_again_is_no_longer_what_was_signed(tmp_path: Path) -> None:
    odd = frames("odd")
    for at in range(len(odd) - 1):
        again = frame_to(frame_from(odd[at])).SerializeToString(deterministic=True)
        assert again != odd[at]
        path = tmp_path / "again.bundle"
        with path.open("wb") as file:
            file.write(MAGIC)
            for data in (*odd[:at], again, *odd[at + 1 :]):
                write_frame(file, data)
        codes = {finding.code for finding in verify_bundle(path, (ROOT,), lambda _: None).findings}
        assert codes == {"BUNDLE_ALTERED"}
