"""Non-governmental organisations: missing persons as PFIF 1.4."""

from __future__ import annotations

from adapters.ngo.pfif import Pfif

ADAPTER = Pfif()
