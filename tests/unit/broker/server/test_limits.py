from __future__ import annotations

import pytest

from broker.server.limits import ServerLimits, addresses_of


@pytest.mark.parametrize(("addresses", "each"), [(1, 20), (3, 6), (40, 1)])
def test_all_addresses_together_take_no_more_connections_than_are_allowed(addresses: int, each: int) -> None:
    options = dict(ServerLimits(connections=20).channel_options(addresses))
    assert options["grpc.max_allowed_incoming_connections"] == each


@pytest.mark.parametrize("address", ["127.0.0.1:7443", "[::1]:0", "no port"])
def test_an_address_counts_once(address: str) -> None:
    assert addresses_of(address) == 1
