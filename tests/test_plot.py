"""plot: steps as steps, also of a long run; milestones, epochs, a log scale where it helps."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest
from matplotlib.figure import Figure

import jaxsched as js
from jaxsched._desk.plot import save
from tests.marks import one_in, slow_case
from tests.schedules import OF_FUNCTIONS, SHORT

MILESTONES = js.MultiStepLR(0.1, [100, 150])
COSINE = js.CosineAnnealingLR(0.1, 90)
WARMUP = js.LinearLR(0.1, 0.01, total_iters=500)


def plot(schedule, num_counts=None, **options):
    return js.plot(schedule, num_counts, ax=Figure().subplots(), **options)


def points(schedule, num_counts):
    (line,) = plot(schedule, num_counts).lines
    return line.get_drawstyle(), line.get_xdata().tolist(), line.get_ydata().tolist()


def seen(schedule, num_counts):
    """What the drawn line shows at each count."""
    style, x, y = points(schedule, num_counts)
    counts = np.arange(num_counts)
    if style == "steps-post":
        return np.array(y)[np.searchsorted(x, counts, side="right") - 1]
    last = np.searchsorted(x, counts, side="right") - 1
    return np.where(np.array(x)[last] == counts, np.array(y)[last], np.interp(counts, x, y))


def test_steps_are_drawn_as_steps():
    style, x, y = points(MILESTONES, 200)
    assert style == "steps-post" and x == [0, 100, 150, 200]
    np.testing.assert_allclose(y, [0.1, 0.01, 0.001, 0.001])


@pytest.mark.parametrize(
    ("schedule", "style"),
    [
        (js.StepLR(0.1, 1), "steps-post"),
        (js.per_epoch(COSINE, 3), "steps-post"),
        (js.per_epoch(js.SequentialLR([WARMUP, COSINE], [3]), 3), "steps-post"),
        (js.RecordedLR([0.1, 0.3, 0.2]), "steps-post"),
        (js.clamp(MILESTONES, 3), "steps-post"),
        (COSINE, "default"),
        (js.smooth_epochs(COSINE, 3), "default"),
        (js.clamp(COSINE, 3), "default"),
        (js.SequentialLR([WARMUP, MILESTONES], [3]), "default"),
        (optax.exponential_decay(0.1, 10, 0.5), "default"),
    ],
)
def test_what_stands_still_is_drawn_as_steps_and_what_moves_as_a_line(schedule, style):
    assert points(schedule, 40)[0] == style


def test_a_step_in_a_line_is_vertical():
    sequence = js.SequentialLR([js.LinearLR(0.1, 0.5, total_iters=2), js.StepLR(0.1, 3)], [2])
    _, x, y = points(sequence, 8)
    pairs = list(dict.fromkeys(zip(x, np.round(y, 6).tolist(), strict=True)))
    assert pairs == [(0, 0.05), (1, 0.075), (2, 0.1), (5, 0.1), (5, 0.01), (8, 0.01)]


LONG_RUNS = [
    (js.StepLR(0.1, 20_000, gamma=0.9), 10**6, True),
    (js.MultiStepLR(0.1, [123_456, 123_457, 654_321]), 10**6, True),
    (js.SequentialLR([WARMUP, js.per_epoch(MILESTONES, 5000)], [500]), 10**6, True),
    (js.per_epoch(js.ExponentialLR(0.1, 0.9999), 10), 10**5, False),
    (js.CyclicLR(0.1, 0.3, 11), 10**6, False),
    (js.CosineAnnealingWarmRestarts(0.1, 1000, 2), 10**6, False),
]


@pytest.mark.parametrize(("schedule", "num_counts", "is_exact"), one_in(2, LONG_RUNS))
def test_a_long_run_has_few_points_and_loses_no_step(schedule, num_counts, is_exact):
    _, x, y = points(schedule, num_counts)
    lrs = schedule(np.arange(num_counts))
    assert len(x) < 15_000 and x[0] == 0 and x[-1] in (num_counts - 1, num_counts)
    assert max(y) == lrs.max() and min(y) == lrs.min()
    if is_exact:
        np.testing.assert_array_equal(seen(schedule, num_counts), lrs)
        return
    x, y, near = np.array(x), np.array(y), num_counts // 1000
    for part in np.split(np.arange(num_counts), 100):
        drawn = y[(part[0] - near <= x) & (x <= part[-1] + near)]
        assert drawn.max() >= lrs[part].max() - 0.01 * lrs.max()
        assert drawn.min() <= lrs[part].min() + 0.01 * lrs.max()


def test_in_a_long_run_a_spike_and_a_level_between_fast_changes_are_drawn():
    fast = np.linspace(0.1, 0.2, 20_000) + 0.01 * (np.arange(20_000) % 2)
    spikes = fast.copy()
    spikes[[7_003, 13_007]] = 0.5, 0.01
    lrs = np.concatenate([spikes, np.full(5_000, fast[-7]), fast[::-1]])
    style, x, y = points(js.RecordedLR(lrs), len(lrs))
    assert (style, len(x) < 5000) == ("steps-post", True)
    drawn = dict(zip(x, y, strict=True))
    assert drawn[7_003] == 0.5 and drawn[13_007] == 0.01
    assert drawn[20_000] == fast[-7] and drawn[25_000] == lrs[25_000]


@pytest.mark.parametrize("schedule", [s for s, *_ in LONG_RUNS[1:3]] + [MILESTONES, COSINE])
def test_what_is_drawn_is_the_schedule(schedule):
    num_counts = 200 if schedule in (MILESTONES, COSINE) else 10**6
    np.testing.assert_allclose(
        seen(schedule, num_counts), schedule(np.arange(num_counts)), rtol=0.05
    )


def marks(ax):
    return [segment[0][0] for segment in ax.collections[0].get_segments()]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (MILESTONES, [100, 150]),
        (js.per_epoch(js.MultiStepLR(0.1, [2, 90]), 10), [20]),
        (js.SequentialLR([WARMUP, js.MultiStepLR(0.1, [30])], [50]), [50, 80]),
        (js.SequentialLR([js.MultiStepLR(0.1, [30, 70]), COSINE], [50]), [30, 50]),
        (js.MultiStepLR(0.1, [199, 200]), [199]),  # the run ends before count 200
        (js.clamp(js.MultiStepLR(0.1, [30, 31]), 30), [30]),
        (js.MultiStepLR(0.1, [2**61]), []),
        (js.MultiStepLR(0.1, range(1, 101)), [*range(1, 101)]),
        (js.StepLR(0.1, 3), []),
    ],
)
def test_milestones_are_marked_where_they_act(schedule, expected):
    assert marks(plot(schedule, 200)) == expected


def test_more_than_a_hundred_milestones_are_not_marked():
    assert not plot(js.MultiStepLR(0.1, range(1, 102)), 200).collections


def upper(ax):
    """The limits of the epochs' axis."""
    ax.set_xlim(0, 100)
    ax.figure.draw_without_rendering()
    return [(child.get_xlabel(), child.get_xlim()[1]) for child in ax.child_axes]


@pytest.mark.parametrize(
    ("schedule", "steps", "label", "expected"),
    [
        (MILESTONES, None, "count", []),
        (MILESTONES, 50, "update", [("epoch", 2)]),
        (js.per_epoch(MILESTONES, 25), None, "update", [("epoch", 4)]),
        (js.per_epoch(MILESTONES, [25, 20]), None, "update", []),
        (js.OneCycleLR(0.1, epochs=3, steps_per_epoch=50), None, "update", [("epoch", 2)]),
        ({"a": js.per_epoch(COSINE, 5), "b": js.per_epoch(COSINE, 4)}, None, "update", []),
        (
            {"a": js.per_epoch(COSINE, 5), "b": js.per_epoch(COSINE, 4)},
            5,
            "update",
            [("epoch", 20)],
        ),
    ],
)
def test_epochs_are_on_a_second_axis(schedule, steps, label, expected):
    ax = plot(schedule, 200, steps_per_epoch=steps)
    assert ax.get_xlabel() == label and ax.get_ylabel() == "learning rate"
    assert upper(ax) == expected


@pytest.mark.parametrize(
    ("schedule", "scale"),
    [
        (MILESTONES, "log"),
        (js.ExponentialLR(0.1, 0.95), "log"),
        (js.LinearLR(0.1, 0.0), "linear"),
        (COSINE, "linear"),
        ({"a": COSINE, "b": MILESTONES}, "log"),
    ],
)
def test_the_scale_is_log_where_it_shows_more(schedule, scale):
    assert plot(schedule, 200).get_yscale() == scale


@pytest.mark.parametrize(
    ("schedule", "num_counts"),
    [
        (MILESTONES, 159),
        (js.StepLR(0.1, 30), 90),
        (js.OneCycleLR(0.1, 100), 107),
        (optax.exponential_decay(0.1, 10, 0.5), 100),
        ({"a": COSINE, "b": MILESTONES}, 159),
        ([MILESTONES, COSINE], 159),
    ],
)
def test_without_a_length_it_is_drawn_until_it_is_over(schedule, num_counts):
    lines, expected = plot(schedule).lines, plot(schedule, num_counts).lines
    assert len(lines) == len(expected)
    for line, same in zip(lines, expected, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), same.get_xydata())


def test_a_list_is_drawn_together_with_its_texts():
    long = js.per_epoch(js.SequentialLR([WARMUP, COSINE, COSINE], [3, 9]), 3)
    texts = plot([MILESTONES, long, COSINE, COSINE], 200).get_legend().get_texts()
    first, second, *others = [text.get_text() for text in texts]
    assert first == str(MILESTONES) and len(second) <= 60 and second.endswith(" ...")
    assert others == [f"2: {COSINE}", f"3: {COSINE}"]


def test_the_momentum_has_an_axis_of_its_own():
    schedule = js.OneCycleLR(0.1, 100)
    ax = plot(schedule, momentum=schedule.momentum)
    (right,) = (other for other in ax.figure.axes if other is not ax)
    (line,) = right.lines
    assert right.get_ylabel() == "momentum" and ax.get_ylabel() == "learning rate"
    counts = np.arange(100)
    np.testing.assert_allclose(
        np.interp(counts, *line.get_xydata().T), schedule.momentum(counts), atol=1e-3
    )
    assert ax.lines[0].get_color() == ax.yaxis.label.get_color() != line.get_color()
    assert right.yaxis.label.get_color() == line.get_color()
    assert len(ax.lines) == 1 and ax.get_legend() is None
    stands = js.per_epoch(js.OneCycleLR(0.1, 10).momentum, 10)
    assert plot(stands, momentum=stands).figure.axes[1].lines[0].get_drawstyle() == "steps-post"


def test_a_dict_is_drawn_together_with_a_legend():
    ax = plot({"mine": COSINE, 3: MILESTONES}, 200)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["mine", "3"]
    assert len(ax.lines) == 2 and plot(COSINE, 200).get_legend() is None


def test_each_schedule_can_be_drawn():
    plot(SHORT + OF_FUNCTIONS, 40).figure.draw_without_rendering()
    for schedule in SHORT + OF_FUNCTIONS:
        assert len(plot(schedule, 40).lines) == 1, schedule


@pytest.mark.parametrize(
    ("schedule", "num_counts"),
    [
        (js.ExponentialLR(0.1, 2.0), 3000),
        (js.StepLR(1e-320, 3), 9),
        (js.LambdaLR(0.1, lambda count: float("nan")), 9),
        *(
            slow_case(*values)
            for values in (
                (js.StepLR(0.1, 1), 1000),
                (js.ExponentialLR(1e300, 1.5), 30),
                (js.StepLR(0.0, 3), 9),
                (js.StepLR(0.1, 3), 1),
                (js.LambdaLR(0.1, lambda count: -1.0 * count), 9),
                (js.per_epoch(js.StepLR(0.1, 2), 2**61), 9),
            )
        ),
    ],
)
def test_no_values_are_too_strange_to_draw(schedule, num_counts, tmp_path):
    save(str(tmp_path / "lr.svg"), "title", schedule, num_counts, None)
    assert (tmp_path / "lr.svg").stat().st_size > 1000


def test_without_axes_it_is_a_figure_of_pyplot():
    plt.switch_backend("agg")
    assert plt.gca() is not (ax := js.plot(COSINE, 9)) and plt.gca() is ax
    plt.close("all")


@pytest.mark.slow
def test_without_axes_it_needs_no_display():
    program = """
import jaxsched as js
ax = js.plot(js.StepLR(0.1, 3), 9)
import matplotlib.pyplot as plt
assert plt.gca() is ax and plt.get_backend().lower() == "agg", plt.get_backend()
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={"JAX_PLATFORMS": "cpu"})


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"plot needs matplotlib: pip install matplotlib"):
        js.plot(COSINE, 9)


@pytest.mark.parametrize(
    ("schedule", "num_counts", "options", "error", "message"),
    [
        ({}, 9, {}, ValueError, "`schedule` must be one or more schedules, got an empty dict"),
        ([], 9, {}, ValueError, "`schedule` must be one or more schedules, got an empty list"),
        ([0.1], 9, {}, TypeError, "`schedule` must be a callable count -> value, got 0.1"),
        (COSINE, 9, {"momentum": 0.9}, TypeError, "`momentum` must be a callable count -> value"),
        (0.1, 9, {}, TypeError, "`schedule` must be a callable count -> value, got 0.1"),
        (js.ReduceLROnPlateau(0.1), 9, {}, TypeError, "`schedule` must be a function of a count"),
        (COSINE, 0, {}, ValueError, "`num_counts` must be an integer >= 1, got 0"),
        (
            COSINE,
            9,
            {"steps_per_epoch": 0},
            ValueError,
            "`steps_per_epoch` must be an integer >= 1",
        ),
        (COSINE, 9, {"ax": 3}, TypeError, "`ax` must be axes of matplotlib, got 3"),
    ],
)
def test_bad_arguments_are_refused(schedule, num_counts, options, error, message):
    with pytest.raises(error, match=message):
        js.plot(schedule, num_counts, **{"ax": Figure().subplots(), **options})


def test_a_log_is_drawn_over_its_schedule_with_what_differs():
    schedule = js.MultiStepLR(0.1, [30, 60])
    late = {"step": np.arange(1, 81), "lr": schedule(np.arange(80) - 1)}
    ax = plot(schedule, recorded=late)
    drawn = {line.get_label(): line.get_xydata() for line in ax.lines}
    assert [*drawn] == ["schedule", "log", "log, where it differs"]
    np.testing.assert_allclose(drawn["log, where it differs"], [(30, 0.1), (60, 0.01)], rtol=1e-15)
    counts = [count for count in range(80) if count not in (30, 60)]
    np.testing.assert_array_equal(drawn["log"][:, 0], counts)
    np.testing.assert_array_equal(drawn["log"][:, 1], schedule(np.array(counts)))
    assert ax.lines[0].get_xdata()[-1] == 80
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [*drawn]
    (_, rows) = plot(schedule, recorded=schedule(np.arange(50))).lines  # equal
    assert rows.get_label() == "log" and len(rows.get_xdata()) == 50
    both = plot({"a": schedule, "b": js.StepLR(0.1, 20)}, 40, recorded=schedule(np.arange(50)))
    assert [line.get_label() for line in both.lines] == ["a", "b", "log"]
    assert len(both.lines[-1].get_xdata()) == 40
    long = plot(schedule, recorded=schedule(np.arange(10**5)) + 1e-3 * (np.arange(10**5) == 777))
    (_, rows, wrong) = long.lines
    assert len(rows.get_xdata()) == 2000 and wrong.get_xdata().tolist() == [777]


@pytest.mark.parametrize(("gap", "updates"), [(1, None), (3, None), (1, 4)])
def test_a_plateau_is_drawn_as_the_logs_metrics_have_it(gap, updates):
    plateau = js.ReduceLROnPlateau(0.1, factor=0.5, patience=1)
    losses = [3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0]  # cut after the rows 3 and 7
    lrs = [0.1] * 4 + [0.05] * 4 + [0.025] * 2
    counts = gap * np.arange(10)
    if updates:  # the first of each epoch's metrics is not told
        counts = np.arange(10 * updates)
        losses = np.stack([[9.0] * 10, *[losses] * (updates - 1)], axis=1).ravel().tolist()
        lrs = np.repeat(lrs, updates).tolist()
    wrong = [*lrs[:-1], 0.1]
    log = {"step": counts, "lr": wrong, "val_loss": losses}
    ax = plot({"mine": plateau}, recorded=log, steps_per_epoch=updates)
    drawn = {line.get_label(): line.get_xydata() for line in ax.lines}
    assert [*drawn] == ["mine", "log", "log, where it differs"]
    places, values = drawn["mine"].T
    every = np.arange(counts[-1] + 1)
    shown = values[np.searchsorted(places, every, side="right") - 1]
    expected = np.repeat(lrs, gap)[: len(every)]
    np.testing.assert_allclose(shown, expected, rtol=1e-15)
    np.testing.assert_array_equal(drawn["log, where it differs"], [(counts[-1], 0.1)])
    with pytest.raises(TypeError, match="whose learning rates depend on a metric"):
        plot(plateau)


def test_a_schedule_is_no_log():
    with pytest.raises(TypeError, match="`recorded` must be a log; schedules .* as a list"):
        plot(js.StepLR(0.1, 3), recorded=js.StepLR(0.1, 4))
