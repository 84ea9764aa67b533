"""What a notebook shows: the curve and value table of a schedule, the sentences of the tools."""

import re
import time
import xml.etree.ElementTree as ET

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched._desk.curve import curve, pieces, pieces_of
from jaxsched._desk.notebook import _MOST_CALLS, _MOST_VALUES, _SAMPLES
from jaxsched._desk.placed import default_counts
from jaxsched._desk.show import table
from tests import test_words
from tests.schedules import LONG, MORE, OF_FUNCTIONS, SHORT

ALL = SHORT + LONG + MORE + OF_FUNCTIONS


def parts(schedule):
    """The line's points, the texts of the picture, and the table."""
    root = ET.fromstring(schedule._repr_html_())
    svg, pre = root.find("svg"), root.find("pre")
    line = svg.findall("path")[1].get("d")
    x = y = None
    points = []
    for command, numbers in re.findall(r"([MLH])([-\d. e]+)", line):
        x, *rest = map(float, numbers.split())
        y = rest[0] if rest else y
        points.append((command, x, y))
    return points, [text.text for text in svg.iter("text")], pre.text or ""


@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: type(schedule).__name__)
def test_each_schedule_has_a_curve_without_script_or_style(schedule):
    html = schedule._repr_html_()
    assert len(html) < 12_000 and "currentColor" in html
    root = ET.fromstring(html)
    tags = {element.tag for element in root.iter()}
    assert tags <= {"div", "code", "svg", "path", "g", "text", "pre"}
    assert not [element for element in root.iter() if element.get("id") or element.get("class")]
    points, *_ = parts(schedule)
    assert points and all(54 <= x <= 472 and 8 <= y <= 110 for _, x, y in points)


@pytest.mark.parametrize("schedule", SHORT, ids=lambda schedule: type(schedule).__name__)
def test_the_table_is_that_of_show(schedule):
    num_counts = default_counts(schedule)
    assert parts(schedule)[2] == table(schedule, curve(schedule, num_counts), None)


def test_steps_are_drawn_as_steps():
    points, texts, _ = parts(js.MultiStepLR(0.1, [30, 60], gamma=0.5))  # of 64 counts
    assert texts == ["0.1", "0", "epoch 0", "64"]
    assert [command for command, *_ in points] == ["M", *"HLHLHLHL"[: len(points) - 1]]
    first, second = 54 + 418 * 30 / 65, 54 + 418 * 60 / 65
    expected = [(54, 8), (first, 8), (first, 59), (second, 59), (second, 84.5)]
    np.testing.assert_allclose([point[1:] for point in points[:5]], expected, atol=0.06)


def test_what_moves_is_drawn_as_a_line():
    counts, cosine = np.arange(91), js.CosineAnnealingLR(0.1, 90)
    points, texts, _ = parts(cosine)
    assert texts == ["0.1", "0", "epoch 0", "90"]
    _, x, y = zip(*points, strict=True)
    drawn = (110 - np.interp(54 + counts * 418 / 90, x, y)) / 102 * 0.1
    np.testing.assert_allclose(drawn, cosine(counts), atol=2e-4)


def test_the_scale_is_log_where_it_shows_more_and_says_so():
    points, texts, _ = parts(js.MultiStepLR(0.1, [30, 60, 80]))
    assert texts == ["0.1", "0.0001", "epoch 0, log scale", "85"]
    assert {y for _, _, y in points} == {8, 42, 76, 110}


@pytest.mark.parametrize("schedule", SHORT + LONG, ids=lambda schedule: type(schedule).__name__)
def test_the_pieces_of_a_schedule_are_those_of_its_curve(schedule):
    num_counts = min(default_counts(schedule), 20_000)
    few = pieces_of(schedule, num_counts, 10**6)
    all_of_them = pieces(curve(schedule, num_counts))
    for a, b in zip(few, all_of_them, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_schedule_that_moves_at_very_many_counts_is_drawn_without_a_table():
    points, texts, text = parts(js.CosineAnnealingLR(0.1, 10**6))
    assert len(points) > 100 and texts[-1] == "999,999" and text == ""
    assert (
        "for      0 <= update < 150120" in parts(js.per_epoch(js.MultiStepLR(0.1, [30]), 5004))[2]
    )


@pytest.mark.parametrize(
    "schedule",
    [
        js.StepLR(jnp.array([0.1, 0.2]), 3),
        js.LambdaLR(0.1, lambda count: 1 / 0),
        js.LambdaLR(0.1, lambda count: "a"),
        js.LambdaLR(0.1, lambda count: 1.0, horizon=10**6),
    ],
)
def test_what_has_no_curve_is_shown_as_text(schedule):
    assert schedule._repr_html_() is None


def test_the_limits_are_those_on_the_page():
    page = test_words.flat("look")
    words = f"more than {_MOST_VALUES:,} counts the curve is drawn through {_SAMPLES:,} of them"
    assert words in page and f"Of one that calls a function, {_MOST_CALLS}." in page
    calls = []
    function = js.per_epoch(lambda count: calls.append(count) or 0.1, 7)
    js.SequentialLR([js.StepLR(0.1, 3), function], [1000])._repr_html_()
    assert len(calls) <= _MOST_CALLS


def test_a_schedule_that_holds_tracers_is_shown_as_text():
    seen = []
    jax.jit(lambda lr: seen.append(js.StepLR(lr, 3)._repr_html_()))(0.1)
    assert seen == [None]


@pytest.mark.parametrize(
    "schedule",
    [
        js.LambdaLR(0.1, lambda count: float("nan")),
        js.LambdaLR(0.1, lambda count: float("nan") if count < 50 else 1.0),
        js.ExponentialLR(1e300, 1.5),
        js.StepLR(1e-320, 3),
        js.StepLR(0.0, 3),
        js.RecordedLR([0.1]),
        js.RecordedLR([-1.0, 1.0]),
        js.per_epoch(js.StepLR(0.1, 2), 2**61),
        js.RecordedLR(np.linspace(0, 1, 40_000)),
        js.LambdaLR(0.1, lambda count: 1.0),
    ],
)
def test_no_values_are_too_strange_to_draw(schedule):
    html = schedule._repr_html_()
    assert ET.fromstring(html) is not None and "nan" not in html[: html.index("<pre")]


def test_it_takes_few_milliseconds():
    schedules = [s for s in SHORT + LONG if not any(part._is_traced for part in s._walk())]
    assert len(schedules) > 30
    for schedule in schedules:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            schedule._repr_html_()
            times.append(time.perf_counter() - start)
        assert min(times) < 0.02, schedule


def test_the_text_stays_the_call():
    schedule = js.StepLR(0.1, 3)
    assert repr(schedule) == "StepLR(0.1, step_size=3, gamma=0.1)"
    assert f"<code>{schedule}</code>" in schedule._repr_html_()


def test_a_comparison_shows_its_sentences():
    comparison = js.compare(js.StepLR(0.1, 2), [0.1, 0.1, 0.1, 0.01, 0.01])
    assert repr(comparison) == str(comparison)
    html = comparison._repr_html_()
    assert html.startswith("<div>Different at count 2: expected 0.01, found 0.1")
    assert html.count("<div>") == len(str(comparison).splitlines())
