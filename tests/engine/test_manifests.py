"""What a user would apply to get a cluster: accepted by Ray's own check, in the versions of the lock, with bounds."""

import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "scripts/ray"


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


def test_kubernetes_gets_the_ray_of_the_lock_and_bounded_pods(ray_version):
    text = (FOLDER / "kuberay.yaml").read_text()
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]["rayClusterSpec"]
    assert spec["rayVersion"] == ray_version
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        mounted = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert container["image"].endswith(f":{ray_version}")
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert {mount["name"] for mount in container["volumeMounts"]} <= mounted


@pytest.mark.parametrize("name", ["cluster.yaml", "kuberay.yaml"])
def test_its_parameters_are_those_of_params(name):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    asked = [word for word in (FOLDER / name).read_text().replace("'", " ").split() if word.startswith("pipeline.")]
    assert asked
    assert {word.split("=")[0].partition(".")[2] for word in asked} <= set(params["pipeline"])
