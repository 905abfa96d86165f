"""Security comes from the environment and reaches librdkafka; what cannot be used is named."""

import re
import socket

import pytest

from nextclick.errors import BrokerUnavailableError, InputError
from nextclick.params import Params, Stream
from nextclick.stream import kafka
from nextclick.stream.kafka import client_config


def test_sasl_and_tls_settings_are_passed_through(monkeypatch, tmp_path):
    authority = tmp_path / "ca.pem"
    authority.touch()
    monkeypatch.setenv("NEXTCLICK_KAFKA", "broker:9093")
    monkeypatch.setenv("NEXTCLICK_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("NEXTCLICK_KAFKA_SASL_MECHANISMS", "SCRAM-SHA-512")
    monkeypatch.setenv("NEXTCLICK_KAFKA_SASL_USERNAME", "shop")
    monkeypatch.setenv("NEXTCLICK_KAFKA_SASL_PASSWORD", "s3cret")
    monkeypatch.setenv("NEXTCLICK_KAFKA_SSL_CA_LOCATION", str(authority))
    assert client_config(**{"linger.ms": 1}) == {
        "bootstrap.servers": "broker:9093",
        "client.id": "nextclick",
        "log_level": 2,
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": "shop",
        "sasl.password": "s3cret",  # pragma: allowlist secret
        "ssl.ca.location": str(authority),
        "linger.ms": 1,
    }


def test_a_setting_that_is_unknown_is_named(monkeypatch):
    monkeypatch.setenv("NEXTCLICK_KAFKA", "broker:9093")
    monkeypatch.setenv("NEXTCLICK_KAFKA_PASSWORD", "s3cret")
    with pytest.raises(InputError, match="NEXTCLICK_KAFKA_PASSWORD: no such setting") as error:
        client_config()
    assert "s3cret" not in str(error.value)


def test_a_file_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv("NEXTCLICK_KAFKA", "broker:9093")
    monkeypatch.setenv("NEXTCLICK_KAFKA_SSL_CA_LOCATION", "/nowhere/ca.pem")
    with pytest.raises(InputError, match="NEXTCLICK_KAFKA_SSL_CA_LOCATION: no file"):
        client_config()


def test_without_a_broker_the_variable_is_named(monkeypatch):
    monkeypatch.delenv("NEXTCLICK_KAFKA", raising=False)
    with pytest.raises(InputError, match="NEXTCLICK_KAFKA is not set"):
        client_config()


def test_a_broker_that_does_not_answer_is_an_error_that_names_it(monkeypatch):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setenv("NEXTCLICK_KAFKA", address)
        monkeypatch.setattr(kafka, "BROKER_TIMEOUT", 1.0)
        with pytest.raises(BrokerUnavailableError, match=f"{re.escape(address)}.*refused"):
            kafka.ensure_topics(Params().stream)


@pytest.mark.parametrize("address", ["broker", "broker:", ":9092", "broker:port", "broker:99999", "a:1,b"])
def test_an_address_without_host_and_port_is_named(monkeypatch, address):
    monkeypatch.setenv("NEXTCLICK_KAFKA", address)
    with pytest.raises(InputError, match=r"NEXTCLICK_KAFKA: .* is not host:port"):
        client_config()


@pytest.mark.parametrize("topic", ["", "with space", "../x"])
def test_a_topic_that_kafka_would_refuse_is_refused_in_params(topic):
    with pytest.raises(ValueError, match="topic"):
        Stream(topic=topic)
