"""What holds for every component folder."""

import importlib
import inspect
from typing import Any

import pytest
import yaml
from docstring_parser import parse

from components.readme import FOLDER, NAMES


def component(name: str) -> Any:
    return getattr(importlib.import_module(f"components.{name}.component"), name)


def test_every_folder_with_a_component_is_listed() -> None:
    assert sorted(NAMES) == sorted(path.parent.name for path in FOLDER.glob("*/component.py"))


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_is_described(name: str) -> None:
    function = component(name).python_func
    described = {entry.arg_name for entry in parse(inspect.getdoc(function) or "").params if entry.description}
    assert described == set(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_installs_nothing_when_it_starts(name: str) -> None:
    container = component(name).component_spec.implementation.container
    assert "pip install" not in " ".join([*container.command, *container.args])


@pytest.mark.parametrize("name", NAMES)
def test_no_default_stands_for_something_else(name: str) -> None:
    defaults = [entry.default for entry in (component(name).component_spec.inputs or {}).values()]
    assert not [default for default in defaults if default in ("", -1, 0)]


@pytest.mark.parametrize("name", NAMES)
def test_metadata_has_the_fields_of_the_components_repository(name: str) -> None:
    metadata = yaml.safe_load((FOLDER / name / "metadata.yaml").read_text())
    assert metadata["name"] == name
    assert metadata["stability"] in {"experimental", "alpha", "beta", "stable"}
    assert metadata["dependencies"]["kubeflow"][0]["name"] == "Pipelines"
    assert metadata["tags"]
    assert metadata["lastVerified"]
