"""The programs in examples/ run as a user runs them: in a process of their own."""

import contextlib
import csv
import os
import pty
import runpy
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest

from tests.schedules import ARGUMENTS
from tests.traces import load

EXAMPLES = Path(__file__).parent.parent / "examples"


def command(*arguments, program="train.py"):
    return [sys.executable, str(EXAMPLES / program), *map(str, arguments)]


def environment(devices=1):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


def run(*arguments, devices=1, program="train.py"):
    env, line = environment(devices), command(*arguments, program=program)
    return subprocess.run(line, env=env, capture_output=True, text=True)


def test_there_is_a_picture_of_each_schedule():
    from examples.pictures import PICTURES

    assert PICTURES.keys() == ARGUMENTS.keys()
    for name, (schedule, *_) in PICTURES.items():
        assert type(schedule).__name__ == name
        assert (EXAMPLES / "pictures" / f"{name}.svg").exists()


@pytest.mark.slow
@pytest.mark.parametrize("program", ["quickstart.py", "linen.py"])
def test_what_a_person_pastes_first_prints_torchs_lr_once_an_epoch(program):
    process = run(program=program)
    assert process.returncode == 0, process.stderr
    rows = [line.split() for line in process.stdout.splitlines()]
    assert all(row[::2] == ["epoch", "loss", "lr"] for row in rows)
    epochs, losses, lrs = np.array([row[1::2] for row in rows], np.float32).T
    assert epochs.tolist() == [*range(20)]
    assert losses[0] > losses[1] > 2 * losses[-1] > 0
    recipe = {"base_lr": 0.1, "milestones": [5, 15]}
    (torchs,) = (values for _, kwargs, values in load("MultiStepLR") if kwargs == recipe)
    np.testing.assert_array_equal(lrs, np.float32(torchs))


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_metrics(out):
    rows = read_rows(out / "metrics.csv")
    return {name: np.array([row[name] for row in rows], np.float32) for name in rows[0]}


def assert_is_png(path):
    png = path.read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and len(png) > 10_000


def train(out, *arguments, devices=1):
    process = run("--out", out, *arguments, devices=devices)
    assert process.returncode == 0, process.stderr
    return read_metrics(out)


THREE = ["--epochs", 3, "--milestones", 1, 2]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """The folder of a run of three epochs, and the process."""
    out = tmp_path_factory.mktemp("three") / "not" / "there"
    process = run("--out", out, *THREE)
    assert process.returncode == 0, process.stderr
    return out, process


@pytest.mark.slow  # and README's first command is this program
def test_train_writes_metrics_and_curves_and_prints_a_line_an_epoch(three):
    out, process = three
    metrics = read_metrics(out)
    assert list(metrics) == ["epoch", "lr", "train_loss", "test_loss", "test_accuracy"]
    assert metrics["epoch"].tolist() == [0, 1, 2]
    assert metrics["lr"].tolist() == np.float32([0.05, 0.005, 0.0005]).tolist()
    for loss in (metrics["train_loss"], metrics["test_loss"]):
        assert loss[0] > loss[1] > loss[2] > 0
    assert 0.85 < metrics["test_accuracy"][-1] <= 1

    assert_is_png(out / "curves.png")
    lines = process.stdout.splitlines()
    assert [line.split()[:4] for line in lines[:3]] == [
        ["epoch", "0", "lr", "0.05"],
        ["epoch", "1", "lr", "0.005"],
        ["epoch", "2", "lr", "0.0005"],
    ]
    assert max(map(len, lines[:3])) <= 80 and lines[0].split()[-2] == "accuracy"
    assert "updates" not in process.stdout + process.stderr  # no progress bar in a file


@pytest.mark.slow
def test_train_has_a_progress_bar_on_a_terminal(tmp_path):
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    line = command("--out", tmp_path, "--epochs", 1)
    process = subprocess.run(line, env=environment(), stdout=subprocess.PIPE, stderr=end)
    os.close(end)
    seen = b""
    with contextlib.suppress(OSError):  # at its end
        while part := os.read(terminal, 4096):
            seen += part
    os.close(terminal)
    assert process.returncode == 0 and b"22/22 " in seen  # an epoch of 1437 // 64 updates


@pytest.mark.slow
def test_train_reaches_97_percent_with_two_drops_of_the_lr_in_two_minutes(tmp_path):
    begin = time.monotonic()
    metrics = train(tmp_path)
    assert time.monotonic() - begin < 120
    assert metrics["test_accuracy"][-1] >= 0.97
    expected = np.float32([0.05] * 15 + [0.005] * 10 + [0.0005] * 5)
    np.testing.assert_array_equal(metrics["lr"], expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--schedule", "step", "--step-size", 2, "--gamma", 0.5], [0.05, 0.05, 0.025, 0.025]),
        (["--schedule", "constant", "--lr", 0.02], [0.02, 0.02, 0.02, 0.02]),
    ],
)
def test_every_schedule_of_train_gives_its_staircase(tmp_path, arguments, expected):
    metrics = train(tmp_path, "--epochs", 4, *arguments)
    assert metrics["lr"].tolist() == np.float32(expected).tolist()
    assert (tmp_path / "curves.png").exists()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_file_and_another_seed_another(tmp_path, three):
    def metrics_file(seed):
        train(tmp_path, *THREE, "--seed", seed, "--overwrite")
        return (tmp_path / "metrics.csv").read_bytes()

    first = (three[0] / "metrics.csv").read_bytes()
    assert metrics_file(seed=0) == first
    assert metrics_file(seed=2) != first  # in the same folder: the old rows are gone
    assert len(read_metrics(tmp_path)["epoch"]) == 3


def assert_same_training(actual, expected):
    np.testing.assert_array_equal(actual["lr"], expected["lr"])
    # Only the order of the sums over a batch differs.
    for name in ("train_loss", "test_loss"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-4)


def two_hosts(*arguments):
    # Two processes of what looks to JAX like a Slurm job. A proxy would be asked for localhost.
    env = {k: v for k, v in environment().items() if not k.lower().endswith("_proxy")}
    env |= {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost"}
    env |= {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    hosts = []
    for host in ("0", "1"):
        hosts.append(
            subprocess.Popen(
                command("--distributed", *arguments),
                env=env | {"SLURM_PROCID": host, "SLURM_LOCALID": host},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        outputs = [host.communicate(timeout=240) for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    assert [host.returncode for host in hosts] == [0, 0], outputs
    return [output for output, _ in outputs]


@pytest.mark.slow
def test_two_devices_and_two_hosts_train_as_one_and_host_0_alone_writes(tmp_path, three):
    one = read_metrics(three[0])
    assert_same_training(train(tmp_path / "two", *THREE, devices=2), one)

    outputs = two_hosts(*THREE, "--out", tmp_path / "hosts")
    assert_same_training(read_metrics(tmp_path / "hosts"), one)
    assert outputs[0].count("epoch ") == 3 and "epoch" not in outputs[1]


# So slow that no epoch is better than the first, whoever adds up its losses.
PLATEAU = ["--schedule", "plateau", "--patience", 0, "--lr", 1e-7, "--gamma", 0.5]


@pytest.mark.slow
def test_a_run_goes_on_with_other_devices_and_on_two_hosts(tmp_path):
    one = train(tmp_path / "one", "--epochs", 4, *PLATEAU)
    assert one["lr"].tolist() == np.float32([1e-7, 1e-7, 5e-8, 2.5e-8]).tolist()
    arguments = ["--out", tmp_path / "many", "--resume", *PLATEAU]
    assert run("--epochs", 2, *arguments, devices=2).returncode == 0
    outputs = two_hosts("--epochs", 4, *arguments)
    assert_same_training(read_metrics(tmp_path / "many"), one)
    assert outputs[0].count("epoch ") == 2 and "epoch" not in outputs[1]


@pytest.mark.slow
def test_a_killed_run_keeps_its_rows_and_resumes_to_the_very_same_file(tmp_path):
    metrics = tmp_path / "killed" / "metrics.csv"
    arguments = ["--resume", "--milestones", 2, 4, "--out"]  # with nothing there it begins
    process = subprocess.Popen(
        command(*arguments, metrics.parent, "--epochs", 10_000),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        limit = time.monotonic() + 120
        while not metrics.exists() or len(read_rows(metrics)) < 3:
            assert process.poll() is None and time.monotonic() < limit
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    killed = metrics.read_text()
    epochs = killed.count("\n") + 2
    resumed = run(*arguments, metrics.parent, "--epochs", epochs)
    assert resumed.returncode == 0, resumed.stderr
    assert 3 <= resumed.stdout.count("epoch ") < epochs  # it did not start anew
    whole = tmp_path / "whole" / "metrics.csv"
    train(whole.parent, "--epochs", epochs, *arguments[:-1])
    assert metrics.read_text() == whole.read_text()
    assert whole.read_text().startswith(killed)
    assert_is_png(metrics.with_name("curves.png"))


@pytest.mark.slow
def test_train_keeps_another_runs_checkpoints_and_says_what_has_changed(tmp_path):
    out, once = tmp_path / "run", ["--epochs", 1]
    train(out, *once)
    saved = [*(out / "checkpoints").rglob("*")]

    def refused(*line):
        process = run("--out", out, *once, *line)
        assert process.returncode == 2
        return process.stderr.splitlines()[-1]

    choice = "--resume goes on, --overwrite deletes them, or give another"
    assert refused().endswith(f"{out}/checkpoints has the checkpoints of a run: {choice}")
    changed = refused("--resume", "--seed", 3, "--lr", 0.1)
    assert "arguments.json: the run had another seed: 0 and not 3; schedule: MultiSte" in changed
    assert [*(out / "checkpoints").rglob("*")] == saved
    train(out, "--epochs", 2, "--resume", "--seed", 3, "--override")
    rows = (out / "metrics.csv").read_bytes()

    (out / "metrics.csv").unlink()  # only the checkpoints were copied
    assert train(out, "--epochs", 3, "--resume", "--seed", 3)["epoch"].tolist() == [2]
    assert train(out, *once, "--overwrite")["epoch"].tolist() == [0]
    assert (out / "metrics.csv").read_bytes() == b"".join(rows.splitlines(keepends=True)[:2])


@pytest.mark.slow
def test_train_names_a_folder_that_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("")
    process = run("--out", tmp_path / "file" / "deeper")
    assert process.returncode == 2
    assert "error: argument --out: " in process.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_plateau_of_train_follows_the_test_loss_as_torchs_does(tmp_path):
    arguments = ["--patience", 1, "--gamma", 0.5, "--lr", 0.2]
    metrics = train(tmp_path, "--schedule", "plateau", "--epochs", 12, *arguments)
    lr, best, bad, expected = 0.2, np.inf, 0, []
    for loss in metrics["test_loss"].tolist():
        expected.append(lr)
        best, bad = (loss, 0) if loss < best * (1 - 1e-4) else (best, bad + 1)
        if bad > 1:
            lr, bad = lr * 0.5, 0
    assert metrics["lr"].tolist() == np.float32(expected).tolist()
    assert len(set(expected)) > 1


@pytest.mark.slow
def test_early_stopping_counts_epochs_without_a_better_test_loss_across_a_restart(tmp_path):
    arguments = ["--lr", 0, "--early-stopping", 2]  # nothing is learnt: epoch 0 stays the best
    assert len(train(tmp_path, "--epochs", 2, *arguments)["epoch"]) == 2
    for _ in range(2):  # and a stopped run stays so
        assert len(train(tmp_path, "--epochs", 9, "--resume", *arguments)["epoch"]) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--epochs", 0], "argument --epochs: must be >= 1"),
        (["--lr", "nan"], "argument --lr: must be >= 0"),
        (["--batch-size", 5000], "argument --batch-size: there are 1437 training images"),
        (["--batch-size", 63], "argument --batch-size: must be a multiple of the 8 devices"),
    ],
)
def test_train_refuses_nonsense_naming_the_flag(tmp_path, monkeypatch, capsys, arguments, message):
    _, *line = command("--out", tmp_path / "out", *arguments)
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(line[0], run_name="__main__")
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_sweep_ranks_its_models_and_prints_the_winner(tmp_path):
    process = run("--out", tmp_path, "--models", 4, "--epochs", 3, program="sweep.py")
    assert process.returncode == 0, process.stderr
    rows = read_rows(tmp_path / "sweep.csv")
    assert list(rows[0]) == ["lr", "gamma", "milestones", "test_loss", "test_accuracy"]
    accuracies = [float(row["test_accuracy"]) for row in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.8 > accuracies[-1]
    for name in ("lr", "gamma", "test_loss"):
        assert len({row[name] for row in rows}) == 4
    first = rows[0]
    milestones = ", ".join(first["milestones"].split())
    winner = f"MultiStepLR({first['lr']}, milestones=({milestones}), gamma={first['gamma']})"
    assert f"won: {winner}\n" in process.stdout
    assert_is_png(tmp_path / "sweep.png")


@pytest.mark.slow
def test_sweep_trains_16_models_in_a_minute_and_the_best_reaches_97_percent(tmp_path):
    begin = time.monotonic()
    process = run("--out", tmp_path, program="sweep.py")
    assert process.returncode == 0, process.stderr
    assert time.monotonic() - begin < 60
    rows = read_rows(tmp_path / "sweep.csv")
    assert len(rows) == 16
    assert float(rows[0]["test_accuracy"]) >= 0.97


@pytest.mark.slow
def test_a_sweep_over_8_devices_gives_what_it_gives_on_one(tmp_path):
    def sweep(devices):
        line = ["--out", tmp_path / devices, "--epochs", 4, "--devices", devices]
        process = run(*line, devices=8, program="sweep.py")
        assert process.returncode == 0, process.stderr
        rows = read_rows(tmp_path / devices / "sweep.csv")
        return process.stdout, {row["lr"]: row for row in rows}

    (one, expected), (eight, found) = sweep("one"), sweep("all")
    assert "16 models, trained at once on 1 device(s)" in one
    assert "16 models, trained at once on 8 device(s)" in eight
    assert one[one.index("won: ") :].splitlines()[0] in eight
    assert found.keys() == expected.keys()
    for lr, row in found.items():
        assert (row["gamma"], row["milestones"]) == (
            expected[lr]["gamma"],
            expected[lr]["milestones"],
        )
        if float(lr) < 0.5:  # a higher one enlarges every difference of a sum
            losses = float(row["test_loss"]), float(expected[lr]["test_loss"])
            np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
def test_a_sweep_that_devices_cannot_share_is_refused(tmp_path):
    line = ["--out", tmp_path, "--models", 12, "--devices", "all"]
    process = run(*line, devices=8, program="sweep.py")
    assert process.returncode == 2
    assert "argument --models: must be a multiple of the 8 devices" in process.stderr


ALONE = """
import jax, numpy as np, sweep
rng, key = np.random.default_rng(0), jax.random.key(0)
schedules = sweep.draw_schedules(rng, 3, 3)
images, test_images, labels, test_labels = sweep.load_data()
batches = rng.permutation(960).reshape(3, 5, 64)
data = key, batches, (images, labels), (test_images, test_labels)
stack = lambda schedules: jax.tree.map(lambda *numbers: np.array(numbers), *schedules)
together = sweep.train(stack(schedules), *data)
for i, schedule in enumerate(schedules):
    for got, alone in zip(together, sweep.train(stack([schedule]), *data)):
        np.testing.assert_allclose(got[i], alone[0], rtol=1e-4)
"""


@pytest.mark.slow
def test_each_model_of_a_sweep_trains_as_it_would_alone():
    line, env = [sys.executable, "-c", ALONE], environment()
    process = subprocess.run(line, env=env, cwd=EXAMPLES, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


@pytest.mark.torch
def test_the_port_from_torch_has_the_same_log_and_the_same_weights():
    process = run("--epochs", 21, program="port_from_torch.py")
    assert process.returncode == 0, process.stderr
    schedule, log, run_in_jax, *weights, last = process.stdout.splitlines()
    assert schedule.startswith("the schedule: SequentialLR((LinearLR(0.1, start_factor=0.1")
    assert log == "with torch's log: Equal in all 21 rows. 'epoch' counts the rows."
    assert run_in_jax == "with the run in JAX: Equal in all 21 rows."
    assert len(weights) == 6 and last == "the weights are the same"
