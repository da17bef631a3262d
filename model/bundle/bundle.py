"""A bundle, opened: verified first, then mapped. Imports nothing that only training needs.

Legend: N candidates, T tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from model.artifact.manifest import Manifest, verify
from model.bundle.consistency import require_consistent
from model.bundle.context_encoder import ContextEncoder
from model.bundle.id_index import IdIndex
from model.bundle.layout import (
    ENCODERS,
    INPUT_SPEC,
    ITEMS,
    MODEL,
    SERVING,
    SERVING_VERSION,
    SPEC,
    USERS,
    WEIGHTS,
    Serving,
)
from model.bundle.node_tables import read_side
from model.bundle.probe import Probe, read_probes
from model.bundle.signature import Verifier, require_signature
from model.data.schema_file import SCHEMA_NAME, load_schema
from model.errors import UserError, first_mistake
from model.nets.build import build_architecture
from model.nets.config import MODEL_CONFIG, ModelConfig
from model.nets.interface import Architecture, InputSpec
from model.nets.node_store import NodeStore

Read = TypeVar("Read")


@dataclass(frozen=True)
class Bundle:
    """All that scoring needs. Made by `open_bundle`.

    architecture: in evaluation mode, on the CPU, weights mapped. store: node tables of one moment, which any time
    reads. users, items: raw ids to node indices, 0 where unknown. context: raw context to codes. config: what the
    architecture was built from. probes: raw requests with the trainer's scores.
    """

    folder: Path
    manifest: Manifest
    serving: Serving
    config: ModelConfig
    spec: InputSpec
    architecture: Architecture
    store: NodeStore
    users: IdIndex
    items: IdIndex
    context: ContextEncoder
    probes: tuple[Probe, ...]

    @property
    def digest(self) -> str:
        """The bundle's identity: what an answer names as its model."""
        return self.manifest.digest

    @property
    def tasks(self) -> tuple[str, ...]:
        """From the weakest to the strongest."""
        return self.spec.tasks


def open_bundle(folder: Path, verifier: Verifier | None = None) -> Bundle:
    """Verifies every digest, and only then reads a file. Raises UserError: one line that names the file.

    A bundle that is replaced or written to meanwhile is refused. What is written into its files afterwards shows in the
    arrays, which are mapped: whoever may do so must be kept from it, or a copy be opened.
    verifier: whom to trust (model.bundle.signature); a bundle without a signature by them is refused.
    """
    before = _states(folder)
    manifest = verify(folder)
    if verifier is not None:
        require_signature(folder, verifier)
    bundle = read_verified(folder, manifest)
    # Files are opened by name, once to compare their digests and once to map them: both must have been the same.
    if _states(folder) != before:
        raise UserError(f"bundle {folder} was changed while it was read; load it again")
    return bundle


def _states(folder: Path) -> dict[str, tuple[int, ...]]:
    """Which file stands under each name, and when it was last written to or renamed."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        if not path.is_dir():
            found[str(path)] = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    return found


def read_verified(folder: Path, manifest: Manifest) -> Bundle:
    """`open_bundle` for a folder whose digests were just compared with `manifest`, or just made."""
    if manifest.kind != "bundle":
        raise UserError(f"{folder} is a {manifest.kind} artifact, not a bundle")
    serving = _serving(folder)
    config: ModelConfig = _parsed(folder / MODEL, MODEL_CONFIG)
    spec = _parsed(folder / SPEC, INPUT_SPEC)
    schema = load_schema(folder / SCHEMA_NAME)
    bundle = Bundle(
        folder=folder,
        manifest=manifest,
        serving=serving,
        config=config,
        spec=spec,
        architecture=_architecture(config, spec, folder / WEIGHTS),
        store=NodeStore.from_tables(spec, read_side(folder / USERS), read_side(folder / ITEMS)),
        users=IdIndex.load(folder / USERS),
        items=IdIndex.load(folder / ITEMS),
        context=ContextEncoder.load(folder / ENCODERS, schema),
        probes=read_probes(folder),
    )
    require_consistent(bundle)
    return bundle


def _architecture(config: ModelConfig, spec: InputSpec, path: Path) -> Architecture:
    try:
        with torch.random.fork_rng(devices=[]):
            architecture = build_architecture(config, spec)
        # Assigned, not copied: the tensors stay views of the mapped file, whose pages all workers share.
        architecture.load_state_dict(load_file(path), assign=True)
    except SafetensorError as error:
        raise UserError(f"bundle file {path} is no safetensors file: {error}") from None
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise UserError(
            f"bundle file {path} does not fit the architecture that {MODEL} names: {first};"
            " if another mgoe made it, train and package the model anew"
        ) from None
    return architecture.requires_grad_(False).eval()


def _serving(folder: Path) -> Serving:
    path = folder / SERVING
    try:
        version = TypeAdapter(dict[str, object]).validate_json(path.read_bytes()).get("version")
    except (OSError, ValidationError) as error:
        raise UserError(f"bundle file {path} holds no mapping: {str(error).splitlines()[0]}") from None
    if version != SERVING_VERSION:
        raise UserError(
            f"bundle {folder}: {SERVING} has version {version!r}, this mgoe reads version {SERVING_VERSION};"
            " package the model anew"
        )
    return _parsed(path, TypeAdapter(Serving))


def _parsed(path: Path, adapter: TypeAdapter[Read]) -> Read:
    try:
        return adapter.validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"bundle file {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise UserError(f"bundle file {path}: {first_mistake(error)}") from None
