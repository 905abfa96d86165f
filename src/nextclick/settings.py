"""The variables of the environment, NEXTCLICK_…: where servers are and how they are entered, so that no secret stands
in a file. docs/operations.md lists them.

They are read at each use, because processes and tests may set them late. Each group is one of its own, so that a
variable counts only where it is used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from nextclick.errors import InputError

PREFIX = "NEXTCLICK_"
LAST_PORT = 65535


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= LAST_PORT:
        raise ValueError(f"{text!r} is not host:port")
    return text


def _addresses(text: str) -> str:
    for address in text.split(",") if text else ():
        _address(address)
    return text


def _existing_file(path: str) -> str:
    if path and not Path(path).is_file():
        raise ValueError(f"no file {path}")
    return path


def _existing(path: str) -> str:
    if path and not Path(path).exists():
        raise ValueError(f"no file {path}")
    return path


def _without_comma(secret: SecretStr) -> SecretStr:
    if "," in secret.get_secret_value():
        raise ValueError("holds a comma, which Feast's connection string cannot carry")
    return secret


ExistingFile = Annotated[str, AfterValidator(_existing_file)]
ExistingPath = Annotated[str, AfterValidator(_existing)]


class Settings(BaseSettings):
    """A group of variables: NEXTCLICK_ and the name of a field, in capitals. A description says what is expected."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    @classmethod
    def read(cls) -> Self:
        """The group as the environment has it now. Raises InputError, naming the variable and what was expected."""
        try:
            return cls()
        except ValidationError as error:
            problem = error.errors()[0]
        if problem["type"] == "value_error":
            reason = str(problem["ctx"]["error"])
        else:
            reason = f"expected {cls.model_fields[str(problem['loc'][0])].description}, not {problem['input']!r}"
        raise InputError(": ".join([*(variable(str(field)) for field in problem["loc"]), reason]))


def variable(field: str) -> str:
    """The variable of the environment that a field is read from."""
    return PREFIX + field.upper()


def is_set(field: str) -> bool:
    """Whether the environment holds the variable of a field, valid or not."""
    return variable(field) in os.environ


class ServiceSettings(Settings):
    workers: int = Field(1, ge=1, description="how many processes answer, 1 or more")
    metrics: str = Field("127.0.0.1:9464", description="host:port where Prometheus reads the service's metrics")
    api_key: SecretStr | None = Field(None, description="what clients must send in X-API-Key")


class DeploymentSettings(Settings):
    recommender: str = Field(
        "recommender", description="which recommender, an artifact of dvc.yaml, the service answers for"
    )


class SigningSettings(Settings):
    signing_key: str | None = Field(None, description="the file of the private key that signs each bundle")
    trusted_key: str | None = Field(
        None, description="the file of the public key without whose signature no bundle is loaded"
    )


class RedisSettings(Settings):
    redis: Annotated[str, AfterValidator(_address)] = Field("127.0.0.1:6379", description="host:port of Redis")
    redis_password: Annotated[SecretStr, AfterValidator(_without_comma)] | None = Field(
        None, description="its password"
    )
    redis_ca: ExistingFile | None = Field(
        None, description="the file of the authority that signed its certificate, which turns TLS on"
    )


class KafkaSettings(Settings):
    """The fields after `kafka` are librdkafka's settings: kafka_sasl_password is sasl.password."""

    kafka: Annotated[str, AfterValidator(_addresses)] | None = Field(
        None,
        description="host:port of one or several brokers, separated by commas; else clicks stay in the process",
    )
    kafka_security_protocol: str | None = None
    kafka_sasl_mechanisms: str | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_ca_location: ExistingPath | None = None
    kafka_ssl_certificate_location: ExistingPath | None = None
    kafka_ssl_key_location: ExistingPath | None = None
    kafka_ssl_key_password: SecretStr | None = None
    kafka_ssl_endpoint_identification_algorithm: str | None = None

    @model_validator(mode="after")
    def _no_unknown_variable(self) -> Self:
        known = [variable(field) for field in type(self).model_fields]
        unknown = {name for name in os.environ if name.startswith(f"{PREFIX}KAFKA_")} - set(known)
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))}: no such setting; there are {', '.join(known[1:])}")
        return self

    def security(self) -> dict[str, str]:
        """The settings that are set, by librdkafka's names."""
        given = self.model_dump(exclude={"kafka"}, exclude_unset=True).items()
        texts = {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in given}
        return {name.removeprefix("kafka_").replace("_", "."): value for name, value in texts.items()}


class ProgressSettings(Settings):
    """A notebook runs in a process without a terminal, and its parent sets this if it has one itself."""

    progress: str = Field("", description="anything: progress is shown, though stderr is no terminal")


GROUPS = (ServiceSettings, DeploymentSettings, SigningSettings, RedisSettings, KafkaSettings, ProgressSettings)
