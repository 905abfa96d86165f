"""params.yaml as typed sections, one for each stage or task. Its comments explain the keys."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal
from zoneinfo import available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nextclick.errors import InputError, problems_of


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Run(Section):
    seed: int = Field(7, ge=0)
    threads: int = Field(2, ge=1)


class Pipeline(Section):
    engine: Literal["local", "ray"] = "local"
    workers: int = Field(2, ge=1)
    cpus_per_worker: int = Field(1, ge=1)


class Simulator(Section):
    sessions: int = Field(30_000, ge=1)
    items: int = Field(2_000, ge=10)
    users: int = Field(6_000, ge=1)
    days: int = Field(28, ge=2)
    start: date = date(2026, 1, 5)
    views: float = Field(5, gt=1)
    zipf: float = Field(0.9, ge=0)
    launches: float = Field(0.1, ge=0, lt=1)
    trend: float = Field(0.8, ge=0)
    returns: float = Field(0.2, ge=0, lt=1)
    shift: float = Field(0.08, ge=0, le=1)
    cart_rate: float = Field(0.1, ge=0, le=1)
    purchase_rate: float = Field(0.3, ge=0, le=1)
    anonymous: float = Field(0.3, ge=0, le=1)
    bots: float = Field(0.003, ge=0, lt=1)


class Ingest(Section):
    path: str = "data/raw/simulated"
    format: Literal[
        "generic",
        "retailrocket",
        "diginetica",
        "yoochoose",
        "otto",
        "movielens",
        "lastfm_1k",
        "tenrec",
        "ecommerce_behavior",
        "online_retail",
        "shopify_orders",
        "ga4",
        "snowplow",
        "segment",
    ] = "generic"
    columns: dict[str, str] = {}
    header: list[str] | None = None
    encoding: str = "utf-8"
    nobody: list[str] = []
    timestamp_format: str | None = None
    timezone: str = "UTC"
    decimal: Literal[".", ","] | None = None
    event_types: list[str] = Field(["view", "cart", "purchase"], min_length=1)
    session_gap_minutes: float = Field(30, gt=0, le=1_000_000)

    @field_validator("encoding")
    @classmethod
    def _is_encoding(cls, name: str) -> str:
        try:
            "".encode(name)
        except LookupError:
            raise ValueError("expected an encoding of text, such as utf-8, cp1252 or shift_jis") from None
        return name

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, name: str) -> str:
        # EST, CET and their like are in the list, too, but leave out summer
        if name != "UTC" and ("/" not in name or name not in available_timezones()):
            raise ValueError("expected UTC or a zone by its place, such as Europe/Berlin")
        return name


class Split(Section):
    by: Literal["time", "file"] = "time"
    test_days: float = Field(4, gt=0)
    embargo_hours: float = Field(0, ge=0)


class Retrieval(Section):
    width: int = Field(200, ge=1)
    nearest: int = Field(150, ge=1)
    sample: int = Field(300, ge=1)
    neighbours: int = Field(500, ge=1)
    dimensions: int = Field(128, ge=1)
    encoder_epochs: int = Field(3, ge=1)
    encoder_min_steps: int = Field(2_000, ge=1)


class Features(Section):
    item_stats_every: float = Field(24, gt=0)
    lateness_minutes: float = Field(30, ge=0)
    online_store: Literal["sqlite", "redis"] = "sqlite"


class Ranker(Section):
    examples_share: float = Field(0.35, gt=0, lt=1)
    max_examples: int = Field(100_000, ge=1)
    negatives: int = Field(20, ge=1)
    rounds: int = Field(300, ge=1)
    max_depth: int = Field(5, ge=1)
    eta: float = Field(0.1, gt=0, le=1)
    min_child_weight: float = Field(20, ge=0)
    subsample: float = Field(0.8, gt=0, le=1)
    colsample_bytree: float = Field(0.5, gt=0, le=1)
    checkpoint_rounds: int = Field(50, ge=1)
    held_out_share: float = Field(0.1, gt=0, lt=1)
    device: Literal["cpu", "cuda"] = "cpu"


class Evaluation(Section):
    k: int = Field(20, ge=1)
    decide_on: Literal["hr", "mrr", "ndcg"] = "mrr"
    reference: int = Field(2_000, ge=1)

    @property
    def metric(self) -> str:
        """The name of the deciding metric, such as mrr@20."""
        return f"{self.decide_on}@{self.k}"


class Diagnosis(Section):
    groups: int = Field(3_000, ge=1)
    judged: int = Field(2_500, ge=1)
    negatives: int = Field(20, ge=1)
    rounds: int = Field(50, ge=1)
    seeds: int = Field(5, ge=2)


class Stream(Section):
    topic: str = Field("clicks", pattern=r"^[A-Za-z0-9._-]{1,200}$")
    group: str = Field("nextclick", min_length=1)
    partitions: int = Field(4, ge=1)
    batch_ms: int = Field(50, ge=1, le=10_000)
    batch_events: int = Field(2_000, ge=1, le=1_000_000)
    log_seconds: float = Field(5, ge=0, le=60)


class Serving(Section):
    k: int = Field(20, ge=1, le=100)
    budget_ms: float = Field(50, gt=0)
    max_wait_ms: float = Field(20, gt=0)
    max_staleness: float = Field(36, gt=0)
    requests_per_second: float = Field(500, gt=0)
    drain_seconds: float = Field(5, ge=0)
    log_days: int = Field(30, ge=1)


class Monitoring(Section):
    label_minutes: float = Field(30, gt=0)
    windows_to_false_alarm: float = Field(104, gt=1)
    effect: float = Field(0.1, ge=0, lt=1)
    drift_share: float = Field(0.3, gt=0, le=1)
    sessions: int = Field(200, ge=1)
    promise_loss: float = Field(0.1, ge=0, lt=1)
    age_days: float = Field(28, gt=0)
    new_items: float = Field(0.1, gt=0, lt=1)
    broken_share: float = Field(0.01, gt=0, lt=1)
    vanished_share: float = Field(0.5, gt=0, lt=1)
    robot_share: float = Field(0.02, gt=0, lt=1)
    degraded_share: float = Field(0.05, gt=0, lt=1)


class Gate(Section):
    margin: float = Field(0.02, gt=0, lt=1)
    alpha: float = Field(0.025, gt=0, lt=0.5)
    looks: int = Field(1, ge=1)
    fresher_hours: float = Field(24, ge=0)
    sessions: int = Field(200, ge=1)
    per_session: int = Field(20, ge=1)
    implausible: float = Field(0.5, gt=0)
    window_loss: float = Field(0.3, gt=0, lt=1)
    coverage_loss: float = Field(0.1, ge=0, lt=1)
    slice_loss: float = Field(0.05, ge=0, lt=1)
    slice_predictions: int = Field(200, ge=1)
    slower: float = Field(2, gt=1)
    larger: float = Field(2, gt=1)
    calibration_error: float = Field(0.2, gt=0, lt=1)
    age_days: float = Field(14, gt=0)
    parity_moments: int = Field(100, ge=1)


class Lifecycle(Section):
    window_days: int = Field(28, ge=1)
    watch_hours: float = Field(24, ge=0)
    watch_every_minutes: float = Field(5, gt=0)
    promise_loss: float = Field(0.1, ge=0, lt=1)
    alpha: float = Field(0.05, gt=0, lt=0.5)


class Params(Section):
    run: Run = Run()
    pipeline: Pipeline = Pipeline()
    simulator: Simulator = Simulator()
    ingest: Ingest = Ingest()
    split: Split = Split()
    retrieval: Retrieval = Retrieval()
    features: Features = Features()
    ranker: Ranker = Ranker()
    evaluation: Evaluation = Evaluation()
    diagnosis: Diagnosis = Diagnosis()
    stream: Stream = Stream()
    serving: Serving = Serving()
    monitoring: Monitoring = Monitoring()
    gate: Gate = Gate()
    lifecycle: Lifecycle = Lifecycle()

    def section(self, name: str) -> dict:
        """The values of one section, as a notebook gets them. Raises InputError if params.yaml has no such section."""
        if name not in type(self).model_fields:
            raise InputError(f"params.yaml: no section {name}; it may have {', '.join(type(self).model_fields)}")
        return getattr(self, name).model_dump(mode="json")

    @classmethod
    def read(cls, path: Path) -> Params:
        """The params of a file. Raises InputError, naming the key, if a value is invalid or a key unknown."""
        try:
            sections = yaml.safe_load(path.read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(sections, dict):
            raise InputError(f"{path}: expected sections with names, such as run, found a {type(sections).__name__}")
        try:
            return cls.model_validate(sections)
        except ValidationError as error:
            raise InputError(f"{path}: {problems_of(error)}") from error
