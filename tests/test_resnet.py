"""examples/resnet.py: its data, and the program run as a person runs it, stopped and started."""

import copyreg
import functools
import hashlib
import io
import json
import pickle
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
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
from tests.marks import slow_case
from tests.test_examples import EXAMPLES, assert_is_png, command, environment, read_rows

sys.path.append(str(EXAMPLES))
import resnet  # noqa: E402
import resnet_parts  # noqa: E402
import resnet_run  # noqa: E402
from resnet_machines import Failure  # noqa: E402

slow = pytest.mark.slow
digits = functools.cache(resnet_parts.digits)
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


def write_python2(path, batch):
    with path.open("wb") as file:
        Python2(file, protocol=2).dump(batch)
    # The name that numpy's module had then.
    written = path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path.write_bytes(written)


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
            write_python2(folder / name, batch)
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


def lacks_a_class(folder):
    write_jpegs(folder)
    (folder / "val" / "n01443537").rename(folder / "val" / "other")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "holds no data set.*data_batch_1.bin.*train/CLASS.*downloaded"),
        (lacks_a_file, "data_batch_4 is missing"),
        (lacks_the_end, r"data_batch_2.bin has 122915 bytes, no multiple of CIFAR-10's 3,073"),
        (lacks_a_class, "val: has JPEGs in other folders.*n01443537, other"),
    ],
)
def test_an_error_tells_what_is_missing_and_where(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises((OSError, ValueError), match=message):
        resnet_parts.load(tmp_path, 224)


def shape_of(pixels, labels):
    return {b"data": pixels, b"labels": labels}


PIXELS, LABELS = np.zeros((40, 3072), np.uint8), [9] * 40
expected = "expected an integer from 0 to 9"


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (shape_of(PIXELS, [9] * 7 + [10] + [0] * 32), rf"row 7 .* the label 10, {expected}"),
        (shape_of(PIXELS, [0] * 39 + [-1]), rf"row 39 .* the label -1, {expected}"),
        (shape_of(PIXELS, [0, 1.5] + [0] * 38), rf"row 1 .* the label 1.5, {expected}"),
        (shape_of(PIXELS, np.full(40, 2.0)), rf"row 0 .* the label 2.0, {expected}"),
        (shape_of(PIXELS, [[0, 1]] * 40), r"row 0 .* the label \[0, 1\]"),
        (shape_of(PIXELS, LABELS[1:]), "39 labels of 40 images, expected one of each"),
        (shape_of(PIXELS, [*LABELS, 1]), "41 labels of 40 images, expected one of each"),
        (shape_of(PIXELS[:0], []), "0 labels of 0 images"),
        (shape_of(PIXELS, 3), "the labels are int, expected a list"),
        (shape_of(PIXELS[:, 1:], LABELS), r"uint8\[40, 3071\], expected uint8 in 3,072 columns"),
        (shape_of(PIXELS * 1.0, LABELS), r"float64\[40, 3072\], expected uint8"),
        (shape_of(PIXELS.reshape(40, 3, 1024), LABELS), r"uint8\[40, 3, 1024\], expected"),
        (shape_of([1, 2], LABELS), "the images are list, expected uint8"),
        ({b"data": PIXELS, b"fine_labels": LABELS}, "no batch of CIFAR-10: KeyError.*labels"),
        ([PIXELS, LABELS], "no batch of CIFAR-10: .*list, expected a dict of data and labels"),
    ],
)
def test_a_batch_that_is_wrong_is_named_with_its_row_and_what_was_expected(
    tmp_path, batch, message
):
    write_cifar(tmp_path, "py")
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    write_python2(path, batch)
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}.*{message}"):
        resnet_parts.load(tmp_path, 224)


def test_a_label_that_is_wrong_in_the_binary_version_is_named(tmp_path):
    write_cifar(tmp_path, "bin")
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    records = np.fromfile(path, np.uint8)
    records[3073 * 5] = 11
    records.tofile(path)
    with pytest.raises(ValueError, match=rf"test_batch.bin: row 5 .* the label 11, {expected}"):
        resnet_parts.load(tmp_path, 224)


def named(module, name, opcode=b"c"):
    return opcode + f"{module}\n{name}\n".encode()


def texts(*arguments):
    return b"".join(pickle._dumps(text, 2)[2:-1] for text in arguments)


def call(*arguments):
    return b"(" + texts(*arguments) + b"tR."


OPEN = texts("victim", "w")
REFUSED = {
    "any function": (named("builtins", "open") + call("victim", "w"), "names builtins.open"),
    "a known name of another module": (
        named("uu", "encode") + call("source", "victim"),
        "names uu.encode",
    ),
    "another _reconstruct": (named("copy", "_reconstruct") + call("a"), "names copy._reconstruct"),
    "another dtype": (named("jax.numpy", "dtype") + call("a"), "names jax.numpy.dtype"),
    "what newer pickles of bytes need": (
        named("_codecs", "encode") + call("a"),
        "names _codecs.encode",
    ),
    "another name of numpy": (named("numpy", "memmap") + call("victim"), "names numpy.memmap"),
    "another name of the known module": (
        named("numpy.core.multiarray", "fromfile") + call("victim"),
        "names numpy.core.multiarray.fromfile",
    ),
    "an attribute of a known class": (
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        "names numpy.ndarray.tofile",
    ),
    "by the newer opcode": (b"\x80\x04\x8c\x08builtins\x8c\x04open\x93.", "names builtins.open"),
    "as an instance": (b"(" + OPEN + named("builtins", "open", b"i") + b".", "names builtins.open"),
    "as an object": (b"(" + named("builtins", "open") + OPEN + b"o.", "names builtins.open"),
    "as a new object": (named("io", "FileIO") + b"(" + OPEN + b"t\x81.", "names io.FileIO"),
    "by its number": (b"\x80\x02\x82\x01" + call("victim", "w"), "names builtins.open"),
    "by a persistent name": (b"Pvictim\n.", "persistent"),
    "a state of a known class": (named("numpy", "ndarray") + b"}" + OPEN + b"sb.", "Error"),
    "a state of a known function": (
        named("numpy.core.multiarray", "_reconstruct") + b"}" + OPEN + b"sb.",
        "Error",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_a_pickle_can_name_nothing_but_arrays(tmp_path, monkeypatch, text, message):
    write_cifar(tmp_path, "py")
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(text)
    monkeypatch.chdir(tmp_path)
    for name in ("victim", "source"):
        (tmp_path / name).write_text("kept")
    copyreg.add_extension("builtins", "open", 1)
    try:
        with pytest.raises(ValueError, match=f"data_batch_1 is no batch of CIFAR-10: .*{message}"):
            resnet_parts.load(tmp_path, 224)
    finally:
        copyreg.remove_extension("builtins", "open", 1)
    assert (tmp_path / "victim").read_text() == "kept"


def test_a_byte_that_has_flipped_gives_other_pixels_or_an_error_that_names_the_file(tmp_path):
    write_cifar(tmp_path, "py")
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    good = path.read_bytes()
    pixels = resnet_parts.read_pickle(path)[0].tobytes()
    start = good.index(pixels)
    outside = [*range(start), *range(start + len(pixels), len(good))]
    refused = 0
    for at in outside:
        for bit in (0x01, 0x40):
            path.write_bytes(good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :])
            try:
                resnet_parts.checked(path, *resnet_parts.read_pickle(path))
            except ValueError as error:
                refused += 1
                assert str(path) in str(error)
    assert len(outside) < refused


def test_a_file_that_is_not_as_published_is_noted(tmp_path, monkeypatch, capsys):
    path = tmp_path / "data_batch_2"
    write_python2(path, shape_of(np.zeros((10_000, 3072), np.uint8), [0] * 10_000))
    resnet_parts.read_pickle(path)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    assert f"{path} is not the published file: MD5 {md5}\n" == capsys.readouterr().err
    monkeypatch.setitem(resnet_parts.PUBLISHED, path.name, md5)
    resnet_parts.read_pickle(path)
    assert not capsys.readouterr().err


def bomb():
    """A JPEG's header that promises 65,500 by 65,500 pixels."""
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "JPEG")
    header = image.getvalue()
    at = header.index(b"\xff\xc0") + 5
    return header[:at] + struct.pack(">HH", 65_500, 65_500) + header[at + 4 :]


def noise():
    image = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(image, "JPEG")
    return image.getvalue()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xff\xd8 no image", "cannot identify"),
        (b"", "cannot identify"),
        (noise()[: len(noise()) // 2], "truncated"),
        (bomb(), "decompression bomb"),
    ],
)
def test_a_jpeg_that_is_broken_is_named(tmp_path, text, message):
    write_jpegs(tmp_path)
    (tmp_path / "train" / "n01443537" / "n01443537_0.JPEG").write_bytes(text)
    named = r"n01443537_0.JPEG \(row 12 of train, from 0\) cannot be read, expected a JPEG: "
    with pytest.raises(ValueError, match=f"{named}.*{message}"):
        resnet_parts.load(tmp_path, 28).train.read(np.array([3, 12]))


def test_data_sets_of_one_name_have_the_same_images_and_labels(tmp_path):
    names = []
    for i in range(4):
        write_cifar(tmp_path / str(i), "bin")
        path = tmp_path / str(i) / "cifar-10-batches-bin" / "data_batch_2.bin"
        records = np.fromfile(path, np.uint8)
        records[{2: 3073, 3: 3074}.get(i, 0)] ^= i > 1  # a label, a pixel
        records.tofile(path)
        names.append(resnet_parts.load(tmp_path / str(i), 224).name)
    assert names[0] == names[1] and len({*names}) == 3
    write_jpegs(tmp_path)
    before = resnet_parts.load(tmp_path, 28).name
    assert before.startswith("24 and 10 images, sha256 ")
    (tmp_path / "val" / "n01440764" / "n01440764_1.JPEG").unlink()
    assert resnet_parts.load(tmp_path, 28).name != before


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
            slow_case(depth, millions)
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
    data = digits()._replace(**changes)
    return resnet.Program(args, data, jax.devices()[:1], js.MultiStepLR(0.1, []))


@slow
def test_crops_and_flips_are_whole_pixels_of_the_image_and_of_zeros_around_it():
    data = digits()._replace(flip=True)
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


@slow
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
        (
            ["--epoch-schedule", "per_epoch(StepLR(0.1, 3), 2)"],
            "argument --epoch-schedule: .*per_e",
        ),
        (["--coordinator", "localhost:1"], "--coordinator, .* need --distributed"),
        (["--process-id", 0], "--process-id need --distributed"),
        (["--compile-for", "v5e:2x2x2"], "there is no v5e:2x2x2, but v4:2x2x1, .*; v5e:1x1, 2x2"),
        (
            ["--compile-for", "v9:2x2"],
            "there is no v9:2x2, but v4:.*; v5p:.*; v5e:.*; v6e:1x1, 2x2",
        ),
        (["--compile-for", "v5e"], "there is no v5e, but"),
    ],
)
def test_it_refuses_nonsense_naming_the_flag(monkeypatch, capsys, line, message):
    monkeypatch.setattr(sys, "argv", ["resnet.py", *map(str, line)])
    with pytest.raises(SystemExit, match="2"):
        resnet.main()
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("images", "batch", "epochs"),
    [
        (1437, 128, 15),
        (50_000, 128, 164),
        (50_000, 1000, 164),
        (1_281_167, 256, 90),
        (24, 7, 90),
        (24, 32, 90),  # an epoch is less than an update
        (24, 24, 90),
    ],
)
def test_90_epochs_are_90_epochs_at_every_batch_size(images, batch, epochs):
    text = "StepLR(0.1, 2, 0.75)"
    args = arguments("--batch-size", batch, "--epochs", epochs, "--epoch-schedule", text)
    schedule = resnet.updates_by_epochs(args, images)
    assert (args.updates - 1) * batch < epochs * images <= args.updates * batch
    updates = np.arange(args.updates)
    epoch_of_the_first_image = updates * batch // images
    np.testing.assert_array_equal(schedule(updates), js.parse(text)(epoch_of_the_first_image))


def test_a_schedule_by_updates_and_a_number_of_updates_stay_as_they_are():
    args = arguments("--batch-size", 50, "--epochs", 4, "--schedule", "StepLR(0.1, 30)")
    assert resnet.updates_by_epochs(args, 1000) == js.StepLR(0.1, 30) and args.updates == 80
    args = arguments("--batch-size", 50, "--updates", 70, "--epoch-schedule", "StepLR(0.1, 3)")
    assert resnet.updates_by_epochs(args, 1000)(np.array([59, 60, 69])).tolist() == [
        0.1,
        0.010000000000000002,
        0.010000000000000002,
    ]
    assert args.updates == 70


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (["--schedule", "per_epoch(StepLR(0.1, 30), 391)"], None),
        (["--schedule", "per_epoch(StepLR(0.1, 30), 390)"], None),  # an epoch has 390.6
        (["--schedule", "per_epoch(StepLR(0.1, 30), 196)"], "epoch-length-differs"),
        (["--schedule", "MultiStepLR(0.1, [30, 60])"], "epochs-fed-updates"),
        (["--epoch-schedule", "MultiStepLR(0.1, [30, 60])"], None),
        (["--epoch-schedule", "MultiStepLR(0.1, [30, 95])"], "milestone-never-reached"),
        (["--schedule", "ReduceLROnPlateau(0.1)"], None),
    ],
)
def test_the_schedule_and_the_length_of_the_run_are_checked(line, code):
    args = arguments("--batch-size", 128, "--epochs", 90, *line)
    found = resnet.findings(resnet.updates_by_epochs(args, 50_000), args, 50_000)
    assert [finding.code for finding in found] == [code] * bool(code)


# -- what is written -----------------------------------------------------------------------------


def options(out, *line):
    """Of a run of 40 updates, as the program completes them."""
    args = arguments("--out", out, "--updates", 40, "--log-every", 1, *line)
    args.epoch_schedule = None if args.schedule else "StepLR(0.1, 30)"
    return args


def metrics(update):
    names = ("lr", "loss", "accuracy", "gradient_norm")
    return {name: np.float32([update / 7]) for name in names}


@pytest.fixture
def start_log():
    logs = []

    def make(out, done):
        logs.append(resnet_run.Log(options(out), done))
        return logs[-1]

    yield make
    for log in logs:
        log.close(is_drawn=False)


@pytest.fixture
def logged(tmp_path, start_log):
    """A run that was killed after update 22."""
    log = start_log(tmp_path, 0)
    for update in range(1, 23):
        log.add(update, metrics(update), {})
    return tmp_path / "metrics.csv"


def test_a_run_that_goes_on_keeps_its_rows_from_the_start(logged, start_log):
    before = logged.read_text().splitlines(keepends=True)
    start_log(logged.parent, 20)  # and no more: killed while it compiles
    assert logged.read_text() == "".join(before[:21])
    log = start_log(logged.parent, 20)
    for update in (21, 22):
        log.add(update, metrics(update), {})
    assert logged.read_text() == "".join(before)


def test_at_no_moment_the_rows_are_nowhere(logged, start_log, monkeypatch):
    before = logged.read_text()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(logged), "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        start_log(logged.parent, 20)
    assert logged.read_text() == before


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_last_row_that_was_cut_is_dropped(logged, start_log, cut):
    rows = logged.read_text()
    logged.write_text(rows[:-cut])
    start_log(logged.parent, 22)
    assert logged.read_text() == "".join(rows.splitlines(keepends=True)[:22])


def test_a_run_of_which_only_the_checkpoints_are_here_goes_on(tmp_path, start_log):
    start_log(tmp_path, 22)
    assert read_rows(tmp_path / "metrics.csv") == []


def saved(out, args):
    """Checkpoints of update 30, and what stands beside them."""
    checkpoints, done = resnet_run.open_checkpoints(args, digits())
    assert done == 0
    checkpoints.save(30, args=ocp.args.Composite(data=ocp.args.JsonSave({})))
    checkpoints.close()
    return out / "checkpoints" / "arguments.json"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ([], "checkpoints has checkpoints: give --resume to go on, or another --out"),
        (["--resume"], None),
        (["--resume", "--fsdp", 4, "--keep", 9, "--save-every", 3, "--updates", 50], None),
        (["--resume", "--seed", 1], "arguments.json: the run had another seed: 0 and not 1. Give"),
        (["--resume", "--seed", 1, "--override"], None),
        (["--resume", "--batch-size", 8], "another batch_size: 16 and not 8"),
        (
            ["--resume", "--schedule", "StepLR(0.1, 300)", "--bfloat16"],
            "bfloat16: False and not True; schedule: StepLR(0.1, step_size=30, gamma=0.1), by "
            "epochs and not StepLR(0.1, step_size=300, gamma=0.1), by updates. Give",
        ),
        (["--resume", "--width", 8, "--override"], "the network has another width: 4 and not 8"),
        (["--resume", "--depth", 14], "the network has another depth: 8 and not 14"),
        (["--resume", "--updates", 29], "30 updates are done, and the run is to have 29"),
    ],
)
def test_resume_says_what_has_changed(tmp_path, line, message):
    path = saved(tmp_path, options(tmp_path))
    before, args, data = path.read_text(), options(tmp_path, *line), digits()
    if message:
        with pytest.raises(Failure, match=re.escape(message)):
            resnet_run.open_checkpoints(args, data)
        assert path.read_text() == before
    else:
        assert resnet_run.open_checkpoints(args, data)[1] == 30
        assert json.loads(path.read_text())["seed"] == args.seed


def test_resume_says_that_the_data_have_changed(tmp_path):
    saved(tmp_path, options(tmp_path))
    data = digits()._replace(name="24 and 10 images, sha256 12")
    message = "the run had another data: digits and not 24 and 10 images, sha256 12"
    with pytest.raises(Failure, match=message):
        resnet_run.open_checkpoints(options(tmp_path, "--resume"), data)


def test_checkpoints_without_arguments_go_on_and_it_is_said(tmp_path, capsys):
    path = saved(tmp_path, options(tmp_path))
    path.unlink()
    args = options(tmp_path, "--resume", "--seed", 3)
    assert resnet_run.open_checkpoints(args, digits())[1] == 30
    assert f"no {path}: nothing to compare" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["file", "file/deeper", "/proc/there"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, out):
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match=r"argument --out: .*(file|there).* cannot be used: .*Err"):
        resnet_run.open_checkpoints(options(tmp_path / out), digits())


# -- the program, as it is run -------------------------------------------------------------------


LIMIT = 480  # seconds
CACHE = tempfile.TemporaryDirectory()  # each program is compiled once, and not by every start


def start(out, *line, devices=1, after="", **kwargs):
    """`after` is code that runs before the program, with its modules at hand."""
    line = command("--out", out, *TINY, *line, program="resnet.py")
    if after:
        code = f"import os, signal, sys\nimport resnet, resnet_parts, resnet_run\n{after}"
        line[1:2] = ["-c", f"{code}\nresnet.main()"]
        kwargs["cwd"] = EXAMPLES
    env = {k: v for k, v in environment(devices).items() if not k.lower().endswith("_proxy")}
    env |= {"JAX_COMPILATION_CACHE_DIR": CACHE.name}
    env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(line, env=env, **pipes, **kwargs)


def end(*processes):
    """What they print, when all have ended well."""
    try:
        outputs = [process.communicate(timeout=LIMIT) for process in processes]
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


SIGNAL_AT_14 = """
add = resnet_run.Log.add
def signal_at_14(log, last, *more):  # when updates 15 and 16 have begun
    add(log, last, *more)
    if last == 14:
        os.kill(os.getpid(), signal.SIGTERM)
resnet_run.Log.add = signal_at_14
"""


@slow
@pytest.mark.parametrize("is_plateau", [False, True])
def test_it_stops_after_the_dispatch_without_a_test_that_resume_makes_up_for(tmp_path, is_plateau):
    line = LINE
    if is_plateau:
        line = [*LINE, "--schedule", "ReduceLROnPlateau(1e-7, factor=0.5, patience=0)"]
        run(tmp_path / "whole", *line)
    (output,) = end(start(tmp_path / "stopped", *line, after=SIGNAL_AT_14))
    assert "stopping after this dispatch; the same signal again ends it at once" in output[1]
    assert output[0].splitlines()[-1] == "saved at 16; --resume goes on"
    rows = read_rows(tmp_path / "stopped" / "metrics.csv")
    assert len(rows) == 16 and not rows[-1]["test_loss"]
    assert steps(tmp_path / "stopped") == [8, 16]
    run(tmp_path / "stopped", *line, "--resume")
    if is_plateau:
        assert_same_run(tmp_path / "stopped", tmp_path / "whole", 30)


@slow
def test_killed_it_loses_only_the_updates_since_the_last_checkpoint(tmp_path, whole):
    process = start(tmp_path, *LINE)
    wait_for_updates(process, tmp_path, 18)
    process.kill()
    process.communicate()
    for step in steps(tmp_path):  # all can be read
        assert len(weights(tmp_path, step)) == len(weights(whole, 30))
    last = steps(tmp_path)[-1]
    assert last >= 8
    for _ in range(2):  # while it restores, and while it compiles
        process = start(tmp_path, *LINE, "--resume")
        events = {*(tmp_path / "tensorboard").iterdir()}
        while {*(tmp_path / "tensorboard").iterdir()} == events:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert len(read_rows(tmp_path / "metrics.csv")) == last
    run(tmp_path, *LINE, "--resume")
    assert_same_run(tmp_path, whole, 30)


@slow
def test_it_goes_on_where_only_the_checkpoints_were_copied(tmp_path, whole):
    for step in (16, 24):
        copy = shutil.copytree
        copy(whole / "checkpoints" / str(step), tmp_path / "checkpoints" / str(step))
    _, errors = run(tmp_path, *LINE, "--resume")
    assert "arguments.json: nothing to compare the arguments with" in errors
    expected = (whole / "metrics.csv").read_text().splitlines()
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [expected[0], *expected[-6:]]
    for a, b in zip(weights(tmp_path, 30), weights(whole, 30), strict=True):
        np.testing.assert_array_equal(a, b)


@slow
@pytest.mark.parametrize(
    ("gamma", "dispatch", "update"),
    [
        (1e30, 2, 12),  # of a dispatch of updates 11 and 12
        (1e40, 1, 11),  # loss and gradient are numbers, and the weights no more
    ],
)
def test_a_run_that_gives_no_numbers_any_more_stops_and_keeps_the_good(
    tmp_path, gamma, dispatch, update
):
    line = ["--updates", 30, "--schedule", f"StepLR(0.1, 10, {gamma})", "--save-every", 1]
    process = start(tmp_path, *line, "--updates-per-dispatch", dispatch)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 1, errors
    assert re.fullmatch(
        rf"resnet.py: error: update {update} gives no number any more \(loss .*, gradient_norm .*, "
        r"lr .*\). The last good checkpoint is of update 10.",
        errors.splitlines()[-1],
    )
    assert steps(tmp_path)[-1] == 10
    assert all(np.isfinite(array).all() for array in weights(tmp_path, 10))
    assert len(read_rows(tmp_path / "metrics.csv")) == update


def with_bad_row(row, part="train"):
    """Code after which a digit cannot be read."""
    return f"""
digits = resnet_parts.digits()
def read(rows, read=digits.{part}.read):
    if {row} in rows:
        raise ValueError("digits: row {row} cannot be read")
    return read(rows)
digits = digits._replace({part}=digits.{part}._replace(read=read))
resnet.load = lambda *_: digits
"""


def row_of_update_14():
    rows = resnet_parts.Images(lambda rows: np.asarray(rows), digits().train.labels)
    return int(resnet_parts.Batches(rows, 32, 30, 1, 0, seed=0)[13][0][9])


@slow
def test_an_image_that_cannot_be_read_costs_no_update(tmp_path, whole):
    row = row_of_update_14()
    process = start(tmp_path, *LINE, after=with_bad_row(row))
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    # Updates 13 and 14 are one dispatch.
    last = f"error: digits: row {row} cannot be read. Saved at 12; --resume goes on."
    assert errors.splitlines()[-1].endswith(last)
    run(tmp_path, *LINE, "--resume")
    assert_same_run(tmp_path, whole, 30)


@slow
def test_an_image_of_the_test_that_cannot_be_read_is_named(tmp_path):
    process = start(tmp_path, *LINE, after=with_bad_row(70, "test"))
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    last = "error: digits: row 70 cannot be read. The last good checkpoint is of update 8."
    assert errors.splitlines()[-1].endswith(last)


@slow
def test_a_disk_that_takes_no_more_is_told_and_the_last_good_checkpoint_stays(tmp_path, whole):
    process = start(tmp_path, *LINE)
    wait_for_updates(process, tmp_path, 9)
    while not steps(tmp_path):  # the first checkpoint is written beside the updates
        assert process.poll() is None
        time.sleep(0.01)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2**13, 2**13))  # bytes in a file
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert "could not write: " in errors
    assert f"The last good checkpoint is of update {steps(tmp_path)[-1]}." in errors
    run(tmp_path, *LINE, "--resume")
    assert_same_run(tmp_path, whole, 30)


@slow
def test_a_run_is_not_written_over(whole):
    process = start(whole, *LINE)
    _, errors = process.communicate(timeout=LIMIT)
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


def hosts(number, out, *line, after=None, devices=1):
    """So many processes; `after` and further arguments for some of them, by their number."""
    with socket.socket() as s:
        s.bind(("localhost", 0))
        address = f"localhost:{s.getsockname()[1]}"
    line = [*line, "--distributed", "--coordinator", address, "--processes", number]
    return [
        start(out, *line, "--process-id", host, devices=devices, after=(after or {}).get(host, ""))
        for host in range(number)
    ]


def outputs_of(processes, limit):
    """What they print and how they end, if they end by then."""
    deadline = time.monotonic() + limit
    try:
        outputs = [p.communicate(timeout=deadline - time.monotonic())[1] for p in processes]
    finally:
        for process in processes:
            process.kill()
    return outputs, [process.returncode for process in processes]


@slow
def test_two_hosts_train_as_one_stop_together_and_one_goes_on_alone(tmp_path, whole):
    two = hosts(2, tmp_path, *LINE, "--fsdp", 2, devices=2)
    wait_for_updates(two[0], tmp_path, 5)
    two[1].send_signal(signal.SIGTERM)  # one of them, and not the one that writes
    (said, errors), (silent, others) = end(*two)
    assert "images/s" not in errors + others  # a bar is for a terminal
    assert "stopping after this dispatch" in others and "stopping" not in errors
    stopped_at = len(read_rows(tmp_path / "metrics.csv"))
    assert said.splitlines()[-1] == f"saved at {stopped_at}; --resume goes on"
    assert all(line.startswith("[Gloo]") for line in silent.splitlines()), silent
    assert 5 <= stopped_at < 30 and steps(tmp_path)[-1] == stopped_at
    run(tmp_path, *LINE, "--resume")
    assert_same_training(tmp_path, whole)


LONG = ["--updates", 10_000, *LINE[2:]]


@slow
def test_four_hosts_train_as_one_and_end_together_if_one_cannot_read_an_image(tmp_path, whole):
    row = row_of_update_14()
    four = hosts(4, tmp_path, *LINE, after=dict.fromkeys(range(4), with_bad_row(row)))
    outputs, codes = outputs_of(four, LIMIT)
    assert all(codes), outputs
    why = rf"(?m)^host \d: digits: row {row} cannot be read. Saved at 12; --resume goes on.$"
    assert len({re.findall(why, output)[0] for output in outputs}) == 1, outputs
    assert steps(tmp_path)[-1] == 12
    run(tmp_path, *LINE, "--resume")
    assert_same_training(tmp_path, whole)


@slow
def test_an_error_on_one_of_four_hosts_before_the_first_update_ends_all(tmp_path):
    bad = "resnet.load = lambda *_: (_ for _ in ()).throw(ValueError('no data here'))"
    four = hosts(4, tmp_path, *LONG, after={2: bad})
    outputs, codes = outputs_of(four, LIMIT)
    assert all(codes) and codes[2] == 2, outputs
    for output in outputs:
        assert "\nhost 2: argument --data-dir: no data here\n" in output, output


@slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])  # Gloo notices the first
def test_a_host_that_is_gone_ends_the_others_within_a_minute_and_each_says_why(tmp_path, signum):
    four = hosts(4, tmp_path, *LONG)
    wait_for_updates(four[0], tmp_path, 3)
    gone = four.pop(2)
    gone.send_signal(signum)
    begin = time.monotonic()
    try:
        outputs, codes = outputs_of(four, 90)
    finally:
        gone.kill()
        gone.communicate()
    assert time.monotonic() - begin < 60
    assert all(code != 0 for code in codes)
    for output in outputs:
        assert "Was another host killed?" in output or "another task died" in output, output


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
