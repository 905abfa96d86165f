"""The service as BentoML runs it: `bentoml serve nextclick.serving.service:NextClick`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import Any, cast

import bentoml
import uvicorn.config

from nextclick.errors import InputError
from nextclick.params import Params
from nextclick.project import project_root
from nextclick.serving.admission import Traffic
from nextclick.serving.api import app
from nextclick.serving.no_pickle import refuse_pickle
from nextclick.serving.observability import log_as_json, serve_metrics
from nextclick.serving.runtime import Runtime, freeze_heap
from nextclick.settings import ServiceSettings

log = logging.getLogger(__name__)
PARENT_CHECK_SECONDS = 1.0  # between two checks that the parent process lives
try:
    WORKERS = ServiceSettings.read().workers
except InputError as error:
    sys.exit(str(error))
# BentoML lets uvicorn choose a protocol, and has no setting for it
uvicorn.config.HTTP_PROTOCOLS["auto"] = "nextclick.serving.connection:BoundedConnection"


@bentoml.service(
    name="nextclick",
    workers=WORKERS,
    # the admission queue refuses long before so many wait, and no answer takes so long
    traffic={"timeout": 5, "max_concurrency": 4000},
    http={"host": "127.0.0.1", "port": 3000},
    # Prometheus has a port of its own; requests are logged as JSON
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class NextClick:
    def __init__(self) -> None:
        log_as_json()
        self._parent = os.getppid()
        try:
            root = project_root()
            self.runtime = Runtime.open(root, Params.read(root / "params.yaml"))
            if bentoml.server_context.worker_index in (None, 0, 1):
                serve_metrics()
        # such as a missing bundle or a port in use, which no restart by BentoML's parent would cure
        except InputError as error:
            if bentoml.server_context.worker_index is None:
                raise
            log.critical("%s", error)
            os.kill(self._parent, signal.SIGTERM)
            os._exit(1)
        app.state.runtime = self.runtime

    @bentoml.on_startup
    async def start(self) -> None:
        """Runs as the last step before the port is answered."""
        loop = asyncio.get_running_loop()
        end: Any = signal.getsignal(signal.SIGTERM)

        def drain() -> None:
            self.runtime.draining = True
            loop.call_later(self.runtime.params.serving.drain_seconds, end, signal.SIGTERM, None)

        if callable(end):
            loop.add_signal_handler(signal.SIGTERM, drain)
        self._orphan_watch = asyncio.create_task(self._end_with_parent())
        refuse_pickle()
        freeze_heap()

    async def _end_with_parent(self) -> None:
        """End when BentoML's parent was killed: a worker that stayed would hold the ports of the next service."""
        while os.getppid() == self._parent:
            await asyncio.sleep(PARENT_CHECK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    @bentoml.on_shutdown
    def stop(self) -> None:
        self.runtime.close()

    def __is_ready__(self) -> bool:
        return not self.runtime.draining


cast(bentoml.Service, NextClick).add_asgi_middleware(Traffic, api=app, state=app.state)
