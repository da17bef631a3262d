"""A load tells what it does, so that nobody takes a minute of compiling for a server that hangs."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from serving.ranker.ranker import Ranker
from serving.ranker.settings import RankerSettings


def test_a_load_tells_its_address_each_scorer_the_probes_and_its_end(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("PATH", str(tmp_path))
    with caplog.at_level(logging.INFO, logger="serving.ranker"):
        Ranker.load(bundles["mmoe"], RankerSettings(cache=tmp_path / "cache", scorers=("factorised", "aoti", "onnx")))
    patterns = [
        rf"loading bundle {re.escape(str(bundles['mmoe']))}",
        r"bundle \w{12} is verified: \d+\.\d s",
        r"items made in \d+\.\d s",
        r"compiling aoti, onnx, onnx for requests in a process of its own",
        r"onnx made in \d+\.\d s",
        r"scorer aoti is left out: it cannot be made here: there is no C\+\+ compiler.*",
        r"scorer factorised is exact within \S+: checked in \d+\.\d s",
        r"scorer onnx is exact within \S+: checked in \d+\.\d s",
        r"16 probes score as in training",
        r"bundle \w{12} is loaded in \d+\.\d s: .* for 50, .* for 500, .* for 2000 candidates",
    ]
    told = [record.getMessage() for record in caplog.records]
    places = [[place for place, line in enumerate(told) if re.fullmatch(pattern, line)] for pattern in patterns]
    assert all(len(each) == 1 for each in places), (places, told)
    assert places == sorted(places), told
