"""Where a raw log lies: a local folder or an S3 prefix, read through one file system interface in bounded batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from pyarrow import fs

from model.artifact.s3_settings import S3Settings
from model.errors import Fault, UserError

BATCH_ROWS = 1 << 18
"""Rows read at a time: bounds the memory of every pass over a log."""
_READ_BYTES = 1 << 20
"""Of a column of a large row group at a time."""
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class LogPlace:
    """A folder of Parquet on some file system. name: its last part. uri: how the caller named it."""

    files: fs.FileSystem
    root: str
    name: str
    uri: str
    batch_rows: int = BATCH_ROWS

    def has_file(self, path: str) -> bool:
        return bool(self._info(path).type == fs.FileType.File)

    def exists(self, path: str) -> bool:
        return bool(self._info(path).type != fs.FileType.NotFound)

    def read_text(self, path: str) -> str:
        """A small file. Raises UserError where it is not UTF-8."""
        with self._talking(), self.files.open_input_file(f"{self.root}/{path}") as stream:
            content = bytes(stream.read())
        try:
            return content.decode("utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{path} in log {self.uri} is not UTF-8 text") from None

    def column_types(self, path: str) -> dict[str, pa.DataType]:
        """Columns of a Parquet file or folder, hive partitions included. Raises UserError if it is no Parquet."""
        with self._reading(path):
            schema = self._dataset(path).schema
            return dict(zip(schema.names, schema.types, strict=True))

    def part_columns(self, path: str) -> dict[str, frozenset[str]]:
        """Columns of every file of a Parquet file or folder, by its path in the log, hive partitions included."""
        with self._reading(path):
            return {
                self._inside(part.path): frozenset(part.physical_schema.names)
                | frozenset(pads.get_partition_keys(part.partition_expression))
                for part in self._dataset(path).get_fragments()
            }

    def row_count(self, path: str) -> int:
        with self._reading(path):
            return int(self._dataset(path).count_rows())

    def batches(self, path: str, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Frames of exactly `batch_rows` rows (the last may be shorter), in file order: by path, then by row."""
        waiting: list[pl.DataFrame] = []
        held, rows = 0, self.batch_rows
        with self._reading(path, columns):
            for batch in self._scanned(path, list(columns)):
                if batch.num_rows == 0:
                    continue
                waiting.append(_frame(batch))
                held += batch.num_rows
                while held >= rows:
                    joined = pl.concat(waiting)
                    yield joined.head(rows)
                    waiting = [joined.slice(rows)]
                    held -= rows
            if held:
                yield pl.concat(waiting)

    def _scanned(self, path: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Batches of at most batch_rows rows. Row groups are scanned a few at a time: a scan of the whole would run
        ahead of its reader by as much as a gibibyte. One of more rows is streamed: a scan holds it whole."""
        dataset = self._dataset(path)
        for fragment in dataset.get_fragments():
            sizes = [group.num_rows for group in fragment.row_groups]
            for row_groups in _runs(sizes, self.batch_rows):
                if sum(sizes[place] for place in row_groups) > self.batch_rows:
                    yield from self._streamed(fragment, row_groups, [dataset.schema.field(name) for name in columns])
                    continue
                part = fragment.subset(row_group_ids=row_groups)
                yield from part.to_batches(schema=dataset.schema, columns=columns, batch_size=self.batch_rows)

    def _streamed(
        self, fragment: pads.ParquetFileFragment, row_groups: list[int], fields: list[pa.Field[Any]]
    ) -> Iterator[pa.RecordBatch]:
        """`fields` of row groups as a scan gives them, with no more than a batch of them in memory."""
        fixed = pads.get_partition_keys(fragment.partition_expression)
        with self.files.open_input_file(fragment.path) as stream:
            file = pq.ParquetFile(stream, buffer_size=_READ_BYTES, pre_buffer=False)
            held = [field.name for field in fields if field.name in file.schema_arrow.names and field.name not in fixed]
            for batch in file.iter_batches(self.batch_rows, row_groups=row_groups, columns=held):
                yield pa.RecordBatch.from_arrays(
                    [
                        batch.column(field.name).cast(field.type)
                        if field.name in held
                        else pa.repeat(pa.scalar(fixed.get(field.name), field.type), batch.num_rows)
                        for field in fields
                    ],
                    schema=pa.schema(fields),
                )

    def read(self, path: str, columns: Sequence[str]) -> pl.DataFrame:
        """The whole table at once: for node files, whose size is the number of nodes."""
        with self._reading(path, columns):
            return _frame(self._dataset(path).to_table(columns=list(columns)))

    def _dataset(self, path: str) -> pads.Dataset:
        found = self._parquet_files(path)
        if not found:
            raise UserError(f"log {self.uri} has no Parquet file {path}")
        base = self.root if path == "." else f"{self.root}/{path}"
        return pads.dataset(
            found,
            format="parquet",
            filesystem=self.files,
            partitioning=pads.partitioning(flavor="hive"),
            partition_base_dir=base,
        )

    def _parquet_files(self, path: str) -> list[str]:
        base = self.root if path == "." else f"{self.root}/{path}"
        info = self.files.get_file_info(base)
        if info.type == fs.FileType.File:
            return [base]
        if info.type == fs.FileType.NotFound:
            return []
        inside = self.files.get_file_info(fs.FileSelector(base, recursive=True))
        return sorted(entry.path for entry in inside if entry.type == fs.FileType.File and entry.extension == "parquet")

    def _info(self, path: str) -> fs.FileInfo:
        with self._talking():
            return self.files.get_file_info(self.root if path == "." else f"{self.root}/{path}")

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Fault(f"log {self.uri} cannot be read: {_first_line(error)}") from None

    @contextmanager
    def _reading(self, path: str, columns: Sequence[str] = ()) -> Iterator[None]:
        """Raises UserError naming the damaged file, Fault where the file system does not answer."""
        with self._talking():
            try:
                yield
            except (pa.ArrowInvalid, OSError) as error:
                if not _lies_in_content(error):
                    raise
                for file in self._parquet_files(path):
                    if self._is_damaged(file, columns):
                        said = f"{self.uri.rstrip('/')}/{self._inside(file)} cannot be read as Parquet"
                        raise UserError(f"{said}: it is damaged or cut off") from None
                raise UserError(f"{path} in log {self.uri} is no one table: {_first_line(error)}") from None

    def _is_damaged(self, file: str, columns: Sequence[str]) -> bool:
        """Whether its footer, or a page of `columns`, cannot be decoded."""
        try:
            alone = pads.dataset([file], format="parquet", filesystem=self.files)
            for _ in alone.to_batches(columns=[name for name in columns if name in alone.schema.names]):
                pass
        except (pa.ArrowInvalid, OSError) as error:
            if not _lies_in_content(error):
                raise
            return True
        return False

    def _inside(self, file: str) -> str:
        return file.removeprefix(self.root).lstrip("/")


def open_place(source: str) -> LogPlace:
    """The log at `source`: a folder, file:///folder or s3://bucket/prefix.

    S3 takes its endpoint and credentials from the environment (model.artifact.s3_settings).
    Raises UserError where there is no such folder or it is a file, Fault where the endpoint does not answer.
    """
    if source.startswith("s3://"):
        root = source.removeprefix("s3://").strip("/")
        place = LogPlace(_s3(), root, root.rsplit("/", 1)[-1], source)
    else:
        folder = Path(source.removeprefix("file://")).resolve()
        place = LogPlace(fs.LocalFileSystem(), str(folder), folder.name, source)
    if not place.exists("."):
        raise UserError(f"log {source} does not exist; name a folder or s3://bucket/prefix")
    if place.has_file("."):
        raise UserError(f"log {source} is a file; name the folder that it lies in")
    return place


def _s3() -> fs.FileSystem:
    settings = S3Settings.from_environment()
    return fs.S3FileSystem(
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        session_token=settings.session_token,
        region=settings.region,
        endpoint_override=settings.host,
        scheme="https" if settings.secure else "http",
        connect_timeout=_CONNECT_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=2),
    )


def _runs(rows: list[int], most: int) -> Iterator[list[int]]:
    """Neighbouring places whose rows add up to at most `most`, or single places."""
    run: list[int] = []
    held = 0
    for place, count in enumerate(rows):
        if run and held + count > most:
            yield run
            run, held = [], 0
        run.append(place)
        held += count
    if run:
        yield run


def _frame(table: pa.Table | pa.RecordBatch) -> pl.DataFrame:
    return pl.DataFrame(table)


def _lies_in_content(error: BaseException) -> bool:
    """Arrow tells broken pages by an OSError too, but without the number that the system's and S3's words go with."""
    return not isinstance(error, OSError) or (error.errno is None and "AWS Error" not in str(error))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
