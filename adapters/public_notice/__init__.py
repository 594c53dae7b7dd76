"""What the public may see of a child: CAP 1.2 alerts, Atom feeds, and the notice board, a static web site."""

from __future__ import annotations

from adapters.public_notice.cap.adapter import Cap

ADAPTER = Cap()
