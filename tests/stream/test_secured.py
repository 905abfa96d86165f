"""A broker that asks for a password over TLS: events go through it, and what is wrong is said in one line."""

import os
import subprocess
import sys
from secrets import token_hex

import pytest

from nextclick.errors import InputError
from nextclick.features.store.connect import apply_definitions
from nextclick.params import Params
from nextclick.stream.kafka import ensure_topics
from nextclick.stream.replay import replay, schedule

PASSWORD = token_hex(8)
PROPERTIES = """
listeners=SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=SASL_SSL://127.0.0.1:{port}
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={certificates}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={certificates}/ca.pem
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  username="shop" password="{password}" user_shop="{password}";
"""
RIGHT = {
    "SECURITY_PROTOCOL": "SASL_SSL",
    "SASL_MECHANISMS": "PLAIN",
    "SASL_USERNAME": "shop",
    "SASL_PASSWORD": PASSWORD,
}


def openssl(folder, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_authority(folder, name: str) -> None:
    about = ["-subj", f"/CN={name}", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *about)


@pytest.fixture(scope="module")
def secured(kafka, tmp_path_factory):
    """The broker, and the folder with the certificate of the authority that signed its own."""
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder, "ca")
    make_authority(folder, "other-ca")
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=broker", "-keyout", "key", "-out", "request")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-extfile", "names", "-out", "certificate"]
    openssl(folder, "x509", "-req", "-in", "request", *signed)
    whole = (folder / "key").read_text() + (folder / "certificate").read_text() + (folder / "ca.pem").read_text()
    (folder / "broker.pem").write_text(whole)
    return kafka(PROPERTIES, certificates=folder, password=PASSWORD), folder


@pytest.fixture
def environment(secured, monkeypatch) -> dict[str, str]:
    broker, folder = secured
    settings = {f"NEXTCLICK_KAFKA_{name}": value for name, value in RIGHT.items()}
    settings |= {"NEXTCLICK_KAFKA": broker.address, "NEXTCLICK_KAFKA_SSL_CA_LOCATION": str(folder / "ca.pem")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


def test_events_are_streamed_through_it(
    tmp_path, environment, redis_server, make_live, monkeypatch, shop_events, stored
):
    live = make_live(tmp_path, environment["NEXTCLICK_KAFKA"], redis_server().address, "secured")
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


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("SASL_PASSWORD", "wr0ng", "[Aa]uthentication failed"),
        ("SASL_USERNAME", "nobody", "[Aa]uthentication failed"),
        ("SASL_MECHANISMS", "SCRAM-SHA-512", "SCRAM-SHA-512"),
        ("SSL_CA_LOCATION", "other-ca.pem", "certificate verify failed"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_without_the_password(
    secured, environment, monkeypatch, setting, value, said
):
    value = str(secured[1] / value) if value.endswith(".pem") else value
    monkeypatch.setenv(f"NEXTCLICK_KAFKA_{setting}", value)
    with pytest.raises(InputError, match=said) as error:
        ensure_topics(Params().stream)
    text = str(error.value)
    assert "\n" not in text
    assert environment["NEXTCLICK_KAFKA"] in text
    assert PASSWORD not in text
    assert "wr0ng" not in text


def test_the_command_ends_with_that_line(tmp_path, environment, redis_server, make_live):
    live = make_live(tmp_path, environment["NEXTCLICK_KAFKA"], redis_server().address, "secured")
    asked = os.environ | environment | live.environment | {"NEXTCLICK_KAFKA_SASL_PASSWORD": PASSWORD[::-1] + "0"}
    command = [sys.executable, "-m", "nextclick.cli", "stream"]
    ended = subprocess.run(command, cwd=tmp_path, env=asked, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    (said,) = ended.stderr.splitlines()
    assert said.startswith("nextclick: Kafka at ")
