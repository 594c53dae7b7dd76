"""Check record.dsse.json with securesystemslib, which is not of the makers of case-exchange.

Usage: python3 verify_dsse.py, in the folder of the export, after the commands that were printed before it.

It ends with status 0 if the key in signer.pub signed the record. That key is from signer.pem, and `openssl verify` says
whether signer.pem is of the authority.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined] # public, but not listed as exported


def main(folder: Path) -> None:
    """Check the export in a folder, and exit."""
    envelope = Envelope.from_dict(json.loads((folder / "record.dsse.json").read_bytes()))
    (key_id,) = envelope.signatures
    public = (folder / "signer.pub").read_text()
    key = SSlibKey(key_id, "ecdsa", "ecdsa-sha2-nistp256", {"public": public})
    try:
        envelope.verify([key], 1)
    except VerificationError as error:
        sys.exit(f"NOT VERIFIED: {error}")
    if envelope.pae() != (folder / "record.pae").read_bytes():
        sys.exit("NOT VERIFIED: record.pae is not what was signed")
    sys.stdout.write("verified by securesystemslib\n")


if __name__ == "__main__":
    main(Path(__file__).parent)
