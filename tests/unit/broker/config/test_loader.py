from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.edge.profile import load_profile
from broker.config.broker import BrokerConfig
from broker.config.edge import load_edge
from broker.config.loader import ENVIRONMENT_KEY, config_path, load, parse, read_toml
from broker.core.errors import ConfigInvalid
from certs.rights import PURPOSES, SHANXI, members

ROOT = Path(__file__).parents[4]


def tables(**changes: dict[str, Any]) -> dict[str, Any]:
    found = read_toml(ROOT / "deploy" / "broker.toml")
    for section, keys in changes.items():
        found.setdefault(section, {}).update(keys)
    return found


def test_the_example_configuration_is_one() -> None:
    config = load(BrokerConfig, ROOT / "deploy" / "broker.toml")
    assert config.server.address == "localhost:7443"
    assert config.tls.key == ROOT / "deploy" / "../.dev/pki/broker/tls.key"


def test_the_example_profile_is_one_and_asks_for_no_more_than_the_development_directory_grants() -> None:
    path = ROOT / "deploy" / "gateway.toml"
    loaded, routes = load_profile(path)
    assert load_edge(path).agency == loaded.agency
    assert loaded.agency.key == ROOT / "deploy" / "../.dev/pki/agencies/shanxi-police/tls.key"
    rights = next(member for member in members() if member.agency == SHANXI)
    assert set(loaded.gateway.subscribe) <= rights.receive.keys()
    assert routes.keys() == rights.publish.keys()
    for kind, route in routes.items():
        assert set(route.recipients) <= rights.publish[kind].recipients
        assert route.purpose in PURPOSES


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"server": {"adress": "x"}}, "adress"),
        ({"sever": {}}, "sever"),
        ({"server": {"drain_seconds": "soon"}}, "server.drain_seconds"),
        ({"server": {"drain_seconds": -1}}, "server.drain_seconds"),
        ({"server": {"concurrent_calls": True}}, "server.concurrent_calls"),
        ({"subscriptions": {"max_attempts": 128}}, "subscriptions.max_attempts"),
        ({"tls": {"key": ""}}, "tls.key"),
    ],
)
def test_a_wrong_key_is_refused_by_name(changes: dict[str, dict[str, Any]], named: str) -> None:
    with pytest.raises(ConfigInvalid, match=named):
        parse(BrokerConfig, tables(**changes), Path())


def test_a_missing_key_is_refused_by_name() -> None:
    found = tables()
    del found["signing"]["key"]
    with pytest.raises(ConfigInvalid, match=r"signing.* lacks key"):
        parse(BrokerConfig, found, Path())


def test_a_whole_number_will_do_where_a_number_is_wanted() -> None:
    assert parse(BrokerConfig, tables(server={"drain_seconds": 3}), Path()).server.drain_seconds == 3.0


@pytest.mark.parametrize("content", [b"[server", b"\xff\xfe"], ids=["syntax", "encoding"])
def test_a_file_that_is_no_toml_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broker.toml").write_bytes(content)
    with pytest.raises(ConfigInvalid):
        load(BrokerConfig, tmp_path / "broker.toml")


def test_the_environment_names_the_file_where_no_option_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_KEY, raising=False)
    with pytest.raises(ConfigInvalid):
        config_path(None)
    monkeypatch.setenv(ENVIRONMENT_KEY, "broker.toml")
    assert config_path(None) == Path("broker.toml")
    assert config_path(Path("other.toml")) == Path("other.toml")


PROFILE = """
[broker]
address = "localhost:7443"
[agency]
certificate = "a"
key = "b"
authorities = "c"
signing_certificate = "d"
signing_key = "e"
[trust]
governance_key = "f"
directory = "g"
signing_revocations = "h"
[gateway]
folder = "i"
formats = ["pfif"]
outbox_format = "pfif"
"""


def profile(folder: Path, text: str = "") -> Path:
    path = folder / "profile.toml"
    path.write_text(PROFILE + text)
    return path


def test_routes_are_read_by_kind(tmp_path: Path) -> None:
    text = '[routes.Tip]\nrecipients = ["ministry"]\npurpose = "child-rescue"\n'
    loaded, routes = load_profile(profile(tmp_path, text))
    assert loaded.gateway.formats == ("pfif",)
    assert routes["Tip"] == (("ministry",), "child-rescue", "cases")


@pytest.mark.parametrize(
    "text",
    [
        "[routes]\nTip = 1\n",
        '[routes.Gossip]\nrecipients = []\npurpose = "x"\n',
        '[routes.Tip]\nrecipients = ["Ministry of X"]\npurpose = "x"\n',
        '[routes.Tip]\nrecipients = ["ministry"]\npurpose = "x"\nextra = 1\n',
        '[routes.Correction]\nrecipients = ["ministry"]\npurpose = "x"\n',
        '[routes.Tip]\nrecipients = ["ministry"]\n',
    ],
)
def test_a_wrong_route_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigInvalid):
        load_profile(profile(tmp_path, text))


def test_a_gateways_profile_serves_the_commands_of_an_edge_too(tmp_path: Path) -> None:
    text = '[routes.Tip]\nrecipients = ["ministry"]\npurpose = "child-rescue"\n'
    assert load_edge(profile(tmp_path, text)).broker.address == "localhost:7443"


def test_an_unknown_section_of_an_edge_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="gatway"):
        load_edge(profile(tmp_path, "[gatway]\n"))
