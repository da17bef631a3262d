"""Charts over time with an axis, gaps and notes of one's own."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from serving.experiment.chart import Chart, Line, Mark, level_chart, runs


def test_a_stepped_line_holds_its_value_and_ends_at_a_gap() -> None:
    line = Line("steps", [(0, 5.0), (10, 20.0), (15, None), (20, 50.0)], stepped=True)
    assert runs(line) == [[(0, 5.0), (10, 5.0), (10, 20.0), (15, 20.0)], [(20, 50.0)]]
    assert line.values == [5.0, 20.0, 50.0]


def test_a_plain_line_goes_from_point_to_point() -> None:
    assert runs(Line("steps", [(0, 1.0), (1, 2.0), (2, None), (3, None)])) == [[(0, 1.0), (1, 2.0)]]


def test_ticks_and_notes_are_those_that_were_given_and_their_words_are_escaped() -> None:
    chart = Chart(
        "c", "a <b>", "time", span=(0, 100), x_ticks=[(50, "<1 min>")], notes=[(0, "5 % & up"), (50, "</svg>")]
    )
    drawn = level_chart(
        chart, [Line("steps", [(0, 5.0), (100, 120.0)])], 100, "%", [Mark(40, "limit"), Mark(400, "far")]
    )
    root = ElementTree.fromstring(drawn)  # noqa: S314  # drawn here
    texts = [each.text for each in root.iter("text")]
    assert "<1 min>" in texts
    assert "limit" in texts
    assert "far" not in texts, "a line beyond the chart is not drawn"
    assert [each.text for each in root.iter("title")] == ["5 % & up", "</svg>"]
    assert root.attrib["aria-label"] == "a <b>"


@given(
    st.lists(
        st.tuples(st.floats(0, 1e6), st.none() | st.floats(0, 100)).map(lambda pair: (pair[0], pair[1])),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_every_point_stays_inside_the_view_box(points: list[tuple[float, float | None]], stepped: bool) -> None:
    ordered = sorted(points, key=lambda pair: pair[0])
    drawn = level_chart(Chart("c", "c", "t"), [Line("steps", ordered, stepped=stepped)], 100, "%")
    for pair in re.findall(r'points="([^"]*)"', drawn):
        for point in pair.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 520
            assert 0 <= y <= 250
