"""A slow store is left alone, as a dead one is: lists do without it instead of waiting for each other's reads."""

import time

import pytest

from nextclick.events.session_state import Click
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.serving.session_reader import PROBES, SessionReader

from .slow_proxy import SlowProxy

CLICK = Click(1_767_225_600_000, 5, "e1", "i01", 0)
READS = 300


@pytest.fixture
def proxied(tmp_path, redis_params, redis_server, monkeypatch):
    """A reader of the store behind a proxy that is as fast as can be, and that proxy."""
    proxy = SlowProxy(redis_server().port)
    monkeypatch.setenv("NEXTCLICK_REDIS", proxy.address)
    apply_definitions(tmp_path, redis_params)
    OnlineStates(connect(tmp_path, redis_params, timeout=5)).write({"s": (CLICK,)})
    # as fast as any on a busy machine: what is slow here is held back for longer
    reader = SessionReader(OnlineStates(connect(tmp_path, redis_params, timeout=5)), slow_ms=100)
    yield reader, proxy
    reader.close()
    proxy.close()


@pytest.mark.fault(
    part="Redis",
    wrong="each answer is late, though not so late that it counts as gone",
    noticed="the service, after a few reads: a line, `degraded: store`, metric nextclick_fallbacks_total",
    lost="nothing",
    degraded="lists are made of the last known states and of the clicks that come with the request",
    heals="by itself, when three probes in succession are fast enough",
)
def test_a_store_that_became_slow_is_asked_no_more_until_it_is_fast_again(proxied):
    """Planted: with a breaker that counts errors alone, all of these reads wait for the store."""
    reader, proxy = proxied
    now = CLICK.timestamp
    for _ in range(5):
        assert reader.read(["s"], now)[1]
    proxy.delay, proxy.asked = 0.3, 0
    answers = [reader.read(["s"], now) for _ in range(READS)]
    assert not reader.available
    assert proxy.asked < 10, "each read is one, and some are probes"
    assert not answers[-1][1]
    assert all(states[0].state == (CLICK,) for states, _ in answers), "the last known state goes on"
    proxy.delay = 0.0
    deadline = time.monotonic() + 30
    while not reader.available:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert reader.read(["s"], now)[1]


def test_one_pause_is_no_slow_store(proxied):
    reader, proxy = proxied
    reader.read(["s"], CLICK.timestamp)
    proxy.delay = 0.3
    reader.read(["s"], CLICK.timestamp)
    proxy.delay = 0.0
    assert reader.available
    assert reader.read(["s"], CLICK.timestamp)[1]


def test_a_store_that_stays_slow_is_not_taken_for_fast_by_one_lucky_probe(proxied):
    reader, proxy = proxied
    proxy.delay = 0.3
    while reader.available:
        reader.read(["s"], CLICK.timestamp)
    proxy.asked = 0
    time.sleep(1.5)
    assert not reader.available
    assert 0 < proxy.asked <= PROBES + 3
