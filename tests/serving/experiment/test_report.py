"""The report as text, JSON and page, and its commands."""

from __future__ import annotations

import dataclasses
import html.parser
import io
import json
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from model.errors import Fault, UserError
from serving.experiment import words
from serving.experiment.chart import Band, Chart, Mark, Whisker, forest_chart, probability_chart, sequence_chart, ticks
from serving.experiment.commands import app
from serving.experiment.design import BASELINE, CANDIDATE
from serving.experiment.evidence import EvidenceSeries, ExperimentEvidence, Exposed
from serving.experiment.interval import Interval
from serving.experiment.page import page
from serving.experiment.report import Report, report_json, report_of
from serving.experiment.text_report import text_report
from tests.serving.experiment.trials import design, series, simulate

GOLDEN = Path(__file__).parent / "golden"
RUN = CliRunner()


@pytest.fixture(scope="module")
def made() -> EvidenceSeries:
    return series(design(), simulate(users=5_000, lift=0.15, seed=3))


@pytest.fixture(scope="module")
def report(made: EvidenceSeries) -> Report:
    return report_of(made)


@pytest.fixture(scope="module")
def file(made: EvidenceSeries, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evidence") / "evidence.json"
    path.write_text(json.dumps(made.to_json()))
    return path


def _text(report: Report) -> str:
    console = Console(file=io.StringIO(), width=110, color_system=None)
    console.print(text_report(report))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_text_is_as_it_was(report: Report) -> None:
    """`python -m tests.serving.experiment.test_report` rewrites the file."""
    path = GOLDEN / "report.txt"
    assert _text(report) == path.read_text()


def test_the_figures_are_json_and_nothing_in_them_is_infinite(report: Report) -> None:
    text = json.dumps(report_json(report), allow_nan=False)
    figures = json.loads(text)
    assert figures["verdict"]["kind"] == report.verdict.kind
    assert len(figures["looks"]) == 9
    last = figures["looks"][-1]["metrics"][0]
    assert (last["late"], last["immature"]) == ({"baseline": 7, "candidate": 9}, {"baseline": 40, "candidate": 38})
    estimate = report.last.metrics[0].estimate
    assert estimate is not None
    assert last["estimate"]["lift_interval"]["lower"] == estimate.lift_interval.lower
    assert figures["looks"][0]["metrics"][0]["estimate"]["days_left"] is None


class _Tags(html.parser.HTMLParser):
    """Checks that tags close in order and nothing is fetched."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag] = self.found.get(tag, 0) + 1
        assert not {"src", "onload"} & {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.found[tag] = self.found.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_self_contained(report: Report) -> None:
    text = page(report)
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.found["svg"] == 7  # a sequence and a forest for each of three metrics, the sample ratio
    assert not re.search(r"https?://(?!arxiv)|nan|\binf\b", text.replace("information", ""))
    for one in report.last.metrics:
        assert one.metric.name in text
    assert report.verdict.words.split(": ", 1)[1].split(" ")[0] in text


def test_what_was_once_proven_of_return_stays_in_the_verdict(made: EvidenceSeries) -> None:
    def look(at: int, baseline: int, candidate: int) -> ExperimentEvidence:
        units, new = {BASELINE: baseline, CANDIDATE: candidate}, {BASELINE: 0, CANDIDATE: 0}
        return dataclasses.replace(made.snapshots[at], exposed=(Exposed(0, 0, 0.5, units, new),))

    proven, later = look(0, 30_000, 32_000), look(1, 62_000, 62_100)
    found = report_of(EvidenceSeries((proven, later)))
    assert found.returns_p[0] == found.returns_p[1] == found.last.returns.p_value < 1e-6
    assert "Users of the candidate come back 0.16% more often (p = " in found.verdict.words
    assert "come back" not in report_of(EvidenceSeries((later,))).verdict.words
    returns = [one["returns"] for one in report_json(found)["looks"]]
    assert [one["running_p_value"] for one in returns] == list(found.returns_p)


def test_a_note_stands_at_the_head_of_the_page(made: EvidenceSeries) -> None:
    told = page(report_of(made), note="Feedback <was> simulated.")
    head = told[: told.index("</header>")]
    assert "Feedback &lt;was&gt; simulated." in head
    assert "simulated" not in page(report_of(made))


def test_names_are_escaped_on_the_page(made: EvidenceSeries) -> None:
    of = dataclasses.replace(made.design, experiment="<script>alert(1)</script>")
    text = page(report_of(EvidenceSeries((dataclasses.replace(made.last, design=of),))))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_an_experiment_that_just_began_has_a_report(made: EvidenceSeries) -> None:
    early = report_of(EvidenceSeries((dataclasses.replace(made.snapshots[0], metrics=(), exposed=()),)))
    assert early.verdict.kind == "invalid"
    assert report_json(early)["looks"][0]["metrics"][0]["estimate"] is None
    assert "no stratum has 50 units" in page(early)
    assert "no stratum has 50" in _text(early)
    first = report_of(EvidenceSeries(made.snapshots[:1]))
    assert first.verdict.kind == "inconclusive"
    assert "clicks per view" in _text(first)
    assert ", 1 look\n" in _text(first)
    assert "· 1 look</p>" in page(first)


def test_names_and_reasons_that_look_like_markup_are_shown_as_they_are(made: EvidenceSeries) -> None:
    first, *others = made.design.metrics
    named = dataclasses.replace(first, name="ctr [/x] [red]")
    of = dataclasses.replace(made.design, experiment="home [/b]", metrics=(named, *others))

    def renamed(one: ExperimentEvidence) -> ExperimentEvidence:
        metrics = (dataclasses.replace(one.metrics[0], metric=named), *one.metrics[1:]) if one.metrics else ()
        return dataclasses.replace(one, design=of, metrics=metrics)

    for one in (made.last, dataclasses.replace(made.last, metrics=(), exposed=())):
        text = _text(report_of(EvidenceSeries((renamed(one),))))
        assert "ctr [/x] [red]" in text
        assert "home [/b]" in text


def test_without_a_pooled_lift_the_page_leaves_it_out(report: Report) -> None:
    first = report.last.metrics[0]
    assert first.estimate is not None
    bare = dataclasses.replace(first.estimate, pooled_lift=None, pooled_lift_interval=None)
    last = dataclasses.replace(
        report.last, metrics=(dataclasses.replace(first, estimate=bare), *report.last.metrics[1:])
    )
    text = page(dataclasses.replace(report, looks=(*report.looks[:-1], last)))
    assert text.count("pooled (phases ignored)") == 2


def test_a_sample_ratio_alarm_stays_in_later_looks(made: EvidenceSeries) -> None:
    broken = dataclasses.replace(
        made.snapshots[2],
        exposed=tuple(
            dataclasses.replace(one, units={"baseline": 500, "candidate": 900}, new_units=None)
            for one in made.last.exposed
        ),
    )
    found = report_of(EvidenceSeries((*made.snapshots[:2], broken, *made.snapshots[3:])))
    assert found.verdict.kind == "invalid"
    assert found.sample_ratio_p[1] > 0.001 > found.sample_ratio_p[-1]
    assert "broken" in page(found)


def test_the_command_prints_and_writes_everything(file: Path, tmp_path: Path) -> None:
    result = RUN.invoke(
        app, ["report", str(file), "--html", str(tmp_path / "r.html"), "--json", str(tmp_path / "r.json")]
    )
    assert result.exit_code == 0, result.output
    assert "clicks per view" in result.output
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "r.json").read_text())["experiment"] == "home feed, MGOE"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "r.json"]
    assert "written" not in RUN.invoke(app, ["report", str(file)]).output


def test_evidence_comes_from_standard_input_and_figures_go_to_standard_output(file: Path) -> None:
    result = RUN.invoke(app, ["report", "-", "--json", "-"], input=file.read_text())
    assert json.loads(result.output)["verdict"]["kind"] in ("win", "inconclusive")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "no JSON at line 1, column 2"),
        (b"\xff\xfe", "no UTF-8 text at byte 0"),
        (b"[]", "is no JSON object"),
        (b'{"design": {}}', "the field 'experiment' is missing"),
        (b'{"snapshots": [], "design": 3}', "is no JSON object"),
    ],
)
def test_a_file_that_is_no_evidence_is_refused_in_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    path.write_bytes(content)
    error = RUN.invoke(app, ["report", str(path)]).exception
    assert isinstance(error, UserError)
    assert said in str(error)
    assert "\n" not in str(error)


def test_places_that_cannot_be_read_or_written_are_named(file: Path, tmp_path: Path) -> None:
    for arguments, kind, said in (
        ([str(tmp_path / "none.json")], UserError, "there is no such file"),
        ([str(tmp_path)], UserError, "a file of evidence is wanted"),
        ([str(file), "--html", str(tmp_path / "none" / "r.html")], UserError, "is not there"),
        ([str(file), "--html", str(file / "r.html")], Fault, "Not a directory"),
    ):
        error = RUN.invoke(app, ["report", *arguments]).exception
        assert isinstance(error, kind)
        assert said in str(error)


def test_plan_shows_units_and_days() -> None:
    arguments = ["plan", "--mean", "0.1", "--lift", "0.05", "--ramp", "0.05x2,0.5", "--units-a-day", "20000"]
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "5.00%" in result.output
    without = RUN.invoke(app, ["plan", "--mean", "10", "--sd", "30", "--lift", "0.05"])
    assert "–" in without.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mean", "2", "--lift", "0.1"], "without --sd it is a proportion"),
        (["--mean", "0.1", "--lift", "0"], "the effect 0.0"),
        (["--mean", "0.1", "--lift", "0.1", "--ramp", "half"], "'half' is no weight x days"),
        (["--mean", "0.1", "--lift", "0.1", "--ramp", "1.5"], "a plan needs phases"),
        (["--mean", "0.1", "--lift", "0.1", "--ramp", "0.1x-3,0.5"], "a phase of -3 days"),
        (["--mean", "0.1", "--lift", "0.1", "--ramp", "0.1x0,0.5"], "'0.1x0' lasts no time"),
        (["--mean", "0.1", "--lift", "0.1", "--ramp", "0.1x,0.5"], "'0.1x' is no weight x days"),
        (["--mean", "0.1", "--lift", "0.1", "--ramp", "0.1,0.5"], "'0.1' is no weight x days"),
        (["--mean", "0.1", "--lift", "0.1", "--ramp", "0.5x2"], "'0.5x2' takes no days"),
        (["--mean", "0.1", "--lift", "0.1", "--ramp", "0.5x"], "'0.5x' takes no days"),
        (["--mean", "0.1", "--lift", "0.1", "--ramp", "0.1x2,"], "'' is no weight x days"),
        (["--mean", "0.9", "--lift", "0.5"], "a share of 1.35, above 1"),
        (["--mean", "0.9", "--lift", "nan"], "the effect nan"),
        (["--mean", "0.1", "--lift", "0.1", "--ramp", "0.1xnan,0.5"], "a phase of nan days"),
        (["--mean", "0.1", "--lift", "0.1", "--ramp", "nanx3,0.5"], "a plan needs phases"),
        (["--mean", "0.1", "--lift", "1e-300"], "the effect 1e-300"),
        (["--mean", "0.1", "--lift", "1e-14"], "deviations of a unit"),
        (["--mean", "nan", "--sd", "1", "--lift", "0.1"], "the baseline's mean nan"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(arguments: list[str], said: str) -> None:
    error = RUN.invoke(app, ["plan", *arguments]).exception
    assert isinstance(error, UserError)
    assert said in str(error)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.013, 0.02), (3.0, 3.0001), (-1e6, 2e6), (0.0, 5.0)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 3 <= len(found) <= 11
    assert all(low - 1e-9 * abs(high) <= tick <= high + 1e-9 * abs(high) for tick in found)


def test_a_chart_holds_infinite_ends_and_one_look() -> None:
    chart = Chart("c", "alt <b>", "day", ((1.0, "5 %"),))
    infinite = Band(1.0, 0.1, -float("inf"), float("inf"))
    for bands in ([infinite], [infinite, Band(2.0, 0.05, -0.01, 0.11)], [Band(1.0, 0.0, 0.0, 0.0)]):
        text = str(sequence_chart(chart, bands, [], [Mark(0.0, "no effect")]))
        assert "inf" not in text
        assert "nan" not in text
        assert "alt &lt;b&gt;" in text
    one = str(sequence_chart(chart, [Band(3.0, 0.1, -0.02, 0.22)], [(3.0, 0.12)], []))
    assert re.search(r'<line x1="282.0" x2="282.0" [^>]*class="whisker"/>', one)
    assert ">3</text>" in one
    assert ">4</text>" not in one
    assert "1e-12" in probability_chart(chart, [(1.0, 1.0), (2.0, 0.0)], 1e-3)
    assert "inf" not in forest_chart(chart, [Whisker("one", 0.1, -float("inf"), float("inf"), "candidate")], [])


def test_numbers_are_written_short() -> None:
    assert words.span(None) == "–"
    assert words.span(Interval(-float("inf"), 1.0)) == "unbounded"
    assert (words.share(None), words.part(None), words.part(0.25)) == ("–", "–", "25.0%")
    assert (words.days(None), words.days(0.0), words.days(2.04)) == ("not in sight", "now", "2.0 days")
    assert (words.e_value(12.34), words.e_value(1.2e9)) == ("12.3", "1e+09")
    assert [words.probability(one) for one in (0.5, 2e-7, None)] == ["0.500", "2.0e-07", "–"]


if __name__ == "__main__":  # python -m tests.serving.experiment.test_report rewrites the golden file
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / "report.txt").write_text(_text(report_of(series(design(), simulate(users=5_000, lift=0.15, seed=3)))))
    sys.stdout.write("written\n")
