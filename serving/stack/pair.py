"""Which two bundles a stack serves: named themselves, or by the aliases of a registry."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from model.errors import UserError
from model.registry.address import check_address
from serving.stack.plan import Pair

REGISTRY_FILE = "registry.db"
"""Of a run's folder (`mgoe run --out`)."""


def named_pair(baseline: str | None, candidate: str | None) -> Pair | None:
    """The bundles that were named; None where none is. Raises UserError for one alone, or one that is not there."""
    if baseline is None and candidate is None:
        return None
    if baseline is None or candidate is None:
        missing = "--baseline" if baseline is None else "--candidate"
        raise UserError(f"{missing} is missing: name the bundles of both arms, or neither")
    return Pair(baseline=address_of("--baseline", baseline), candidate=address_of("--candidate", candidate))


def registered_pair(registry: str, model: str) -> Pair:
    """The bundles of the versions that carry the aliases `baseline` and `candidate`. Where a promotion has made the
    candidate the baseline as well, its opponent is the version that was the baseline before, and a stack of these two
    goes on as it was.

    Raises UserError where an alias or its bundle is missing.
    """
    from model.registry.alias import previous_tag  # noqa: PLC0415
    from model.registry.mlflow_registry import MlflowRegistry  # noqa: PLC0415  mlflow takes seconds
    from model.registry.model_registry import BUNDLE_URI  # noqa: PLC0415

    database = Path(registry.removeprefix("sqlite:///"))
    if registry.startswith("sqlite:///") and not database.exists():
        raise UserError(
            f"there is no registry {database}: `mgoe run` makes one; --run names the folder of a run, --baseline and "
            "--candidate name bundles"
        )
    opened, versions, found = MlflowRegistry(registry), {}, {}
    for alias in ("baseline", "candidate"):
        version = opened.by_alias(model, alias)
        if version is None:
            raise UserError(
                f"registry {registry}: no version of {model!r} has the alias {alias!r}; `mgoe registry list`"
            )
        versions[alias] = version
    before = versions["baseline"].tags.get(previous_tag("baseline"))
    if versions["baseline"].number == versions["candidate"].number and before is not None:
        versions["baseline"] = opened.get(model, int(before))
    for alias, version in versions.items():
        if BUNDLE_URI not in version.tags:
            raise UserError(f"registry {registry}: version {version} ({alias}) has no bundle; run the pipeline again")
        found[alias] = address_of(f"{alias} of {registry}", version.tags[BUNDLE_URI])
    return Pair(**found)


def kept(registry: str) -> str | None:
    """A registry's address as a stack may keep it in its folder: whole, or none where a password is in it."""
    try:
        return check_address(registry)
    except UserError:
        return None


def address_of(name: str, bundle: str) -> str:
    """A bundle's address, whichever folder it is read in. Raises UserError for a folder that holds no bundle."""
    if bundle.startswith("s3://"):
        return bundle
    place = folder_of(bundle)
    if place is None:
        raise UserError(f"{name} {bundle}: write a folder, file:// or s3:// address of a bundle")
    if not (place / "manifest.json").is_file():
        raise UserError(f"{name} {bundle}: there is no bundle (`mgoe bundle show` reads one)")
    return place.absolute().as_uri()


def folder_of(address: str) -> Path | None:
    """The folder of a bundle on this machine; None for one that is elsewhere."""
    if "://" not in address:
        return Path(address)
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme == "file" and parts.netloc in {"", "localhost"} else None
