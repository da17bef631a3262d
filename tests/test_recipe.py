"""Recipes: shipped ones are whole, wrong ones are refused by field, value and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import UserError
from model.recipe import Recipe, load_recipe, shipped_recipes

SMALL = "name: small\nbaseline: {architecture: mmoe}\ncandidate: {architecture: mgoe}\n"


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_sets_a_baseline_against_a_candidate(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.model_of("baseline").architecture == "mmoe"
    assert recipe.model_of("candidate").architecture == "mgoe"


def test_a_recipe_is_read_from_text_from_a_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    recipe = load_recipe(SMALL)
    assert recipe == load_recipe(str(path)) == Recipe.model_validate_json(recipe.model_dump_json())


def test_a_model_may_have_a_training_of_its_own() -> None:
    recipe = load_recipe(SMALL + "training: {epochs: 7}\ncandidate_training: {epochs: 2}\n")
    assert recipe.training_of("baseline").epochs == 7
    assert recipe.training_of("candidate").epochs == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SMALL + "bathc: 3\n", ["bathc: unknown field (got 3)"]),
        (SMALL + "training: {epochs: 0}\n", ["training.epochs", "greater than or equal to 1", "0"]),
        (SMALL.replace("mgoe", "gnome"), ["candidate: unknown architecture 'gnome'; known: shared_bottom, mmoe, ple"]),
        ("name: x\nbaseline: [\n", ["not YAML"]),
        ("- a\n- b\n", ["holds list"]),
        ("\n", ["is empty"]),
        (SMALL.replace("{architecture: mgoe}", "{widths: [3]}"), ["candidate: names no architecture"]),
        ("name: small\nbaseline: {architecture: mmoe}\n", ["candidate: is missing"]),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line_that_names_field_and_value(text: str, words: list[str]) -> None:
    with pytest.raises(UserError) as refused:
        load_recipe(text)
    message = str(refused.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        UserError, match=r"no recipe named 'kuairand': give a YAML file or one of default, kuairand_pure, synthetic"
    ):
        load_recipe("kuairand")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match=r"recipe .*small\.yaml is not UTF-8 text"):
        load_recipe(str(path))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"recipe nowhere\.yaml cannot be read: No such file"):
        load_recipe("nowhere.yaml")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("training: {loss_weights: {favour: 2}}", "training.loss_weights"),
        ("candidate_training: {loss_weights: {click: 1, favour: 2}}", "candidate_training.loss_weights"),
        ("bundle: {utility: {favour: 1}}", "bundle.utility"),
        ("gate: {required_tasks: [click, favour]}", "gate.required_tasks"),
    ],
)
def test_a_task_that_the_log_lacks_is_named_with_where_the_recipe_names_it(more: str, field: str) -> None:
    recipe = load_recipe(f"{SMALL}{more}\n")
    recipe.check_tasks(("click", "favour"))
    told = f"^recipe small: {field} names the task 'favour', but the log's tasks are click, buy$"
    with pytest.raises(UserError, match=told):
        recipe.check_tasks(("click", "buy"))
