"""The Feast store of this project, on SQLite or on Redis as params.yaml says."""

from __future__ import annotations

import copy
import logging
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import cast

import yaml
from feast import FeatureStore
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.infra.online_stores.sqlite import SqliteOnlineStore, adapt_datetime_epoch
from feast.repo_config import RepoConfig
from google.protobuf.message import DecodeError
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from nextclick.errors import InputError, StoreUnavailableError
from nextclick.events.prefixes import IDLE_HOURS
from nextclick.features.store.definitions import definitions
from nextclick.params import Params
from nextclick.settings import RedisSettings, is_set
from nextclick.units import MS_PER_SECOND, SECONDS_PER_HOUR, SECONDS_PER_MINUTE

DESCRIBED = Path(__file__).parents[1] / "feast_repo/feature_store.yaml"
log = logging.getLogger(__name__)
READ_TIMEOUT = 0.04  # seconds: a store that does not answer must not cost a request its budget
BATCH_TIMEOUT = 2.0  # seconds, where nobody waits for an answer


def connect(root: Path, params: Params, timeout: float = READ_TIMEOUT) -> FeatureStore:
    """The store whose definitions were applied. timeout: seconds that Redis may take to answer, or SQLite be held by
    somebody else.

    Redis is found by the environment: NEXTCLICK_REDIS (host:port, 127.0.0.1:6379), NEXTCLICK_REDIS_PASSWORD, and
    NEXTCLICK_REDIS_CA, the file of the authority that signed its certificate, which turns TLS on.
    Raises InputError where what they say cannot be used.
    """
    store = FeatureStore(config=repository_config(root, params, timeout))
    client = redis_client(store)
    if client:
        # without this a client waits through several retries, seconds long, before it says that nothing answers
        client.set_retry(Retry(NoBackoff(), 0))
    else:
        # nbformat, where it was imported later, has put in an adapter whose rows Feast cannot read
        sqlite3.register_adapter(datetime, adapt_datetime_epoch)
        sqlite = cast(SqliteOnlineStore, store.provider.online_store)
        sqlite._get_conn(store.config).execute(f"PRAGMA busy_timeout = {round(timeout * MS_PER_SECOND)}")
    return store


def without_ttl(config: RepoConfig) -> RepoConfig:
    """The same for views whose rows do not expire: in Feast all views on a Redis have one time to live."""
    config = copy.deepcopy(config)
    if config.online_store.type == "redis":
        config.online_store.key_ttl_seconds = None
    return config


def redis_client(store: FeatureStore) -> Redis | None:
    """The connections of a store that is on Redis."""
    online = store.provider.online_store
    return cast(Redis, online._get_client(store.config.online_store)) if isinstance(online, RedisOnlineStore) else None


def repository_config(root: Path, params: Params, timeout: float = READ_TIMEOUT) -> RepoConfig:
    described = yaml.safe_load(DESCRIBED.read_text())
    # what the file names from its own folder, where Feast's command line works, lies in the project's root
    held = root / ".feast"
    try:
        held.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"{held}: cannot be made, and is to hold the feature store's files: {error}") from error
    described["registry"] = str(held / Path(described["registry"]).name)
    described["online_store"]["path"] = str(held / Path(described["online_store"]["path"]).name)
    if params.features.online_store == "redis":
        described["online_store"] = {
            "type": "redis",
            "connection_string": _redis_connection(timeout),
            # an event of a session that is not idle yet may come late
            "key_ttl_seconds": round(
                IDLE_HOURS * SECONDS_PER_HOUR + params.features.lateness_minutes * SECONDS_PER_MINUTE
            ),
            # one trip instead of two; a state merges what it replaces, so a newer row is never older news
            "skip_dedup": True,
        }
    elif is_set("redis"):
        log.warning("NEXTCLICK_REDIS is not used: features.online_store is sqlite")
    return RepoConfig(**described, repo_path=root)


def _redis_connection(timeout: float) -> str:
    """The address, password and certificate of the environment, in the form of Feast."""
    settings = RedisSettings.read()
    parts = [settings.redis, f"socket_timeout={timeout}", f"socket_connect_timeout={timeout}"]
    if settings.redis_password:
        parts.append(f"password={settings.redis_password.get_secret_value()}")
    if settings.redis_ca:
        parts += ["ssl=true", f"ssl_ca_certs={settings.redis_ca}"]
    return ",".join(parts)


def check_store_setting(params: Params) -> None:
    """Raises InputError where the environment names a Redis that is not used: processes that are to meet there, each in
    its container, would not, and nothing else would tell."""
    if params.features.online_store != "redis" and is_set("redis"):
        raise InputError(
            "NEXTCLICK_REDIS is set, and features.online_store is sqlite: set that to redis in params.yaml, for an "
            "image before `make image`, or unset NEXTCLICK_REDIS"
        )


def apply_definitions(root: Path, params: Params) -> None:
    """What `feast apply` does: register the definitions, make the online tables.

    Raises StoreUnavailableError where SQLite's file cannot be had, and InputError where it or the registry is damaged.
    """
    config = repository_config(root, params)
    try:
        FeatureStore(config=config).apply(list(definitions(root, params)))
    except sqlite3.OperationalError as error:
        raise StoreUnavailableError(f"{config.online_store.path}: {error}") from error
    except (sqlite3.DatabaseError, DecodeError) as error:
        raise InputError(
            f"{root / '.feast'}: damaged ({error}). Remove the folder and it is made anew; the sessions that it held "
            "then count as new"
        ) from error
