"""Tests the log against the contract of all adapters."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from adapters.contract import AdapterContract, Subject


class TestHarbourLog(AdapterContract):
    subjects: ClassVar = [Subject("harbour-log", b"HARBOUR LOG 1\n", Path(__file__).with_name("sample.log"))]
