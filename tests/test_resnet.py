"""examples/resnet.py: its data, and the program run as a person runs it, stopped and started."""

import json
import os
import pickle
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

import jaxsched as js
from tests.test_examples import EXAMPLES, assert_is_png, command, environment, read_rows

sys.path.append(str(EXAMPLES))
import resnet  # noqa: E402
import resnet_parts  # noqa: E402

slow = pytest.mark.slow
TINY = ["--width", 4, "--batch-size", 32, "--log-every", 1]
SCHEDULE = "SequentialLR([LinearLR(0.01, 0.1, total_iters=9), StepLR(0.01, 7, 0.5)], [9])"


@pytest.fixture(autouse=True)
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


# -- data ----------------------------------------------------------------------------------------


class Python2(pickle._Pickler):
    """Writes byte strings as Python 2 did, which made the published files."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, text):
        self.write(b"T" + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    dispatch[bytes] = save_bytes


CIFAR_FILES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def write_cifar(folder, layout):
    """40 images a file, in one of the two published layouts; all images and all labels."""
    folder = folder / f"cifar-10-batches-{layout}"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (len(CIFAR_FILES), 40, 3072), np.uint8)
    labels = rng.integers(0, 10, (len(CIFAR_FILES), 40))
    for name, data, marks in zip(CIFAR_FILES, pixels, labels, strict=True):
        if layout == "py":
            batch = {b"data": data, b"labels": marks.tolist(), b"batch_label": b"of five"}
            with (folder / name).open("wb") as file:
                Python2(file, protocol=2).dump(batch)
            written = (folder / name).read_bytes()
            # The name that numpy's module had then.
            written = written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
            (folder / name).write_bytes(written)
        else:
            records = np.concatenate([np.uint8(marks)[:, None], data], axis=1)
            records.tofile(folder / f"{name}.bin")
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, labels.reshape(-1)


@pytest.mark.parametrize("layout", ["py", "bin"])
def test_cifar_is_read_in_both_published_layouts(tmp_path, layout):
    images, labels = write_cifar(tmp_path, layout)
    for folder in (tmp_path, tmp_path / f"cifar-10-batches-{layout}"):
        data = resnet_parts.load(folder, 224)
        np.testing.assert_array_equal(data.train.labels, labels[:200])
        np.testing.assert_array_equal(data.test.labels, labels[200:])
        np.testing.assert_array_equal(data.train.read(np.arange(200)), images[:200])
        np.testing.assert_array_equal(data.test.read(np.array([39, 0])), images[[239, 200]])


def write_jpegs(folder):
    """Two classes, one dark and one light, three sizes."""
    for part, number in (("train", 12), ("val", 5)):
        for label, name in enumerate(["n01440764", "n01443537"]):
            (folder / part / name).mkdir(parents=True)
            for i in range(number):
                size = [(50, 40), (64, 64), (37, 90)][i % 3]
                gray = Image.new("RGB", size, (60 + 120 * label,) * 3)
                gray.save(folder / part / name / f"{name}_{i}.JPEG")


def test_folders_of_jpegs_are_read_class_by_class(tmp_path):
    write_jpegs(tmp_path)
    data = resnet_parts.load(tmp_path, 28)
    assert data.train.labels.tolist() == [0] * 12 + [1] * 12
    assert (data.classes, data.size, len(data.test.labels)) == (2, 28, 10)
    images = data.train.read(np.arange(24))
    assert images.shape == (24, 32, 32, 3) and images.dtype == np.uint8
    np.testing.assert_allclose(images.mean((1, 2, 3)), 60 + 120 * data.train.labels, atol=2)


def lacks_a_file(folder):
    write_cifar(folder, "py")
    (folder / "cifar-10-batches-py" / "data_batch_4").unlink()


def lacks_the_end(folder):
    write_cifar(folder, "bin")
    path = folder / "cifar-10-batches-bin" / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-5])


def runs_code(folder):
    write_cifar(folder, "py")
    (folder / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps(os.getcwd))


def lacks_a_class(folder):
    write_jpegs(folder)
    (folder / "val" / "n01443537").rename(folder / "val" / "other")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "holds no data set.*data_batch_1.bin.*train/CLASS.*downloaded"),
        (lacks_a_file, "data_batch_4 is missing"),
        (lacks_the_end, r"data_batch_2.bin has 122915 bytes, no multiple of CIFAR-10's 3,073"),
        (runs_code, "data_batch_1 is no batch of CIFAR-10: .*getcwd"),
        (lacks_a_class, "val: has JPEGs in other folders.*n01443537, other"),
    ],
)
def test_an_error_tells_what_is_missing_and_where(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises((OSError, ValueError), match=message):
        resnet_parts.load(tmp_path, 224)


def test_a_jpeg_that_is_broken_is_named(tmp_path):
    write_jpegs(tmp_path)
    (tmp_path / "train" / "n01440764" / "n01440764_0.JPEG").write_bytes(b"\xff\xd8 no image")
    with pytest.raises(ValueError, match="n01440764_0.JPEG cannot be read"):
        resnet_parts.load(tmp_path, 28).train.read(np.array([0]))


ROWS = resnet_parts.Images(lambda rows: np.asarray(rows), np.arange(50) * 10)


def test_every_image_is_seen_once_an_epoch_and_each_epoch_has_an_order_of_its_own():
    batches = resnet_parts.Batches(ROWS, 8, 25, 1, 0, seed=3)  # 4 epochs of 6.25 batches
    rows = np.concatenate([batches[i][0] for i in range(len(batches))]).reshape(4, 50)
    labels = np.concatenate([batches[i][1] for i in range(len(batches))]).reshape(4, 50)
    np.testing.assert_array_equal(np.sort(rows), np.tile(np.arange(50), (4, 1)))
    np.testing.assert_array_equal(labels, 10 * rows)
    assert len({tuple(row) for row in rows}) == 4
    other = resnet_parts.Batches(ROWS, 8, 25, 1, 0, seed=4)
    assert (other[0][0] != batches[0][0]).any()


def test_hosts_hold_neighbouring_rows_of_the_same_batch():
    one = resnet_parts.Batches(ROWS, 8, 25, 1, 0, seed=3)
    two = [resnet_parts.Batches(ROWS, 8, 25, 2, host, seed=3) for host in (0, 1)]
    for i in range(25):
        np.testing.assert_array_equal(np.concatenate([b[i][0] for b in two]), one[i][0])


def test_the_test_set_is_seen_once_and_what_fills_its_last_batch_is_marked():
    batches = resnet_parts.Batches(ROWS, 16, 4, 1, 0)
    labels = np.concatenate([batches[i][1] for i in range(4)])
    np.testing.assert_array_equal(labels, [*ROWS.labels, *[-1] * 14])


# -- network and update --------------------------------------------------------------------------


def parameters(depth, width, classes, is_large):
    make = lambda: resnet_parts.ResNet(depth, width, classes, is_large, None, nnx.Rngs(0))  # noqa: E731
    state = jax.eval_shape(lambda: nnx.state(make(), nnx.Param))
    return sum(leaf.size for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("depth", "millions"),
    [
        (20, 0.27),
        *(
            pytest.param(depth, millions, marks=slow)
            for depth, millions in [(32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
        ),
    ],
)
def test_it_has_the_papers_numbers_of_parameters(depth, millions):  # table 6
    found = parameters(depth, 16, 10, is_large=False) / 1e6
    assert abs(found - millions) < (0.01 if depth < 110 else 0.05)


def test_its_maps_have_32_16_and_8_pixels():
    shapes = []

    def forward():
        model = resnet_parts.ResNet(20, 16, 10, False, None, nnx.Rngs(0))
        x = model.stem(jnp.zeros((1, 32, 32, 3)), train=True)
        for block in model.blocks:
            x = block(x, train=True)
            shapes.append(x.shape[1:])
        return x

    jax.eval_shape(forward)
    assert shapes == [*[(32, 32, 16)] * 3, *[(16, 16, 32)] * 3, *[(8, 8, 64)] * 3]


@slow
@pytest.mark.parametrize(("depth", "found"), [(50, 25_557_032), (101, 44_549_160)])
def test_with_bottlenecks_it_has_torchvisions_numbers_of_parameters(depth, found):
    assert parameters(depth, 64, 1000, is_large=True) == found


def arguments(*more):
    line = ["--depth", 8, "--width", 4, "--batch-size", 16, *more]
    return resnet.make_parser().parse_args([*map(str, line)])


def program(args, **changes):
    data = resnet_parts.digits()._replace(**changes)
    return resnet.Program(args, data, jax.devices()[:1], js.MultiStepLR(0.1, []))


def test_crops_and_flips_are_whole_pixels_of_the_image_and_of_zeros_around_it():
    data = resnet_parts.digits()._replace(flip=True)
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    augment = jax.jit(
        lambda key: resnet.Program.augment(types.SimpleNamespace(data=data), key, images)
    )
    found = np.asarray(augment(jax.random.key(0)))
    padded = np.pad(images, [(0, 0), (4, 4), (4, 4), (0, 0)])
    seen = []
    for i, image in enumerate(found):
        for row, column, flip in np.ndindex(9, 9, 2):
            crop = padded[i, row : row + 32, column : column + 32]
            if (image == (crop[:, ::-1] if flip else crop)).all():
                seen.append((row, column, flip))
    assert len(seen) == 64
    for axis, number in ((0, 9), (1, 9), (2, 2)):
        assert len({where[axis] for where in seen}) == number
    assert (found == augment(jax.random.key(0))).all()
    assert (found != augment(jax.random.key(1))).any()


@pytest.mark.parametrize("only_kernels", [False, True])
def test_weight_decay_leaves_batch_norm_and_biases_alone_if_told_to(only_kernels):
    flag = ["--decay-kernels-only"] if only_kernels else []
    built = program(arguments("--weight-decay", 0.5, *flag))

    @jax.jit
    def update(state):
        model, optimizer = nnx.merge(built.graph, state)
        optimizer = nnx.Optimizer(model, optimizer.tx, wrt=nnx.Param)  # without momentum
        optimizer.update(model, jax.tree.map(jnp.zeros_like, nnx.state(model, nnx.Param)))
        return jax.tree.leaves(nnx.state(model, nnx.Param))

    ones = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), built.state)
    for after in update(ones):
        is_decayed = after.ndim > 1 or not only_kernels
        np.testing.assert_allclose(after, 0.95 if is_decayed else 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--schedule", "StepLR(0.1)"], "argument --schedule: column 1: .*step_size"),
        (["--schedule", "__import__('os')"], "argument --schedule: column 1: "),
        (["--depth", 21], r"argument --depth: must be 6 n \+ 2"),
        (["--batch-size", 12], "argument --batch-size: must be a multiple of the 8 devices"),
        (["--fsdp", 3], "argument --fsdp: must divide the 8 devices"),
        (["--data-dir", "not/there"], "argument --data-dir: not/there holds no data set"),
    ],
)
def test_it_refuses_nonsense_naming_the_flag(monkeypatch, capsys, line, message):
    monkeypatch.setattr(sys, "argv", ["resnet.py", *map(str, line)])
    with pytest.raises(SystemExit, match="2"):
        resnet.main()
    assert re.search(message, capsys.readouterr().err)


# -- the program, as it is run -------------------------------------------------------------------


def start(out, *line, devices=1, **kwargs):
    line = command("--out", out, *TINY, *line, program="resnet.py")
    env = {k: v for k, v in environment(devices).items() if not k.lower().endswith("_proxy")}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(line, env=env, **pipes, **kwargs)


def end(*processes):
    """What they print, when all have ended well."""
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    return outputs


def run(out, *line, devices=1):
    (output,) = end(start(out, *line, devices=devices))
    return output


def wait_for_updates(process, out, number):
    path = out / "metrics.csv"
    while not path.exists() or path.read_text().count("\n") <= number:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def steps(out):
    return sorted(int(path.name) for path in (out / "checkpoints").iterdir() if path.name.isdigit())


def weights(out, step):
    """Every array of a checkpoint: parameters, momentum, means and variances, counts, lr."""
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore(out / "checkpoints" / str(step) / "state")
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def assert_same_run(out, expected, last):
    """To the last bit: every number that was written, and the state after the last update."""
    assert (out / "metrics.csv").read_bytes() == (expected / "metrics.csv").read_bytes()
    for a, b in zip(weights(out, last), weights(expected, last), strict=True):
        np.testing.assert_array_equal(a, b)


LINE = ["--updates", 30, "--schedule", SCHEDULE, "--save-every", 8, "--test-every", 15]
LINE += ["--updates-per-dispatch", 2]
LRS = [js.parse(SCHEDULE)(np.arange(30)).astype(np.float32)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    run(out, *LINE)
    return out


def column(out, name):
    return np.array([row[name] for row in read_rows(out / "metrics.csv")], np.float32)


@slow
def test_it_writes_what_a_person_looks_at(whole):
    rows = read_rows(whole / "metrics.csv")
    names = ["update", "lr", "loss", "accuracy", "gradient_norm", "test_loss", "test_accuracy"]
    assert list(rows[0]) == names
    assert [int(row["update"]) for row in rows] == [*range(1, 31)]
    np.testing.assert_array_equal(column(whole, "lr"), LRS[0])
    tested = [int(row["update"]) for row in rows if row["test_accuracy"]]
    assert tested == [16, 30]  # 15 lies inside of a dispatch
    assert_is_png(whole / "curves.png")
    assert steps(whole) == [16, 24, 30]  # the last three
    events = read_events(whole / "tensorboard")
    lrs = [e.summary.value[0].simple_value for e in events if tag(e).endswith("lr")]
    np.testing.assert_array_equal(np.float32(lrs), LRS[0])


def read_events(folder):
    """TensorBoard's files are records: a length, a checksum, an event, a checksum."""
    events = []
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            events.append(Event.FromString(data[at + 12 : at + 12 + length]))
            at += length + 16
    return events


def tag(event):
    return event.summary.value[0].tag if event.summary.value else ""


@slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_finishes_the_update_saves_and_goes_on_to_the_last_bit(
    tmp_path, whole, signum
):
    process = start(tmp_path, *LINE)
    wait_for_updates(process, tmp_path, 5)
    process.send_signal(signum)
    end(process)
    stopped_at = len(read_rows(tmp_path / "metrics.csv"))
    assert 5 <= stopped_at < 30 and steps(tmp_path)[-1] == stopped_at
    run(tmp_path, *LINE, "--resume")
    assert_same_run(tmp_path, whole, 30)


@slow
def test_killed_it_loses_only_the_updates_since_the_last_checkpoint(tmp_path, whole):
    process = start(tmp_path, *LINE)
    wait_for_updates(process, tmp_path, 18)
    process.kill()
    process.communicate()
    for step in steps(tmp_path):  # all can be read
        assert len(weights(tmp_path, step)) == len(weights(whole, 30))
    assert steps(tmp_path)[-1] >= 8
    run(tmp_path, *LINE, "--resume")
    assert_same_run(tmp_path, whole, 30)


@slow
def test_a_disk_that_takes_no_more_is_told_and_the_last_good_checkpoint_stays(tmp_path, whole):
    process = start(tmp_path, *LINE)
    wait_for_updates(process, tmp_path, 9)
    while not steps(tmp_path):  # the first checkpoint is written beside the updates
        assert process.poll() is None
        time.sleep(0.01)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2**13, 2**13))  # bytes in a file
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "could not write: " in errors
    assert f"The last good checkpoint is of update {steps(tmp_path)[-1]}." in errors
    run(tmp_path, *LINE, "--resume")
    assert_same_run(tmp_path, whole, 30)


@slow
def test_a_run_is_not_written_over(whole):
    process = start(whole, *LINE)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "has checkpoints: give --resume to go on, or another --out" in errors
    assert steps(whole) == [16, 24, 30]


def assert_same_training(out, expected):
    np.testing.assert_array_equal(column(out, "lr"), column(expected, "lr"))
    # Sums over a batch are added in another order, and the difference grows.
    for name in ("loss", "gradient_norm"):
        np.testing.assert_allclose(column(out, name)[:3], column(expected, name)[:3], rtol=5e-3)
    np.testing.assert_allclose(column(out, "loss"), column(expected, "loss"), rtol=0.01)


@slow
def test_on_a_mesh_of_4_by_2_devices_it_trains_as_on_one(tmp_path, whole):
    run(tmp_path, *LINE, "--fsdp", 2, devices=8)
    assert_same_training(tmp_path, whole)
    saved = json.loads((tmp_path / "checkpoints" / "30" / "state" / "_sharding").read_text())
    assert any("fsdp" in sharding for sharding in map(str, saved.values()))


def two_hosts(out, *line):
    with socket.socket() as s:
        s.bind(("localhost", 0))
        address = f"localhost:{s.getsockname()[1]}"
    line = [*line, "--fsdp", 2, "--distributed", "--coordinator", address, "--processes", 2]
    return [start(out, *line, "--process-id", host, devices=2) for host in (0, 1)]


@slow
def test_two_hosts_train_as_one_stop_together_and_one_goes_on_alone(tmp_path, whole):
    hosts = two_hosts(tmp_path, *LINE)
    wait_for_updates(hosts[0], tmp_path, 5)
    hosts[1].send_signal(signal.SIGTERM)  # one of them, and not the one that writes
    (_, bar), (_, no_bar) = end(*hosts)
    assert "images/s" in bar and "images/s" not in no_bar
    stopped_at = len(read_rows(tmp_path / "metrics.csv"))
    assert 5 <= stopped_at < 30 and steps(tmp_path)[-1] == stopped_at
    run(tmp_path, *LINE, "--resume")
    assert_same_training(tmp_path, whole)


@slow
def test_without_data_it_learns_digits_to_97_percent(tmp_path):
    process = subprocess.run(
        command("--out", tmp_path, program="resnet.py"), env=environment(), capture_output=True
    )
    assert process.returncode == 0, process.stderr
    rows = read_rows(tmp_path / "metrics.csv")
    assert float(rows[-1]["test_accuracy"]) >= 0.97
    assert {row["lr"] for row in rows} == {"0.1", "0.01", "0.001"}


@slow
def test_it_trains_on_cifar_and_on_jpegs_with_every_option_of_the_recipe(tmp_path):
    write_cifar(tmp_path / "cifar", "py")
    line = ["--updates", 3, "--bfloat16", "--label-smoothing", 0.1, "--decay-kernels-only"]
    run(tmp_path / "a", "--data-dir", tmp_path / "cifar", *line, "--depth", 8)
    rows = read_rows(tmp_path / "a" / "metrics.csv")
    assert [row["lr"] for row in rows] == ["0.1"] * 3
    write_jpegs(tmp_path / "jpegs")
    run(tmp_path / "b", "--data-dir", tmp_path / "jpegs", *line, "--image-size", 28)
    losses = column(tmp_path / "b", "loss")
    assert len(losses) == 3 and np.isfinite(losses).all()


@slow
def test_a_plateau_is_told_every_test(tmp_path):
    schedule = "ReduceLROnPlateau(1e-7, factor=0.5, patience=0)"  # so slow that nothing is better
    run(tmp_path, "--schedule", schedule, "--updates", 6, "--test-every", 2)
    rows = read_rows(tmp_path / "metrics.csv")
    losses = [float(row["test_loss"]) for row in rows if row["test_loss"]]
    cuts = int(losses[1] > losses[0] * (1 - 1e-4))
    assert [row["lr"] for row in rows][:4] == ["1e-07"] * 4
    assert float(rows[-1]["lr"]) == (5e-8 if cuts else 1e-7)


@pytest.mark.tpu
@pytest.mark.parametrize(("name", "chips"), [("v5e:2x2", 4), ("v5e:16x16", 256)])
def test_it_compiles_for_a_slice_of_tpus_that_is_not_there(name, chips):
    line = ["--depth", 8, "--width", 4, "--batch-size", 256, "--compile-for", name]
    process = subprocess.run(
        command(*line, program="resnet.py"), env=environment(), capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == f"{chips} chips of TPU v5 lite, 256 images an update"
    memory, state = (float(word) for word in lines[1].split() if word[0].isdigit())
    assert 0 < state < memory < 16 * 2**10
    assert 0 < float(lines[2].split()[2]) < 1e5
    assert any(line.startswith("all-reduce: ") for line in lines)
    words = lines[-1].split()
    assert lines[-1].startswith("the schedule adds to a constant lr: ")
    assert 0 <= int(words[7]) <= 100 and abs(float(words[-4].rstrip("%"))) < 2
