"""Requests made from the OpenAPI description, fitting and not, never break the service, and it keeps to its word."""

import shutil
from collections import Counter
from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, checks

from nextclick.params import Params
from nextclick.serving.admission import Traffic
from nextclick.serving.api import app
from nextclick.serving.runtime import Runtime

from .conftest import PARAMS, write_params

KEPT = [checks.not_a_server_error, checks.status_code_conformance, checks.response_schema_conformance]


@pytest.fixture(scope="module")
def described(bundles, tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzzed")
    shutil.copytree(bundles[0], root / "models/bundle")
    (root / "dvc.yaml").write_text("")
    patient = PARAMS.serving.model_copy(update={"requests_per_second": 1e9, "max_wait_ms": 1e6})
    write_params(root, PARAMS.model_copy(update={"serving": patient}))
    app.state.runtime = Runtime.open(root, Params.read(root / "params.yaml"))
    yield schemathesis.openapi.from_asgi("/openapi.json", Traffic(app, app, app.state))
    app.state.runtime.close()


@pytest.mark.parametrize("examples", [40, pytest.param(2500, marks=pytest.mark.proof)])  # of each route
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_one_that_is_described(described, mode, examples):
    operations = [found.ok() for found in described.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/recommend", "/recommend_batch", "/events", "/items"}
    asked: Counter[str] = Counter()
    for operation in operations:

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case):
            case.call_and_validate(checks=KEPT)
            asked[case.operation.label] += 1

        with suppress(Unsatisfiable):  # everything that a URL can say fits some routes
            answers()
    if mode is GenerationMode.POSITIVE:
        assert set(asked) == {operation.label for operation in operations}
