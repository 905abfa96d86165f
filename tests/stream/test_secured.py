"""A broker that asks for a password over TLS: events go through it, and what is wrong is said in one line."""

import re

import pytest

from nextclick.errors import BrokerUnavailableError, InputError
from nextclick.features.store.connect import apply_definitions
from nextclick.params import Params
from nextclick.stream import kafka
from nextclick.stream.replay import replay, schedule

RIGHT = {
    "SECURITY_PROTOCOL": "SASL_SSL",
    "SASL_MECHANISMS": "PLAIN",
    "SASL_USERNAME": "shop",
}


@pytest.fixture
def environment(broker, monkeypatch) -> dict[str, str]:
    settings = {f"NEXTCLICK_KAFKA_{name}": value for name, value in RIGHT.items()}
    authority = str(broker.folder / "ca.pem")
    settings |= {"NEXTCLICK_KAFKA": broker.secured_address, "NEXTCLICK_KAFKA_SSL_CA_LOCATION": authority}
    settings["NEXTCLICK_KAFKA_SASL_PASSWORD"] = broker.password
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


def test_events_are_streamed_through_it(
    tmp_path, environment, redis_server, make_live, monkeypatch, shop_events, stored
):
    live = make_live(tmp_path, environment["NEXTCLICK_KAFKA"], redis_server().address, tmp_path.name)
    live.environment |= environment
    monkeypatch.setenv("NEXTCLICK_REDIS", live.environment["NEXTCLICK_REDIS"])
    params, events = Params.read(tmp_path / "params.yaml"), shop_events(40, 2).assign(user_id=None)
    apply_definitions(tmp_path, params)
    assert replay(schedule(events, 0), params.stream, 0)["events"] == len(events)
    live.consume()
    try:
        stored(tmp_path, params, events)
    finally:
        live.stop()


def refused(monkeypatch) -> str:
    for patience in (1.0, 10.0):  # nearly always it is said within the first
        monkeypatch.setattr(kafka, "BROKER_TIMEOUT", patience)
        try:
            kafka.ensure_topics(Params().stream)
        except InputError as error:
            return str(error)
        except BrokerUnavailableError:
            continue
    raise AssertionError("it is not refused")


@pytest.mark.fault(
    part="Kafka",
    wrong="the environment has a wrong password, authority or protocol of Kafka",
    noticed="whoever connects: one line without the password, exit 2",
    lost="nothing",
    degraded="that process",
    heals="when the setting is mended",
)
@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("SASL_PASSWORD", "wr0ng", "[Aa]uthentication failed"),
        ("SASL_USERNAME", "nobody", "[Aa]uthentication failed"),
        ("SASL_MECHANISMS", "SCRAM-SHA-512", "SCRAM-SHA-512"),
        ("SSL_CA_LOCATION", "other-ca.pem", "certificate verify failed"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_without_the_password(broker, environment, monkeypatch, setting, value, said):
    value = str(broker.folder / value) if value.endswith(".pem") else value
    monkeypatch.setenv(f"NEXTCLICK_KAFKA_{setting}", value)
    text = refused(monkeypatch)
    assert re.search(said, text)
    assert "\n" not in text
    assert environment["NEXTCLICK_KAFKA"] in text
    assert broker.password not in text
    assert "wr0ng" not in text


def test_the_command_ends_with_that_line(tmp_path, environment, redis_server, make_live):
    live = make_live(tmp_path, environment["NEXTCLICK_KAFKA"], redis_server().address, "secured")
    live.environment |= environment | {"NEXTCLICK_KAFKA_SASL_PASSWORD": "wr0ng"}  # pragma: allowlist secret
    ended = live.consume("--patience", "3")
    ended.join(120)
    assert ended.exitcode == 2
    (said,) = live.said_by(0).read_text().splitlines()
    assert said.startswith("nextclick: Kafka at ")
