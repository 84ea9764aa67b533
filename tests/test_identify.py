"""identify: planted schedules come back, what is read gives every row, and noise is refused."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import jaxsched as js
from benchmarks import identify as planted
from jaxsched._desk.identify.identify import read
from tests.marks import one_in, slow_case
from tests.test_command import run

SEEDS = st.integers(0, 2**32)
OTHER_LINES = {  # recipes that are read as another line, which is equal at every count
    "SequentialLR([LinearLR(0.5, 0.01, total_iters=5), MultiStepLR(0.5, [25, 55, 75])], [5])": (
        "ChainedScheduler([LinearLR(0.5, 0.01, total_iters=5), MultiStepLR(0.5, [30, 60, 80])])"
    ),
    "ChainedScheduler([LinearLR(0.1, 0.001, total_iters=500), "
    "per_epoch(MultiStepLR(0.1, [3, 8]), 100)])": (
        "ChainedScheduler([LinearLR(0.1, 0.001, total_iters=500), MultiStepLR(0.1, [300, 800])])"
    ),
}


def log_of(text):
    schedule = js.parse(text)
    return schedule, schedule(np.arange(planted.RECIPES[text]))


@pytest.mark.parametrize("dtype", [np.float64, slow_case(np.float32)])
@pytest.mark.parametrize("text", one_in(2, planted.RECIPES))
def test_a_recipe_is_read_as_its_line(text, dtype):
    schedule, lrs = log_of(text)
    assert js.identify(lrs.astype(dtype)) == js.parse(OTHER_LINES.get(text, text))


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(SEEDS, st.sampled_from(sorted(planted.FORMS)))
def test_whatever_is_read_gives_every_row(seed, form):
    schedule, n = planted.random_run(random.Random(seed))
    log = planted.FORMS[form](schedule(np.arange(n)))
    found, read, _ = planted.outcome(schedule, n, log)
    assert found != "wrong", (schedule, read)


@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
@given(SEEDS)
def test_noise_is_refused(seed):
    with pytest.raises(ValueError, match="`recorded`"):
        js.identify(planted.noise(random.Random(seed)))


@pytest.mark.slow
def test_the_table_in_the_docs_is_what_the_command_prints(capsys):
    planted.main()
    printed = re.sub(r" +[\d.]+ s$", "", capsys.readouterr().out, flags=re.MULTILINE)
    page = (Path(__file__).parents[1] / "docs" / "pages" / "identify.md").read_text()
    assert re.sub(r" +slowest$", "", printed, flags=re.MULTILINE).strip() in re.sub(
        r" +(slowest|[\d.]+ s)$", "", page, flags=re.MULTILINE
    )
    assert not re.search(r"^noise +100 +0 +0 +[1-9]", printed, re.MULTILINE)


# -- what a log may look like --------------------------------------------------------------------


STEPS = js.MultiStepLR(0.1, [30, 60, 80])


def test_rows_may_be_few():
    lrs = STEPS(np.arange(90))
    assert js.identify({"step": range(0, 90, 5), "lr": lrs[::5]}) == STEPS
    with pytest.raises(ValueError, match="cannot tell .* differ at count .*, between rows"):
        js.identify({"step": range(0, 90, 10), "lr": lrs[::10]})
    cosine = js.CosineAnnealingLR(5e-4, 10**6, 1e-5)
    steps = np.arange(0, 10**6, 5000)
    assert js.identify({"step": steps, "lr": cosine(steps).astype(np.float32)}) == cosine


def test_steps_per_epoch_reads_in_epochs():
    schedule = js.per_epoch(js.StepLR(0.1, 30), 391)
    lrs = schedule(np.arange(90 * 391))
    assert js.identify(lrs) == js.StepLR(0.1, 11730)
    assert js.identify(lrs, steps_per_epoch=391) == schedule
    assert js.identify({"epoch": range(90), "lr": lrs[::391]}, steps_per_epoch=391) == schedule
    uneven = js.per_epoch(js.MultiStepLR(0.1, [3, 5, 6]), [10, 12, 9])
    assert js.identify(uneven(np.arange(90)), steps_per_epoch=[10, 12, 9]) == uneven


def test_rows_numbered_from_1_are_read_from_count_0():
    schedule = js.SequentialLR([js.LinearLR(0.1, 0.1), js.CosineAnnealingLR(0.1, 85)], [5])
    log = {"epoch": range(1, 91), "lr": schedule(np.arange(90))}
    assert js.identify(log) == schedule
    found = read(log)
    assert not isinstance(found, str)
    assert "They are numbered from 1, which is count 0." in found.notes


@pytest.mark.slow
def test_a_million_rows():
    warmup, cosine = js.LinearLR(3e-4, 0.0, total_iters=2000), js.CosineAnnealingLR(3e-4, 998000)
    schedule = js.SequentialLR([warmup, cosine], [2000])
    assert js.identify(schedule(np.arange(10**6))) == schedule


# -- what a log cannot tell ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "log, said",
    [
        ([0.1] * 90, "cannot tell: it has one learning rate, 0.1, in all 90 rows"),
        ([0.1, 0.05, 0.02], "cannot tell: it must have at least 4 rows, got 3"),
        (60 * [0.1] + 30 * [0.01], r"StepLR.*step_size=60.* from MultiStepLR.*\(60,\).*count 120"),
        ([0.1, 0.3, 0.2, 0.7, 0.4], "the learning rate changes in every row, in no way"),
        ([0.3, 0.1, 0.1, 0.2, 0.7], "the learning rate changes at counts 1, 3, 4, in no way"),
        ([0.1 - 0.001 * n for n in range(40)] + [0.9] * 4, r"gives those before count 40, .* 0.9$"),
    ],
)
def test_what_cannot_be_read_says_what_was_seen(log, said):
    with pytest.raises(ValueError, match=said):
        js.identify(log)


def test_what_the_log_does_not_reach_is_said():
    cosine = js.CosineAnnealingLR(0.1, 200)
    found = read(cosine(np.arange(150)))
    assert not isinstance(found, str) and found.schedule == cosine
    assert found.notes == ("The rows end at count 149: the schedule is right as far as they go.",)
    whole = read(js.clamp(cosine, 200)(np.arange(220)))
    assert not isinstance(whole, str) and not whole.notes


def test_another_schedule_that_goes_on_differently_is_named():
    found = read(js.StepLR(0.1, 30)(np.arange(90)))
    assert not isinstance(found, str) and found.schedule == js.StepLR(0.1, 30)
    assert any(note.startswith("MultiStepLR(0.1, milestones=(30, 60)") for note in found.notes)


# -- the command ---------------------------------------------------------------------------------


def test_the_command_prints_the_line_and_draws(tmp_path):
    path, picture = tmp_path / "lr.csv", tmp_path / "lr.png"
    assert run("show", repr(STEPS), "--counts", "200", "--csv", str(path))[0] == 0
    status, out, err = run("identify", str(path), "--plot", str(picture))
    assert (status, err) == (0, "")
    assert out == f"{STEPS!r}\n'epoch' counts the rows.\nwrote {picture}\n"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_command_has_status_1_where_nothing_is_identified(tmp_path):
    path = tmp_path / "lr.csv"
    path.write_text("step,lr\n" + "".join(f"{n},{n * n % 7}\n" for n in range(30)))
    status, out, err = run("identify", str(path))
    assert (status, err) == (1, "") and out.startswith("nothing gives all rows of `recorded`")
    assert run("identify", str(tmp_path / "none.csv"))[0] == 2
    assert run("identify", str(path), "--lr", "x")[0] == 2
