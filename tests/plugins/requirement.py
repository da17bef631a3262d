"""Tests that find nothing to run on are skipped, and say why. Where MGOE_REQUIRE names what must be there, they fail.

`make test` sets it to all that it installs itself, so that a skip passes for no proof there; `all` allows none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from typing import TypeVar

import pytest

VARIABLE = "MGOE_REQUIRE"
NEEDS = {
    "bench": r"benchmark's extra",
    "chromium": r"chromium",
    "cluster": r"cluster|no kubelet|kubeconfig|in pods",
    "crds": r"MGOE_CRDS",
    "curl": r"curl",
    "data": r"MGOE_DATA",
    "images": r"images cannot be built",
    "full": r"/dev/full",
    "java": r"Java 17",
    "jq": r"jq",
    "kubectl": r"kubectl",
    "mount": r"mount",
    "postgres": r"PostgreSQL",
    "procfs": r"/proc/",
    "promtool": r"promtool",
    "s3": r"real S3 server",
    "setpriv": r"setpriv",
    "signing": r"model-signing",
    "torchrec": r"TorchRec is not installed",
    "torchserve": r"TorchServe is not installed",
}
"""Names that MGOE_REQUIRE may hold, and words of the reasons of skips for want of it."""

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def required(text: str) -> frozenset[str]:
    """The names in MGOE_REQUIRE. Raises pytest.UsageError for an unknown one."""
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    unknown = sorted(names - NEEDS.keys() - {"all"})
    if unknown:
        raise pytest.UsageError(f"{VARIABLE} names {unknown[0]!r}; write all, or some of {', '.join(NEEDS)}")
    return frozenset(NEEDS) if "all" in names else names


def forbidden(reason: str, names: frozenset[str]) -> bool:
    """Whether a skip for this reason must not be: for want of what is required, or of what NEEDS does not know."""
    wanting = {name for name, words in NEEDS.items() if re.search(words, reason)}
    return bool(names) and (not wanting or bool(wanting & names))


def _checked(report: Report) -> Report:
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return report
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    if forbidden(reason, required(os.environ.get(VARIABLE, ""))):
        report.outcome = "failed"
        report.longrepr = f"{reason} ({VARIABLE} asks for it)"
    return report


def pytest_configure() -> None:
    required(os.environ.get(VARIABLE, ""))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _checked((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _checked((yield))
