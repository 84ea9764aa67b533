"""`jaxsched compare`: what `show --csv` wrote is equal, anything else differs."""

import pytest

import jaxsched as js
from tests.test_command import MILESTONES, run

SCHEDULES = [
    (MILESTONES, ()),
    (MILESTONES, ("--steps-per-epoch", "7")),
    ("per_epoch(CosineAnnealingLR(0.1, 90), 7)", ()),
    ("SequentialLR([LinearLR(0.1, 0.01, total_iters=50), ExponentialLR(0.1, 0.99)], [50])", ()),
]


@pytest.fixture
def log(tmp_path):
    def write(text, *options):
        path = str(tmp_path / "lr.csv")
        assert run("show", text, "--counts", "200", "--csv", path, *options)[0] == 0
        return path

    return write


@pytest.mark.parametrize(("text", "options"), SCHEDULES)
def test_what_show_writes_is_equal(log, text, options):
    path = log(text, *options)
    status, out, err = run("compare", path, text)
    assert (status, err) == (0, "")
    assert out == f"{js.compare(js.parse(text), path)}\n"


def test_what_differs_has_status_1(log):
    path = log(MILESTONES)
    status, out, err = run("compare", path, "MultiStepLR(0.1, [101, 150])")
    assert (status, err) == (1, "")
    comparison = js.compare(js.MultiStepLR(0.1, [101, 150]), path)
    assert not comparison.equal and out == f"{comparison}\n"


def test_steps_per_epoch_is_passed_on(log):
    path = log("per_epoch(MultiStepLR(0.1, [100, 150]), 391)")
    status, out, err = run("compare", path, MILESTONES, "--steps-per-epoch", "391")
    assert err == ""
    assert out == f"{js.compare(js.parse(MILESTONES), path, steps_per_epoch=391)}\n"


def test_the_picture_has_the_log_over_the_schedule(log, tmp_path):
    path, picture = log("per_epoch(MultiStepLR(0.1, [3, 9]), 20)"), tmp_path / "lr.svg"
    for text in ("MultiStepLR(0.1, [3, 9])", "MultiStepLR(0.1, [3, 7])"):
        line = ("compare", path, text, "--steps-per-epoch", "20")
        status, out, err = run(*line, "--plot", str(picture))
        assert (status, err) == (run(*line)[0], "") and out == f"{run(*line)[1]}wrote {picture}\n"
        drawn = picture.read_text()
        assert "<!-- log -->" in drawn and "<!-- epoch -->" in drawn
        assert ("<!-- log, where it differs -->" in drawn) == bool(status)
    plateau = ("compare", path, "ReduceLROnPlateau(0.1)", "--plot", str(picture))
    assert run(*plateau)[0] == 2  # there is no metric
    log_of_plateau = tmp_path / "plateau.csv"
    log_of_plateau.write_text("epoch,lr,val_loss\n0,0.1,2\n1,0.1,2\n2,0.1,2\n3,0.01,2\n")
    plateau = ("compare", str(log_of_plateau), "ReduceLROnPlateau(0.1, patience=1)")
    status, out, err = run(*plateau, "--plot", str(picture))
    assert (status, err) == (0, "") and out.endswith(f"wrote {picture}\n")
    assert "<!-- ReduceLROnPlateau(0.1, " in picture.read_text()


def test_what_is_wrong_is_one_line_and_status_2(log, tmp_path):
    path = log(MILESTONES)
    (tmp_path / "noise.csv").write_bytes(bytes(range(256)))
    (tmp_path / "empty.csv").write_text("")
    for argv in (
        (str(tmp_path / "missing.csv"), MILESTONES),
        (str(tmp_path), MILESTONES),
        (str(tmp_path / "noise.csv"), MILESTONES),
        (str(tmp_path / "empty.csv"), MILESTONES),
        (path, "MultiStepLR(0.1, [100, x])"),
        (path, MILESTONES, "--steps-per-epoch", "0"),
    ):
        status, out, err = run("compare", *argv)
        assert (status, out) == (2, "") and err.count("\n") == 1, argv
        assert err.startswith("jaxsched: error: ")
    assert "column 24: " in run("compare", path, "MultiStepLR(0.1, [100, x])")[2]


def test_the_log_comes_first(log):
    status, _, error = run("compare", MILESTONES, log(MILESTONES))
    assert status == 2 and "error: LOG comes first, as in jaxsched compare lr.csv" in error
