"""The pipeline's stages, and which of them a run of DVC says that it ran."""

from pathlib import Path

import yaml

STAGES: dict[str, dict] = yaml.safe_load((Path(__file__).parents[2] / "dvc.yaml").read_text())["stages"]


def stages_run(output: str) -> list[str]:
    return [name for name in STAGES if f"Running stage '{name}'" in output]


def locked(lock: bytes, stages: list[str]) -> dict:
    """What a dvc.lock says of some stages."""
    said = yaml.safe_load(lock)["stages"]
    return {stage: said[stage] for stage in stages}
