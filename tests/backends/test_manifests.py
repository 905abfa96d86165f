"""What a user would apply to get a cluster: accepted by Ray's and KubeRay's own schemas, in the versions of the lock,
with bounds, and asking for a token."""

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "scripts/ray"
KUBERAY = "github.com/ray-project/kuberay/ray-operator@v1.5.1"  # the oldest that knows tokens


@pytest.fixture(scope="module")
def ray_version() -> str:
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    return next(package["version"] for package in packages if package["name"] == "ray")


def test_ray_accepts_the_cluster():
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = util.fillout_defaults(yaml.safe_load((FOLDER / "cluster.yaml").read_text()))
    util.validate_config(config)
    spoiled = {**config, "max_workers": "many"}
    with pytest.raises(Exception, match="many"):
        util.validate_config(spoiled)


@pytest.fixture(scope="module")
def job_schema(tmp_path_factory) -> dict:
    """KubeRay's own of a RayJob, strict as `kubectl apply` is: no field that it does not name."""
    if shutil.which("go") is None:
        pytest.skip("needs Go, whose client fetches KubeRay's schema")
    folder = tmp_path_factory.mktemp("kuberay")
    (folder / "go.mod").write_text("module schema\n")
    said = subprocess.run(
        ["go", "mod", "download", "-json", KUBERAY], cwd=folder, env=os.environ | {"GOFLAGS": "-mod=mod"},
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    crd = yaml.safe_load((Path(json.loads(said)["Dir"]) / "config/crd/bases/ray.io_rayjobs.yaml").read_text())
    version = next(version for version in crd["spec"]["versions"] if version["name"] == "v1")
    return strict(version["schema"]["openAPIV3Schema"])


def strict(schema: dict) -> dict:
    """The same, where each object may hold what its properties name and no more."""
    held = {key: strict(value) if isinstance(value, dict) else value for key, value in schema.items()}
    if "properties" in schema and isinstance(schema.get("type"), str):
        held.setdefault("additionalProperties", False)
    return held


def complaints(manifest: dict, schema: dict) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(manifest)]


def test_kuberay_accepts_the_job_and_kubernetes_the_pod_that_sets_it_up(job_schema):
    job = yaml.safe_load((FOLDER / "kuberay.yaml").read_text())
    metadata = job.pop("metadata")
    assert metadata == {"name": "nextclick"}
    assert complaints(job, job_schema) == []
    pods = job_schema["properties"]["spec"]["properties"]["submitterPodTemplate"]  # as in any other manifest
    setup = yaml.safe_load((FOLDER / "kuberay-setup.yaml").read_text())
    assert complaints(setup["spec"]["template"], pods) == []
    job["spec"]["rayClusterSpec"]["workers"] = 4
    job["spec"]["ttlSecondsAfterFinished"] = "an hour"
    assert len(complaints(job, job_schema)) == 2


def test_kubernetes_gets_the_ray_of_the_lock_and_bounded_pods(ray_version):
    job, setup = (yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) for name in ("kuberay", "kuberay-setup"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert (setup["apiVersion"], setup["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]["rayClusterSpec"]
    assert spec["rayVersion"] == ray_version
    assert spec["authOptions"]["mode"] == "token"
    for holder in (spec["headGroupSpec"], *spec["workerGroupSpecs"], setup["spec"]):
        pod = holder["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        mounted = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert container["image"].startswith(f"rayproject/ray:{ray_version}-")
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert {mount["name"] for mount in container["volumeMounts"]} <= mounted


def test_every_node_of_the_launched_cluster_asks_for_the_token():
    config = yaml.safe_load((FOLDER / "cluster.yaml").read_text())
    starts = [
        command
        for role in ("head", "worker")
        for command in config[f"{role}_start_ray_commands"]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all(command.startswith("RAY_AUTH_MODE=token ") for command in starts)
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}


@pytest.mark.parametrize("name", ["cluster.yaml", "kuberay.yaml"])
def test_its_parameters_are_those_of_params(name):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    asked = [word for word in (FOLDER / name).read_text().replace("'", " ").split() if word.startswith("pipeline.")]
    assert asked
    assert {word.split("=")[0].partition(".")[2] for word in asked} <= set(params["pipeline"])
