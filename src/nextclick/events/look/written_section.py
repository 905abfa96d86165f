"""The section `ingest` as text for people, and in their file of params, whose comments it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from nextclick.errors import InputError
from nextclick.files import written_whole
from nextclick.params import Ingest

# of these, what only the older section has goes back to its default; other keys stay as people set them
OURS = ("path", "format", "columns", "header", "encoding", "timestamp_format", "decimal", "event_types")


def written(section: dict[str, Any]) -> str:
    """The section as text for params.yaml."""
    return yaml.safe_dump(
        {"ingest": section}, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
    ).rstrip()


def write_section(section: dict[str, Any], path: Path) -> None:
    """Put the section into a file of params, whose other sections and comments stay as they are; without such a file,
    make one. Raises InputError if it is not one."""
    from ruamel.yaml import YAML, YAMLError
    from ruamel.yaml.comments import CommentedMap

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 4096
    editor.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    try:
        params = editor.load(path.read_text()) if path.exists() else None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    params = CommentedMap() if params is None else params
    if not isinstance(params, CommentedMap) or not isinstance(params.get("ingest") or CommentedMap(), CommentedMap):
        raise InputError(f"{path}: expected sections with names, such as ingest")
    if not params.get("ingest"):
        params["ingest"] = CommentedMap()
    old = params["ingest"]
    for name in OURS:
        if name not in section and name in old:
            old[name] = Ingest.model_fields[name].get_default(call_default_factory=True)
    for name, value in section.items():
        if isinstance(value, dict | list):
            flow = editor.seq(value) if isinstance(value, list) else editor.map(**value)
            flow.fa.set_flow_style()
            value = flow
        old[name] = value
    with written_whole(path) as scratch, scratch.open("w") as file:
        editor.dump(params, file)
