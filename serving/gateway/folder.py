"""The gateway's folder: what is rendered into it, where Envoy writes, and how a file there is replaced."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import yaml

from model.errors import Fault, UserError
from serving.gateway.bootstrap import bootstrap
from serving.gateway.clusters import clusters
from serving.gateway.config import GatewayConfig, read_config
from serving.gateway.routes import Json, routes, split_of
from serving.gateway.split import Split

ROUTES_FILE = "xds/routes.json"
CLUSTERS_FILE = "xds/clusters.json"
BOOTSTRAP_FILE = "bootstrap.json"
CONFIG_FILE = "gateway.yaml"
_ACCESS_LOG = re.compile(r"access-([1-9][0-9]{0,3})\.log")
"""Of any Envoy but the first."""
RESERVE_FILE = ".reserve"
RESERVE = 2**20
"""Bytes that are kept for the day on which the disk is full: the candidate's weight can then still be written."""


def json_text(resource: Json) -> str:
    """A resource as Envoy reads it."""
    return json.dumps(resource, indent=2, ensure_ascii=False) + "\n"


def config_text(config: GatewayConfig) -> str:
    """A configuration as YAML."""
    return str(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def render(config: GatewayConfig, split: Split, root: Path) -> Mapping[str, str]:
    """All files that Envoy reads, by their path below root. Pure; root stands in them."""
    return {
        BOOTSTRAP_FILE: json_text(bootstrap(config, xds=root / "xds", access_log=root / "access.log")),
        ROUTES_FILE: json_text(routes(config, split)),
        CLUSTERS_FILE: json_text(clusters(config)),
    }


@dataclass(frozen=True)
class GatewayFolder:
    """One gateway's files. The split lives in the routes, so it survives every process."""

    root: Path
    number: int = 1
    """Which of the Envoys that share the port (Admin.partners). Routes, clusters and configuration are of all of them;
    address, logs and bootstrap are each one's own, so that no two processes write to one file."""

    @property
    def access_log(self) -> Path:
        return self.root / f"access{self._own}.log"

    @property
    def envoy_log(self) -> Path:
        return self.root / f"envoy{self._own}.log"

    @property
    def admin_address(self) -> Path:
        """Written by Envoy once it knows its port."""
        return self.root / f"admin{self._own}.address"

    @property
    def bootstrap_name(self) -> str:
        """Of the file that Envoy is started with, here."""
        return f"bootstrap{self._own}.json" if self._own else BOOTSTRAP_FILE

    @property
    def _own(self) -> str:
        return f"-{self.number}" if self.number > 1 else ""

    def members(self) -> tuple[GatewayFolder, ...]:
        """The same of every Envoy that has told its address here; at least of the first."""
        found = sorted(int(each.stem.removeprefix("admin-")) for each in self.root.glob("admin-*.address"))
        return (replace(self, number=1), *(replace(self, number=number) for number in found))

    def access_logs(self, envoys: int) -> tuple[Path, ...]:
        """Those of the first `envoys` Envoys, and those that are here of others that ran before."""
        numbers = {
            int(found[1]) for each in self.root.glob("access-*.log") if (found := _ACCESS_LOG.fullmatch(each.name))
        }
        return tuple(replace(self, number=number).access_log for number in sorted(numbers | {*range(1, envoys + 1)}))

    def prepare(self, config: GatewayConfig) -> Split:
        """Writes all files; a split of the same experiment goes on, another one begins at weight 0 with the next phase.

        Raises Fault where the folder cannot be written.
        """
        with self.locked():
            split = _continued(config, self.split() if (self.root / ROUTES_FILE).exists() else None)
            self.write(CONFIG_FILE, config_text(config))
            for name, content in render(config, split, self.root).items():
                self.write(name, content)
            self.prepare_partner(config)
            for member in self.members():
                if member.number > 1 + len(config.admin.partners):  # of an earlier one; its port may be another's now
                    member.admin_address.unlink(missing_ok=True)
        return split

    def bootstrap(self, config: GatewayConfig) -> Json:
        """What Envoy is started with, here."""
        return bootstrap(config, xds=self.root / "xds", access_log=self.access_log, number=self.number)

    def prepare_partner(self, config: GatewayConfig) -> None:
        """Writes this Envoy's own files, and leaves alone what those that run route by."""
        self.write(self.bootstrap_name, json_text(self.bootstrap(config)))

    def config(self) -> GatewayConfig:
        """The configuration that the files were rendered from. Raises UserError."""
        path = self.root / CONFIG_FILE
        if not path.exists():
            raise UserError(
                f"{self.root} is no gateway's folder: it has no {CONFIG_FILE}; `mgoe gateway run` makes one"
            )
        return read_config(path)

    def split(self) -> Split:
        """The split of the routes file. Raises UserError where it is none of ours."""
        path = self.root / ROUTES_FILE
        try:
            return split_of(json.loads(path.read_bytes())["resources"][0])
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}; `mgoe gateway run` writes it") from None
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UserError(f"{path} holds no split of ours: {' '.join(str(error).split())}") from None

    def read(self, name: str) -> str:
        """The text of a file. Raises Fault."""
        try:
            return (self.root / name).read_text(encoding="utf-8")
        except OSError as error:
            raise Fault(f"{self.root / name} cannot be read: {error.strerror}") from None

    def write(self, name: str, content: str) -> None:
        """Replaces a file at once: written aside in its folder, synced, renamed, the folder synced. On a full disk the
        room that is kept is taken. Raises Fault."""
        path = self.root / name
        try:
            try:
                _replace(path, content)
            except OSError as error:
                if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                    raise
                (self.root / RESERVE_FILE).unlink(missing_ok=True)
                _replace(path, content)
        except OSError as error:
            raise Fault(f"{path} cannot be written: {error.strerror}") from None
        self._reserve()

    def _reserve(self) -> None:
        """Keeps room for writes on a full disk; where there is none, there is none."""
        path = self.root / RESERVE_FILE
        if path.exists():
            return
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVE)
        except OSError:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[TextIO]:
        """The file whose lock says that an Envoy runs here; whoever inherits it keeps the claim. Write the pid into it.

        Raises UserError where one runs already, Fault where the folder cannot be made.
        """
        with self._opened(f".running{self._own}") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = file.read().strip() or "unknown"
                raise UserError(f"a gateway already runs in {self.root} (process {pid}); give another folder") from None
            file.truncate(0)
            yield file

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One writer at a time, over processes. Raises Fault where the folder cannot be made."""
        with self._opened(".lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _opened(self, name: str) -> TextIO:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            (self.root / name).touch()
            return (self.root / name).open("r+", encoding="utf-8")
        except OSError as error:
            raise Fault(f"gateway folder {self.root} cannot be written: {error.strerror}") from None


def _replace(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(0o644)
        Path(aside).rename(path)
        _sync_folder(path.parent)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """A rename is on disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _continued(config: GatewayConfig, found: Split | None) -> Split:
    wanted = config.experiment
    if found is None:
        return Split(wanted.id, wanted.salt)
    if (found.experiment, found.salt) == (wanted.id, wanted.salt):
        return found
    return Split(wanted.id, wanted.salt, phase=found.phase + 1)
