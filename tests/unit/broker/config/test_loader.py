from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.edge.profile import Route, load_profile
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
    # No file brings a request to readdress: the command that makes it knows its way.
    assert routes.keys() == rights.publish.keys() - {"ReaddressRequest"}
    for kind, route in routes.items():
        assert set(route.recipients) <= rights.publish[kind].recipients
        assert route.purpose in PURPOSES


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"server": {"adress": "x"}}, "server.adress is unknown"),
        ({"sever": {}}, "sever is unknown"),
        ({"server": {"address": 7443}}, "server.address must be text"),
        ({"server": {"drain_seconds": "soon"}}, "server.drain_seconds must be a number"),
        ({"server": {"drain_seconds": -1}}, "server.drain_seconds must be at least 0.0"),
        ({"server": {"drain_seconds": 10**400}}, "server.drain_seconds: Number out of range"),
        ({"server": {"concurrent_calls": True}}, "server.concurrent_calls must be a whole number"),
        ({"server": {"signature_process": 1}}, "server.signature_process must be true or false"),
        ({"subscriptions": {"max_attempts": 128}}, "subscriptions.max_attempts must be at most 127"),
        ({"kafka": {"servers": "localhost:9092"}}, "kafka.servers must be a list"),
        ({"kafka": {"servers": ["localhost:9092", 1]}}, "kafka.servers[1] must be text"),
        ({"log": {"backend": "memory"}}, "log.backend must be one of embedded, kafka"),
        ({"logging": {"level": "a - at `$.b` c"}}, "logging.level must be one of debug, info, warning, error"),
        ({"server": {"a`b": 1}}, "server: Object contains unknown field `a`b`"),
        ({"logging": {"level": "loud"}}, "logging.level must be one of debug, info, warning, error"),
        ({"tls": {"key": ""}}, "tls.key must be a path"),
        ({"tls": {"key": 1}}, "tls.key must be a path"),
    ],
)
def test_a_wrong_key_is_refused_with_its_whole_path(changes: dict[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        parse(BrokerConfig, tables(**changes), Path())
    assert refused.value.message == message


def test_what_is_missing_is_named() -> None:
    found = tables()
    del found["signing"]["key"]
    with pytest.raises(ConfigInvalid, match=r"^signing\.key is missing$"):
        parse(BrokerConfig, found, Path())
    del found["signing"]
    with pytest.raises(ConfigInvalid, match=r"^signing is missing$"):
        parse(BrokerConfig, found, Path())
    with pytest.raises(ConfigInvalid, match=r"^signing must be a section$"):
        parse(BrokerConfig, found | {"signing": "key"}, Path())


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
    assert routes["Tip"] == Route(recipients=("ministry",), purpose="child-rescue", stream="cases")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("routes = 1\n", "routes must be a section"),
        ("[routes]\nTip = 1\n", "routes.Tip must be a section"),
        ('[routes.Gossip]\nrecipients = []\npurpose = "x"\n', "routes.Gossip: there is no kind of record Gossip"),
        (
            '[routes.Tip]\nrecipients = ["Ministry of X"]\npurpose = "x"\n',
            "routes.Tip.recipients must be ids of agencies",
        ),
        ('[routes.Tip]\nrecipients = ["ministry", 1]\npurpose = "x"\n', "routes.Tip.recipients[1] must be text"),
        (
            '[routes.Tip]\nrecipients = ["ministry"]\npurpose = "x"\nextra = 1\n',
            "routes.Tip.extra is unknown",
        ),
        (
            '[routes.Correction]\nrecipients = ["ministry"]\npurpose = "x"\n',
            "routes.Correction.stream must be one of cases, dna, notices",
        ),
        ('[routes.Tip]\nrecipients = ["ministry"]\n', "routes.Tip.purpose is missing"),
    ],
)
def test_a_wrong_route_is_refused_with_its_whole_path(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "profile.toml"
    path.write_text(text + PROFILE if text.startswith("routes") else PROFILE + text)
    with pytest.raises(ConfigInvalid) as refused:
        load_profile(path)
    assert refused.value.message == message


def test_a_start_of_the_subscription_is_read_or_refused_by_its_name(tmp_path: Path) -> None:
    assert load_profile(profile(tmp_path))[0].gateway.start == "earliest"
    assert load_profile(profile(tmp_path, 'start = "latest"\n'))[0].gateway.start == "latest"
    with pytest.raises(ConfigInvalid, match=r"^gateway\.start: a start is earliest, latest, or a time"):
        load_profile(profile(tmp_path, 'start = "soon"\n'))


def test_a_gateways_profile_serves_the_commands_of_an_edge_too(tmp_path: Path) -> None:
    text = '[routes.Tip]\nrecipients = ["ministry"]\npurpose = "child-rescue"\n'
    assert load_edge(profile(tmp_path, text)).broker.address == "localhost:7443"


def test_an_unknown_section_of_an_edge_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="gatway"):
        load_edge(profile(tmp_path, "[gatway]\n"))
