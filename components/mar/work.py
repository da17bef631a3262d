"""The mar step: one bundle in, the archive that TorchServe loads out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from components.artifacts import folder_of
from components.step import step
from model.artifact.manifest import Manifest
from model.errors import UserError, first_mistake
from serving.ranker.torchserve.archive import ArchiveOptions, write_archive


def run(
    bundle: Any, archive: Any, *, options: str | None, uri: str | None, store: str | None, role: str | None = None
) -> None:
    """`bundle` and `archive` are kfp artifacts; the arguments are the component's.

    role: names the step, the model and the ranker's arm; the two latter where the options name none.
    """
    with step("mar" if role is None else f"mar {role}", store) as this:
        chosen = read_options(options)
        if role is not None:
            chosen = _of_role(chosen, role)
        inputs = {"bundle": folder_of(bundle, "bundle")}

        def make(out: Path) -> Manifest:
            return write_archive(inputs["bundle"], out, chosen, uri)

        this.produce(
            archive,
            entry=("serving.ranker.torchserve.archive", "serving.ranker.settings"),
            inputs=inputs,
            options={"archive": chosen.model_dump(mode="json"), "uri": uri},
            make=make,
        )


def _of_role(options: ArchiveOptions, role: str) -> ArchiveOptions:
    """One TorchServe can hold both roles: each has a model of its own name."""
    name = options.name if "name" in options.model_fields_set else f"{options.name}-{role}"
    arm = options.ranker.arm or role
    return options.model_copy(update={"name": name, "ranker": options.ranker.model_copy(update={"arm": arm})})


def read_options(text: str | None) -> ArchiveOptions:
    """Options in YAML. Raises UserError naming the field that is wrong."""
    try:
        return ArchiveOptions.model_validate(yaml.safe_load(text or "") or {})
    except yaml.YAMLError as error:
        raise UserError(f"options are no YAML: {str(error).splitlines()[0]}") from None
    except ValidationError as error:
        raise UserError(f"options: {first_mistake(error, 'options')}") from None
