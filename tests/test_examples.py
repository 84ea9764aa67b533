"""The programs in examples/ run as a user runs them: in a process of their own."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

TRAIN = Path(__file__).parent.parent / "examples" / "train.py"


def command(*arguments):
    return [sys.executable, str(TRAIN), *map(str, arguments)]


def environment(devices=1):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


def run(*arguments, devices=1):
    env = environment(devices)
    return subprocess.run(command(*arguments), env=env, capture_output=True, text=True)


def read_metrics(out):
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([row[name] for row in rows], np.float32) for name in rows[0]}


def train(out, *arguments, devices=1):
    process = run("--out", out, *arguments, devices=devices)
    assert process.returncode == 0, process.stderr
    return read_metrics(out)


def test_train_writes_metrics_and_curves_and_prints_a_line_an_epoch(tmp_path):
    out = tmp_path / "not" / "there"
    process = run("--out", out, "--epochs", 3, "--milestones", 1, 2)
    assert process.returncode == 0, process.stderr

    metrics = read_metrics(out)
    assert list(metrics) == ["epoch", "lr", "train_loss", "test_loss", "test_accuracy"]
    assert metrics["epoch"].tolist() == [0, 1, 2]
    assert metrics["lr"].tolist() == np.float32([0.05, 0.005, 0.0005]).tolist()
    for loss in (metrics["train_loss"], metrics["test_loss"]):
        assert loss[0] > loss[1] > loss[2] > 0
    assert 0.85 < metrics["test_accuracy"][-1] <= 1

    png = (out / "curves.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and len(png) > 10_000

    lines = process.stdout.splitlines()
    assert [line.split()[:4] for line in lines[:3]] == [
        ["epoch", "0", "lr", "0.05"],
        ["epoch", "1", "lr", "0.005"],
        ["epoch", "2", "lr", "0.0005"],
    ]
    assert "66/66" in process.stderr  # the progress bar: 3 epochs of 1437 // 64 updates


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
        (["--schedule", "multistep", "--milestones", 1, "--gamma", 0], [0.05, 0, 0, 0]),
    ],
)
def test_every_schedule_of_train_gives_its_staircase(tmp_path, arguments, expected):
    metrics = train(tmp_path, "--epochs", 4, *arguments)
    assert metrics["lr"].tolist() == np.float32(expected).tolist()
    assert (tmp_path / "curves.png").exists()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_file_and_another_seed_another(tmp_path):
    def metrics_file(out, seed):
        train(tmp_path / out, "--epochs", 2, "--seed", seed)
        return (tmp_path / out / "metrics.csv").read_bytes()

    first = metrics_file("a", seed=1)
    assert metrics_file("b", seed=1) == first
    assert metrics_file("b", seed=2) != first  # in the same folder: the old rows are gone
    assert len(read_metrics(tmp_path / "b")["epoch"]) == 2


def assert_same_training(actual, expected):
    np.testing.assert_array_equal(actual["lr"], expected["lr"])
    # Only the order of the sums over a batch differs.
    for name in ("train_loss", "test_loss"):
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-4)


@pytest.mark.slow
def test_two_devices_and_two_hosts_train_as_one_and_host_0_alone_writes(tmp_path):
    one, two = (train(tmp_path / str(n), "--epochs", 3, devices=n) for n in (1, 2))
    assert_same_training(two, one)

    # Two processes of what looks to JAX like a Slurm job. A proxy would be asked for localhost.
    env = {k: v for k, v in environment().items() if not k.lower().endswith("_proxy")}
    env |= {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost"}
    env |= {"SLURM_NTASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    hosts = []
    for host in ("0", "1"):
        hosts.append(
            subprocess.Popen(
                command("--distributed", "--epochs", 3, "--out", tmp_path / f"host{host}"),
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
    assert_same_training(read_metrics(tmp_path / "host0"), one)
    assert "epoch 0" in outputs[0][0] and "epoch" not in outputs[1][0]
    assert not (tmp_path / "host1").exists()


@pytest.mark.slow
def test_an_interrupted_run_keeps_its_rows(tmp_path):
    metrics = tmp_path / "metrics.csv"
    process = subprocess.Popen(
        command("--out", tmp_path, "--epochs", 10_000),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        limit = time.monotonic() + 120
        while not metrics.exists() or metrics.read_text().count("\n") < 3:
            assert process.poll() is None and time.monotonic() < limit
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    assert read_metrics(tmp_path)["epoch"][:2].tolist() == [0, 1]


@pytest.mark.parametrize(
    "arguments, devices, message",
    [
        (["--epochs", 0], 1, "argument --epochs: must be >= 1"),
        pytest.param(["--lr", "nan"], 1, "argument --lr: must be >= 0", marks=pytest.mark.slow),
        pytest.param(
            ["--batch-size", 5000],
            1,
            "argument --batch-size: there are 1437 training images",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--batch-size", 63],
            2,
            "argument --batch-size: must be a multiple of the 2 devices",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_train_refuses_nonsense_naming_the_flag(tmp_path, arguments, devices, message):
    process = run("--out", tmp_path / "out", *arguments, devices=devices)
    assert process.returncode == 2
    assert message in process.stderr
    assert not (tmp_path / "out").exists()
