"""The variables of the environment, NEXTCLICK_…: where servers are and how they are entered, so that no secret stands
in a file. docs/operations.md lists them.

They are read at each use, because processes and tests may set them late. Each group is a class of its own, so that an
invalid variable is an error only where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from nextclick.errors import InputError

PREFIX = "NEXTCLICK_"


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 2**16


def _checked(is_valid: Callable[[Any], bool], problem: str) -> AfterValidator:
    """Refuses a value that is not valid. problem: the reason, with {} for the value."""

    def check(value: Any) -> Any:
        if not is_valid(value):
            raise ValueError(problem.format(value))
        return value

    return AfterValidator(check)


Address = Annotated[str, _checked(_is_address, "{!r} is not host:port")]
Addresses = Annotated[
    str,
    _checked(lambda text: not text or all(map(_is_address, text.split(","))), "{!r} is not host:port,host:port,…"),
]
ExistingFile = Annotated[str, _checked(lambda path: not path or Path(path).is_file(), "no file {}")]
ExistingPath = Annotated[str, _checked(lambda path: not path or Path(path).exists(), "no file {}")]
# in Feast's connection string a comma separates
CommaFreeSecret = Annotated[SecretStr, _checked(lambda secret: "," not in secret.get_secret_value(), "holds a comma")]


class Settings(BaseSettings):
    """A group of variables, each NEXTCLICK_ and the name of a field in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    @classmethod
    def read(cls) -> Self:
        """The group as the environment has it now. Raises InputError, naming the variable and what was expected."""
        try:
            return cls()
        except ValidationError as error:
            problem = error.errors()[0]
        fields = [str(field) for field in problem["loc"]]  # one, or none if the variables do not fit each other
        reason = problem.get("ctx", {}).get("error")  # of a check of ours
        if not reason:
            reason = f"expected {cls.model_fields[fields[0]].description}, not {problem['input']!r}"
        raise InputError(": ".join([*map(variable, fields), str(reason)]))


def variable(field: str) -> str:
    """The variable of the environment that a field is read from."""
    return PREFIX + field.upper()


def is_set(field: str) -> bool:
    """Whether the environment holds the variable of a field, valid or not."""
    return variable(field) in os.environ


class ServiceSettings(Settings):
    workers: int = Field(1, ge=1, description="how many processes answer, 1 or more")
    metrics: str = "127.0.0.1:9464"  # host:port where Prometheus reads the service's metrics
    api_key: SecretStr | None = None  # what clients must send in X-API-Key


class DeploymentSettings(Settings):
    recommender: str = "recommender"  # the artifact of dvc.yaml that the service answers for


class SigningSettings(Settings):
    signing_key: str | None = None  # the file of the private key that signs each bundle
    trusted_key: str | None = None  # the file of the public key without whose signature no bundle is loaded


class RedisSettings(Settings):
    redis: Address = "127.0.0.1:6379"
    redis_password: CommaFreeSecret | None = None
    redis_ca: ExistingFile | None = None  # the authority that signed its certificate, which turns TLS on


class KafkaSettings(Settings):
    """kafka: the brokers; without it, live events stay in the process. Each of the others is a setting of librdkafka:
    kafka_sasl_password is sasl.password."""

    kafka: Addresses | None = None
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
        """The settings of librdkafka that are set, by its own names."""
        given = self.model_dump(exclude={"kafka"}, exclude_unset=True).items()
        texts = {name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in given}
        return {name.removeprefix("kafka_").replace("_", "."): value for name, value in texts.items()}


class ProgressSettings(Settings):
    """A notebook runs in a process without a terminal, whose parent sets this if it has one itself."""

    progress: str = ""
