"""The Feast store of this project, on SQLite or Redis as features.online_store of params.yaml says."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import yaml
from feast import FeatureStore
from feast.repo_config import RepoConfig
from google.protobuf.message import DecodeError
from redis.backoff import NoBackoff
from redis.retry import Retry

from nextclick.errors import InputError, StoreUnavailableError
from nextclick.events.prefixes import IDLE_HOURS
from nextclick.features.store.definitions import definitions
from nextclick.features.store.feast_internals import redis_client, sqlite_connection
from nextclick.params import Params
from nextclick.settings import RedisSettings, is_set
from nextclick.units import MS_PER_SECOND, SECONDS_PER_HOUR, SECONDS_PER_MINUTE

DESCRIPTION = Path(__file__).parents[1] / "feast_repo/feature_store.yaml"
log = logging.getLogger(__name__)
READ_TIMEOUT = 0.04  # seconds: a store that does not answer must not cost a request its budget
BATCH_TIMEOUT = 2.0  # seconds, for work for whose answer nobody waits


def connect(root: Path, params: Params, timeout: float = READ_TIMEOUT) -> FeatureStore:
    """The store whose definitions were applied.

    timeout: seconds that Redis may take to answer, or that another process may hold SQLite. Redis is found by
    `settings.RedisSettings`. Raises InputError if the environment is invalid.
    """
    store = FeatureStore(config=repository_config(root, params, timeout))
    if client := redis_client(store):
        # without this a client waits through several retries, seconds long, before it reports that nothing answers
        client.set_retry(Retry(NoBackoff(), 0))
    else:
        sqlite_connection(store).execute(f"PRAGMA busy_timeout = {round(timeout * MS_PER_SECOND)}")
    return store


def repository_config(root: Path, params: Params, timeout: float = READ_TIMEOUT) -> RepoConfig:
    """Feast's configuration of the project; timeout: see `connect`. Raises InputError if the environment is invalid, or
    the folder of the store's files cannot be made."""
    described = yaml.safe_load(DESCRIPTION.read_text())
    # the file names paths from its own folder, where Feast's command line works; here they are in the project's root
    folder = root / ".feast"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made, and is to hold the feature store's files: {error}") from error
    described["registry"] = str(folder / Path(described["registry"]).name)
    described["online_store"]["path"] = str(folder / Path(described["online_store"]["path"]).name)
    if params.features.online_store == "redis":
        # an event of a session that is not idle yet may come late
        ttl = IDLE_HOURS * SECONDS_PER_HOUR + params.features.lateness_minutes * SECONDS_PER_MINUTE
        described["online_store"] = {
            "type": "redis",
            "connection_string": _redis_connection(timeout),
            "key_ttl_seconds": round(ttl),
            # one round trip instead of two; a state merges the row that it replaces, so it never loses newer events
            "skip_dedup": True,
        }
    elif is_set("redis"):
        log.warning("NEXTCLICK_REDIS is not used: features.online_store is sqlite")
    return RepoConfig(**described, repo_path=root)


def _redis_connection(timeout: float) -> str:
    """The address, password and certificate of the environment, as Feast's connection string."""
    settings = RedisSettings.read()
    parts = [settings.redis, f"socket_timeout={timeout}", f"socket_connect_timeout={timeout}"]
    if settings.redis_password:
        parts.append(f"password={settings.redis_password.get_secret_value()}")
    if settings.redis_ca:
        parts += ["ssl=true", f"ssl_ca_certs={settings.redis_ca}"]
    return ",".join(parts)


def check_store_setting(params: Params) -> None:
    """Raises InputError if the environment names a Redis that the params do not use.

    Processes that should share it, each in its container, would then each have a SQLite of their own, without an error.
    """
    if params.features.online_store != "redis" and is_set("redis"):
        raise InputError(
            "NEXTCLICK_REDIS is set, and features.online_store is sqlite: set that to redis in params.yaml, for an "
            "image before `make image`, or unset NEXTCLICK_REDIS"
        )


def apply_definitions(root: Path, params: Params) -> None:
    """Register the definitions and make the online tables, as `feast apply` does.

    Raises StoreUnavailableError if another process holds SQLite's file, and InputError if that or the registry is
    corrupt.
    """
    config = repository_config(root, params)
    try:
        FeatureStore(config=config).apply(list(definitions(root, params)))
    except sqlite3.OperationalError as error:
        raise StoreUnavailableError(f"{config.online_store.path}: {error}") from error
    except (sqlite3.DatabaseError, DecodeError) as error:
        raise InputError(
            f"{root / '.feast'}: damaged ({error}). Remove the folder, and it is made again; the sessions that it held "
            "then count as new"
        ) from error
