"""The command line: what it prints, its exit status, and that no input shows a traceback."""

import contextlib
import io
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import jaxsched as js
from jaxsched._desk.command import main
from jaxsched._desk.curve import curve
from jaxsched._desk.placed import default_counts
from jaxsched._desk.show import sparkline, table
from tests.marks import slow_case
from tests.schedules import LONG, MORE, SHORT

MILESTONES = "MultiStepLR(0.1, [100, 150])"


def run(*argv):
    """The exit status, and what goes to stdout and to stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(argv)
        except SystemExit as end:  # of argparse
            status = end.code
    return status, out.getvalue(), err.getvalue()


def shown(text, *options):
    """The rows of the table."""
    status, out, err = run("show", text, *options)
    assert (status, err) == (0, "")
    return out.split("\n\n")[1].splitlines()


TABLES = {
    MILESTONES: [
        "0.1      for   0 <= epoch < 100",
        "0.01     for 100 <= epoch < 150",
        "0.001    for 150 <= epoch",
    ],
    "StepLR(0.05, 30)": [
        "0.05      for  0 <= epoch < 30",
        "0.005     for 30 <= epoch < 60",
        "0.0005    for 60 <= epoch < 90",
    ],
    "per_epoch(MultiStepLR(0.1, [100, 150]), 391)": [
        "0.1      for     0 <= update < 39100    (  0 <= epoch < 100)",
        "0.01     for 39100 <= update < 58650    (100 <= epoch < 150)",
        "0.001    for 58650 <= update            (150 <= epoch)",
    ],
    "per_epoch(StepLR(0.5, 1, 0.25), [3, 2])": [
        "0.5           for 0 <= update < 3",
        "0.125         for 3 <= update < 5",
        "0.03125       for 5 <= update < 7",
        "0.0078125     for 7 <= update < 9",
        "0.00195312    for 9 <= update < 11",
    ],
    "LinearLR(0.05, 0.5, 1.0, 4)": [
        "0.025, 0.03125, 0.0375, 0.04375    for 0 <= epoch < 4",
        "0.05                               for 4 <= epoch",
    ],
    "PolynomialLR(0.1, 30)": [
        "0.1 ... 0.00333333    for  0 <= epoch < 30",
        "0                     for 30 <= epoch",
    ],
    "CosineAnnealingLR(0.1, 90)": ["0.1 ... 0    for 0 <= epoch < 91"],
    "CosineAnnealingWarmRestarts(0.1, 10)": [
        "0.1 ... 0.00244717    for 0 <= epoch < 10",
        "and again every 10 epochs",
    ],
    "CyclicLR(0.001, 0.006, 20)": [
        "0.001 ... 0.006        for  0 <= epoch < 21",
        "0.00575 ... 0.00125    for 21 <= epoch < 40",
        "and again every 40 epochs",
    ],
    "MultiStepLR(0.1, [])": ["0.1    for 0 <= epoch"],
    "MultiStepLR(0.1, [2305843009213693952])": ["0.1    for 0 <= epoch < 1000000"],
    "SequentialLR([LinearLR(0.1, 0.01, total_iters=1955), "
    "per_epoch(MultiStepLR(0.1, [95, 145]), 391)], [1955])": [
        "0.001 ... 0.0999494    for     0 <= update < 1955     (  0 <= epoch < 5)",
        "0.1                    for  1955 <= update < 39100    (  5 <= epoch < 100)",
        "0.01                   for 39100 <= update < 58650    (100 <= epoch < 150)",
        "0.001                  for 58650 <= update            (150 <= epoch)",
    ],
    "ChainedScheduler([LinearLR(0.1, 0.1, total_iters=50), MultiStepLR(0.1, [20, 60])])": [
        "0.01 ... 0.0442       for  0 <= epoch < 20",
        "0.0046 ... 0.00982    for 20 <= epoch < 50",
        "0.01                  for 50 <= epoch < 60",
        "0.001                 for 60 <= epoch",
    ],
    "per_epoch(SequentialLR([LinearLR(0.5, 0.01), CosineAnnealingLR(0.5, 85)], [5]), 10)": [
        "0.005 ... 0.5   for  0 <= update < 60   (0 <= epoch < 6)   each for 10 updates",
        "0.499829 ... 0  for 60 <= update < 910  (6 <= epoch < 91)  each for 10 updates",
    ],
    "OneCycleLR(0.1, epochs=10, steps_per_epoch=391, pct_start=0.5)": [
        "0.004 ... 0.1              for    0 <= update < 1955  (    0 <= epoch < 5)",
        "0.0999999 ... 4.64557e-07  for 1955 <= update < 3909  (    5 <= epoch < 9.997)",
        "4e-07                      for 3909 <= update         (9.997 <= epoch)",
    ],
}


@pytest.mark.parametrize("text", TABLES)
def test_show_prints_the_table_of_a_docstring(text):
    assert shown(text) == TABLES[text]


def test_the_mode_has_no_effect_beside_a_scale_fn():
    one = js.CyclicLR(0.1, 0.2, 2, scale_fn=lambda n: 1 / n)
    for mode in ("triangular", "triangular2", "exp_range"):
        schedule = js.CyclicLR(0.1, 0.2, 2, mode=mode, gamma=0.5, scale_fn=one.scale_fn)
        lrs = curve(schedule, 40)
        np.testing.assert_array_equal(lrs, one(np.arange(40)))
        assert "again" not in table(schedule, lrs, None)  # it has no period


def test_with_steps_per_epoch_the_counts_are_updates():
    assert shown(MILESTONES, "--steps-per-epoch", "50") == [
        "0.1      for   0 <= update < 100    (0 <= epoch < 2)",
        "0.01     for 100 <= update < 150    (2 <= epoch < 3)",
        "0.001    for 150 <= update          (3 <= epoch)",
    ]


def test_a_long_table_is_shortened():
    assert shown("StepLR(0.1, 1)", "--counts", "1000000") == [
        "0.1 ... 9.88131e-324    for   0 <= epoch < 323",
        "0                       for 323 <= epoch",
    ]
    rows = shown("CosineAnnealingWarmRestarts(0.1, 1, 2)", "--counts", "1000000")
    assert len(rows) == 13 and rows[-3] == "... 8 rows more"
    assert rows[-1] == "0.1 ... 0.00210317            for 524287 <= epoch < 1000000"


@pytest.mark.parametrize(
    "schedule",
    [*SHORT, *(slow_case(s) for s in LONG + MORE)],
    ids=lambda schedule: type(schedule).__name__,
)
def test_each_schedule_has_a_table_that_covers_the_run(schedule):
    num_counts = default_counts(schedule)
    lrs = curve(schedule, num_counts)
    assert num_counts <= 10**6 and len(table(schedule, lrs, None).splitlines()) <= 14
    for steps in (None, 7):
        rows = table(schedule, lrs, steps).splitlines()
        first, last = rows[0], rows[-1]
        assert first.startswith(f"{lrs[0]:.6g}") and " 0 <= " in first
        assert str(num_counts) in last or "again every" in last or "<" not in last.split("<=")[1]


@pytest.mark.parametrize(
    "schedule",
    [
        pytest.param(s, marks=pytest.mark.slow if s in LONG else ())
        for s in SHORT + LONG + MORE
        if not isinstance(s, (js.LambdaLR, js.MultiplicativeLR))
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_what_show_prints_fits_a_terminal(schedule):
    if len(repr(schedule)) > 10_000:
        return
    for options in ((), ("--steps-per-epoch", "123457")):
        status, out, err = run("show", str(schedule), *options)
        assert (status, err) == (0, "") and max(map(len, out.splitlines())) <= 80, out
        text, *_ = out.split("\n\n")
        assert " ".join(text.split()) == str(schedule)


def test_the_last_value_is_said_to_hold_only_if_it_does():
    assert shown(MILESTONES, "--counts", "120")[-1] == "0.01    for 100 <= epoch < 120"
    assert shown(MILESTONES, "--counts", "151")[-1] == "0.001    for 150 <= epoch"
    assert shown("StepLR(0.1, 30)", "--counts", "70")[-1] == "0.001    for 60 <= epoch < 70"


@pytest.mark.parametrize(
    ("text", "counts", "line"),
    [
        (MILESTONES, 200, "████▅▅▁▁    lr 0.001 to 0.1 on a log scale, epochs 0 to 199"),
        ("LinearLR(0.8, 0.0, total_iters=8)", 8, "▁▂▃▄▅▆▇█    lr 0 to 0.7, epochs 0 to 7"),
        ("ConstantLR(0.0)", 3, "▁▁▁    lr 0 to 0, epochs 0 to 2"),
        ("ExponentialLR(0.1, 2.0)", 1040, "    lr 0.1 to inf on a log scale, epochs 0 to 1039"),
    ],
)
def test_the_sparkline(text, counts, line):
    lrs = curve(js.parse(text), counts)
    drawn = sparkline(lrs, "epoch", "utf-8")
    if counts == 200:
        drawn = drawn[:60:8] + drawn[60:]
    assert drawn.endswith(line)
    plain = sparkline(lrs, "epoch", "ascii")
    assert plain.isascii() and len(plain) == len(sparkline(lrs, "epoch", "utf-8"))


def columns(path):
    header, *rows = path.read_text().splitlines()
    return header, [row.split(",") for row in rows]


@pytest.mark.parametrize(
    ("text", "options", "header"),
    [
        (MILESTONES, (), "epoch,lr"),
        (MILESTONES, ("--steps-per-epoch", "50"), "update,lr"),
        ("per_epoch(CosineAnnealingLR(0.1, 9), 7)", (), "update,lr"),
    ],
)
def test_the_csv_holds_each_value_exactly(tmp_path, text, options, header):
    path = tmp_path / "lr.csv"
    status, out, _ = run("show", text, "--counts", "70", "--csv", str(path), *options)
    assert status == 0 and out.endswith(f"\nwrote {path}\n")
    found, rows = columns(path)
    assert found == header and [int(row[0]) for row in rows] == [*range(70)]
    expected = js.parse(text)(np.arange(70))
    np.testing.assert_array_equal([float(row[1]) for row in rows], expected)


@pytest.mark.parametrize("name", ["lr.png", "lr.svg", "lr"])
def test_the_picture_is_a_file(tmp_path, name):
    path = tmp_path / name
    assert run("show", MILESTONES, "--plot", str(path))[0] == 0
    assert path.stat().st_size > 5000 and [*tmp_path.iterdir()] == [path]


def test_check_prints_each_finding_and_has_status_1():
    status, out, err = run("check", MILESTONES, "--counts", "78200", "--steps-per-epoch", "391")
    assert (status, err) == (1, "")
    assert out == (
        "epochs-fed-updates: MultiStepLR is over after 150 of 78,200 updates (200 epochs).\n"
        "    If it counts epochs, write `per_epoch(schedule, 391)`.\n"
        "1 finding in 78,200 counts\n"
    )


def test_check_has_status_0_if_it_finds_nothing():
    assert run("check", MILESTONES, "--counts", "200") == (0, "0 findings in 200 counts\n", "")


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        (MILESTONES, ("--epochs", "120", "--steps-per-epoch", "391")),
        (f"per_epoch({MILESTONES}, 391)", ("--epochs", "120")),
        (f"per_epoch({MILESTONES}, [391, 391])", ("--epochs", "120")),
    ],
)
def test_the_length_of_a_run_may_be_in_epochs(schedule, options):
    in_counts = ("--counts", "46920", *options[2:])
    assert run("check", schedule, *options) == run("check", schedule, *in_counts)
    assert run("show", schedule, *options) == run("show", schedule, *in_counts)
    assert "in 46,920 counts" in run("check", schedule, *options)[1]


def test_a_plateau_counts_epochs():
    assert "1 finding in 12 counts" in run("check", "ReduceLROnPlateau(0.1)", "--epochs", "12")[1]


def test_the_help_has_examples_that_run(tmp_path):
    status, out, _ = run("--help")
    assert status == 0 and "exit status: 0; 1 if a check finds something" in out
    for command in ("show", "check"):
        status, out, _ = run(command, "--help")
        lines = [line for line in out.splitlines() if line.startswith("  jaxsched ")]
        assert status == 0 and len(lines) >= 2
        for line in lines:
            argv = [part.replace("lr.", f"{tmp_path}/lr.") for part in shlex.split(line)[1:]]
            assert run(*argv)[0] in (0, 1), line
    assert run("--version") == (0, f"jaxsched {js.__version__}\n", "")


ERRORS = [  # an error is one line on stderr
    (("show", "MultiStepLR(0.1, [100, x])"), "column 24: expected a number, a list or a schedule"),
    (
        ("check", "StepLr(0.1, 3)", "--counts", "9"),
        "column 1: jaxsched has no schedule StepLr; did",
    ),
    (("show", "ReduceLROnPlateau(0.1)"), "`schedule` must be a function of a count, got Reduce"),
    (("show", MILESTONES, "--counts", "0"), "`--counts` must be an integer >= 1, got 0"),
    (("show", MILESTONES, "--counts", f"{10**12}"), "`--counts` must be at most 10,000,000, got"),
    (("check", MILESTONES, "--counts", f"{10**12}"), "`--counts` must be at most 10,000,000, got"),
    (
        ("show", f"ChainedScheduler([{'StepLR(0.1, 3), ' * 1000}])", "--counts", f"{10**7}"),
        "`--counts` must be at most 999,000 for a schedule of 1,001 parts, got 10,000,000",
    ),
    (
        ("check", MILESTONES, "--epochs", "9"),
        "`--epochs` needs `--steps-per-epoch`, or per_epoch in the schedule",
    ),
    (
        ("show", MILESTONES, "--epochs", "0", "--steps-per-epoch", "9"),
        "`--epochs` must be an integer >= 1, got 0",
    ),
    (("show", MILESTONES, "--steps-per-epoch", "0"), "`steps_per_epoch` must be an integer >= 1"),
    (
        ("show", MILESTONES, "--csv", "/nowhere/lr.csv"),
        "/nowhere/lr.csv: No such file or directory",
    ),
    (
        ("show", MILESTONES, "--plot", "/nowhere/lr.png"),
        "/nowhere/lr.png: No such file or directory",
    ),
    (("show", MILESTONES, "--csv", "/"), "/: Is a directory"),
    (("show", MILESTONES, "--csv", "\0"), "embedded null byte"),
    (("show", MILESTONES, "--plot", "lr.xyz"), "Format 'xyz' is not supported"),
    (("show", "\ud800"), "column 1: "),
    (("show", "é"), "column 1: "),
]


@pytest.mark.parametrize(("argv", "message"), ERRORS)
def test_what_is_wrong_is_one_line_and_status_2(argv, message):
    status, _, err = run(*argv)
    assert status == 2 and err.count("\n") == 1
    assert err.startswith(f"jaxsched: error: {message}")


@pytest.mark.parametrize(
    "argv",
    [(), ("show",), ("look",), ("show", "-x"), ("check", MILESTONES), ("show", MILESTONES, "3")]
    + [("check", MILESTONES, "--counts", text) for text in ("x", "1e3", "10**12", "")],
)
def test_a_wrong_command_line_is_status_2_and_shows_the_usage(argv):
    status, out, err = run(*argv)
    assert (status, out) == (2, "") and err.startswith("usage: jaxsched")


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, _, err = run("show", MILESTONES, "--plot", "lr.png")
    assert (status, err) == (2, "jaxsched: error: plot needs matplotlib: pip install matplotlib\n")


PIECES = [
    "StepLR(0.1, ", "MultiStepLR(0.1, [", "per_epoch(", "SequentialLR([", "CyclicLR(", "gamma=",
    "OneCycleLR(0.1, ", "ExponentialLR(1e300, ", "clamp(", "CosineAnnealingWarmRestarts(0.1, ",
    "ReduceLROnPlateau(0.1", "LambdaLR(0.1, print", "__import__('os')", "0", "1", "3", "0.5",
    "1e300", "5e-324", f"{2**61}", ", ", "]", ")", "(", "é", "\n", "\ud800", "\0",
]  # fmt: skip
NUMBERS = st.sampled_from(["0", "1", "2", "50", "-1", "x", f"{2**61}", f"{10**400}", ""])
TEXTS = (
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
    | st.text(max_size=20)
    | st.sampled_from([repr(s) for s in SHORT + LONG + MORE if "<function" not in repr(s)])
    | st.builds(
        "{}({}, {})".format,
        st.sampled_from(["StepLR", "ExponentialLR", "CyclicLR", "CosineAnnealingWarmRestarts"]),
        st.sampled_from(["0", "0.1", "1e300", "5e-324"]),
        st.sampled_from(["0", "0.5", "1", "2.0", "7", "1e18", f"{2**61}"]),
    )
)
OPTIONS = st.lists(
    st.tuples(st.sampled_from(["--counts", "--steps-per-epoch"]), NUMBERS)
    | st.sampled_from([("--csv", "/nowhere/x"), ("--help",), ("--",), ("-",), ("--plot", "/")]),
    max_size=3,
).map(lambda pairs: [part for pair in pairs for part in pair])


@given(st.sampled_from(["show", "check", "", "look"]), TEXTS, OPTIONS, st.booleans())
@settings(max_examples=40, deadline=None)
def test_no_input_shows_a_traceback(command, text, options, is_first):
    argv = [command, text, *options] if is_first else [command, *options, text]
    status, out, err = run(*argv)
    assert status in (0, 1, 2)
    assert (status == 2) == bool(err) and "Traceback" not in err


PROGRAM = [sys.executable, "-m", "jaxsched"]
ENV = {**os.environ, "JAX_PLATFORMS": "none", "PYTHONUNBUFFERED": ""}  # no backend is started


def command(*argv, **options):
    return subprocess.run([*PROGRAM, *argv], capture_output=True, env=ENV | options, timeout=60)


def test_as_a_program_it_prints_nothing_else_and_starts_no_backend():
    done = command("show", MILESTONES, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"MultiStepLR(0.1, milestones=(100, 150), gamma=0.1)\n\n0.1  ")
    assert done.stdout.isascii()


@pytest.mark.slow
def test_as_a_program_an_error_has_no_traceback():
    done = command("show", "MultiStepLR(0.1, [100, x])")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"jaxsched: error: column 24: ") and done.stderr.count(b"\n") == 1
    assert command("show", b"StepLR(\xff, 3)").returncode == 2


@pytest.mark.parametrize(
    ("argv", "streams", "status", "message"),
    [
        slow_case(("show", MILESTONES), ">&-", 2, "jaxsched: error: standard output is closed\n"),
        slow_case(("check", MILESTONES, "--counts", "9"), ">&-", 2, "jaxsched: error: standard"),
        slow_case(
            ("show", MILESTONES), ">/dev/full", 2, "jaxsched: error: No space left on device\n"
        ),
        slow_case(
            ("check", MILESTONES, "--counts", "9"), ">/dev/full", 2, "jaxsched: error: No space"
        ),
        slow_case(("show", MILESTONES), ">&- 2>&-", 2, ""),
        slow_case(("show", "x"), "2>&-", 2, ""),
        slow_case(("show", "x"), "2>/dev/full", 2, ""),
        slow_case(("check", MILESTONES, "--counts", "9"), "2>&-", 1, ""),
        slow_case(("show", MILESTONES), "| true", 141, ""),
        slow_case(("check", MILESTONES, "--counts", "9"), "| true", 141, ""),
        slow_case(("show", "--help"), "| true", 141, ""),
    ],
)
def test_what_cannot_be_written_is_no_verdict(argv, streams, status, message):
    line = f"set -o pipefail; {shlex.join([*PROGRAM, *argv])} {streams}"
    # The pipe's reader has ended before anything is written.
    line = line.replace("| true", "| (exec <&-; sleep 0.1)")
    done = subprocess.run(["bash", "-c", line], capture_output=True, env=ENV, text=True, timeout=60)
    assert done.returncode == status
    assert done.stderr.startswith(message) and bool(done.stderr) == bool(message)


def test_without_a_standard_output_there_is_no_verdict(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["check", MILESTONES, "--counts", "9"]) == 2
    assert capsys.readouterr().err == "jaxsched: error: standard output is closed\n"


def test_too_deep_and_too_large_are_errors_and_no_verdict(monkeypatch):
    for error in (RecursionError, MemoryError):

        def run_out(*_, error=error, **options):
            raise error

        monkeypatch.setattr("jaxsched._desk.command.check", run_out)
        argv = ("check", MILESTONES, "--counts", "9")
        assert run(*argv) == (2, "", f"jaxsched: error: {error.__name__}\n")


@pytest.mark.slow
def test_a_closed_pipe_and_an_interrupt_are_quiet(tmp_path):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENV}
    argv = [*PROGRAM, "show", MILESTONES]
    with subprocess.Popen(argv, **options) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
    fifo = tmp_path / "lr.csv"
    os.mkfifo(fifo)  # opening it waits for a reader
    options["env"] = ENV | {"PYTHONUNBUFFERED": "1"}
    # What a shell starts in the background ignores an interrupt, and passes that on.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen([*argv, "--csv", fifo], **options)
    signal.signal(signal.SIGINT, before)
    with process:
        process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
    assert process.returncode == 130
