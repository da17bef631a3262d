from pathlib import Path

import pytest

from model.artifact.code_version import code_version, reachable


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small copy of our layout: run imports build at the top and schema lazily; other is not reached."""
    files = {
        "model/__init__.py": "",
        "model/graph/__init__.py": "",
        "model/graph/run.py": "from model.graph.build import build\n\ndef go():\n    from model.data import schema\n",
        "model/graph/build.py": "import numpy\n",
        "model/graph/other.py": "x = 1\n",
        "model/data/__init__.py": "",
        "model/data/schema.py": "",
        "model/data/schemas/plain.yaml": "version: 1\n",
        "model/graph/templates/page.html.j2": "<p>",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def version(root: Path) -> str:
    code_version.cache_clear()
    return code_version("model.graph.run", root=root)


@pytest.mark.parametrize(
    "name",
    [
        "model/graph/run.py",
        "model/graph/build.py",
        "model/graph/templates/page.html.j2",
        "model/data/schema.py",
        "model/data/schemas/plain.yaml",
    ],
)
def test_a_change_in_reached_code_gives_another_version(tree: Path, name: str) -> None:
    before = version(tree)
    with (tree / name).open("a") as file:
        file.write("# changed\n")
    assert version(tree) != before


def test_a_change_in_code_that_is_not_reached_keeps_the_version(tree: Path) -> None:
    before = version(tree)
    (tree / "model/graph/other.py").write_text("x = 2\n")
    assert version(tree) == before


def test_an_unknown_module_is_named(tree: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"model\.nothing"):
        reachable("model.nothing", tree)


def test_training_does_not_depend_on_how_models_are_evaluated_or_registered() -> None:
    reached = reachable("model.training.run")
    assert not [name for name in reached if name.startswith(("model.evaluation", "model.registry"))]
