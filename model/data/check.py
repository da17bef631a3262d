"""Says what is wrong with a log, in plain words: every finding, not just the first."""

from __future__ import annotations

from dataclasses import dataclass

from model.data.columns_check import check_columns, check_node_files, without_unreadable
from model.data.finding import Finding, error, warning
from model.data.place import LogPlace
from model.data.raw import RawLog
from model.data.rows_check import HistoryCheck, RowsCheck
from model.data.schema import LogSchema
from model.data.split import Cuts, cut
from model.data.time_counts import TimeCounts
from model.data.values_check import ValuesCheck, check_node_values, read_keys
from model.errors import UserError

FEW_POSITIVES = 50
"""Below this many of the rarer label in one part of the split, a warning says that measures will be coarse."""


def check(place: LogPlace, schema: LogSchema) -> list[Finding]:
    """All findings on the log at `place`, in the order of files. Raises Fault where it cannot be read."""
    columns, nodes = check_columns(place, schema), check_node_files(place, schema)
    if any(finding.severity == "error" for finding in columns):
        rest = without_unreadable(place, schema)
        if rest is None or any(finding.severity == "error" for finding in check_columns(place, rest)):
            return columns + nodes  # the rows cannot be read as the schema asks
        schema = rest
    raw = RawLog(place, schema)
    readable = not any(finding.severity == "error" for finding in nodes)
    rows, values = RowsCheck(schema), ValuesCheck.of(schema, read_keys(place, schema) if readable else [])
    for batch in raw.batches():
        rows.add(batch, raw)
        values.add(batch)
    found = rows.findings(schema.interactions.path) + values.findings()
    if readable:
        found += check_node_values(place, schema)
    if schema.history is not None:
        history = HistoryCheck(schema, schema.history, first=int(rows.times.seconds[0]) if len(rows.times) else None)
        for batch in raw.history_batches():
            history.add(batch, raw)
        found += history.findings()
    if len(rows.times) and not any(finding.severity == "error" for finding in found):
        found += _check_split(raw, rows.times)
    return columns + nodes + found


def refuse_errors(place: LogPlace, schema: LogSchema) -> list[Finding]:
    """The warnings on a log that may be ingested. Raises UserError with the first error where it may not."""
    findings = check(place, schema)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more: run `mgoe data check {place.uri}`)" if len(errors) > 1 else ""
        raise UserError(f"log {place.uri}: {errors[0]}{more}")
    return findings


@dataclass
class _PartCount:
    """Positives and observed labels of every task in one part of the split."""

    positive: list[int]
    observed: list[int]


def _check_split(raw: RawLog, times: TimeCounts) -> list[Finding]:
    split = raw.schema.split
    try:
        cuts = cut(times, split, raw.schema.interactions.time.timezone)
    except UserError as wrong:
        return [error("schema", str(wrong))]
    found: list[Finding] = []
    outside = len(times) - len(times.within(cuts.start, cuts.end))
    if outside:
        found.append(warning("schema", f"split: {outside:,} rows lie outside of train_from and until: left out"))
    for part, count in _count_positives(raw, cuts).items():
        for task, positive, observed in zip(raw.schema.task_names, count.positive, count.observed, strict=True):
            counted = f"split: task {task} in {part} has {positive:,} {_positives(positive)} of {observed:,}"
            if positive in (0, observed):
                cannot = "learned" if part == "train" else "measured"
                found.append(error("schema", f"{counted}: it cannot be {cannot}"))
            elif min(positive, observed - positive) < FEW_POSITIVES:
                found.append(warning("schema", f"{counted}: expect wide intervals"))
    return found


def _positives(count: int) -> str:
    return "positive" if count == 1 else "positives"


def _count_positives(raw: RawLog, cuts: Cuts) -> dict[str, _PartCount]:
    n_tasks = len(raw.schema.tasks)
    counts = {part: _PartCount([0] * n_tasks, [0] * n_tasks) for part in ("train", "validate", "test")}
    for batch in raw.batches():
        labels, observed = raw.labels(batch)
        for part, rows in cuts.parts(raw.seconds(batch)).items():
            for task in range(n_tasks):
                counts[part].positive[task] += int(labels[rows & observed[:, task], task].sum())
                counts[part].observed[task] += int(observed[rows, task].sum())
    return counts
