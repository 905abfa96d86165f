"""The environment's variables are read when they are used, and a page lists all of them with their defaults."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from nextclick.errors import InputError
from nextclick.settings import RedisSettings, ServiceSettings, Settings, variable

PAGE = (Path(__file__).parents[1] / "docs/operations.md").read_text()


def test_the_page_lists_every_variable_with_its_default():
    (section,) = re.findall(r"^## The environment\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    rows = [row.split("|")[1:3] for row in section.splitlines() if row.startswith("| `")]
    listed = {name: default.strip() for names, default in rows for name in re.findall(r"NEXTCLICK_\w+", names)}
    fields = {
        variable(name): field.default
        for group in Settings.__subclasses__()
        for name, field in group.model_fields.items()
    }
    assert listed == {name: str(default or "") for name, default in fields.items()}


@pytest.mark.parametrize("given", ["two", "0", "-1", "1.5", ""])
def test_a_number_of_workers_that_is_none_is_named_with_what_was_expected(monkeypatch, given):
    monkeypatch.setenv("NEXTCLICK_WORKERS", given)
    with pytest.raises(InputError, match=rf"^NEXTCLICK_WORKERS: expected how many .*1 or more, not '{given}'$"):
        ServiceSettings.read()


def test_a_variable_is_read_when_it_is_used_and_a_secret_is_not_shown(monkeypatch):
    assert ServiceSettings.read().api_key is None
    monkeypatch.setenv("NEXTCLICK_API_KEY", "s3cret")
    assert ServiceSettings.read().api_key == SecretStr("s3cret")
    assert "s3cret" not in repr(ServiceSettings.read())


def test_an_error_about_a_secret_does_not_show_it(monkeypatch):
    monkeypatch.setenv("NEXTCLICK_REDIS_PASSWORD", "with,comma")
    with pytest.raises(InputError, match="NEXTCLICK_REDIS_PASSWORD: holds a comma") as caught:
        RedisSettings.read()
    assert "with,comma" not in str(caught.value)
    assert caught.value.__context__ is None, "pydantic's error names the value"
