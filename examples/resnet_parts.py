"""The parts of examples/resnet.py: the network, the images, and what a person sees."""

import csv
import functools
import math
import pickle
import re
import time
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.summary import scalar
from tensorboardX.writer import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tqdm import tqdm

BOTTLENECKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
HE_INIT = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


class ConvNorm(nnx.Module):
    def __init__(self, inside, outside, size, stride, dtype, rngs):
        self.conv = nnx.Conv(
            inside,
            outside,
            kernel_size=(size, size),
            strides=stride,
            use_bias=False,
            kernel_init=HE_INIT,
            dtype=dtype,
            rngs=rngs,
        )
        # The batch is one array over all devices, and so are its mean and variance.
        self.norm = nnx.BatchNorm(outside, momentum=0.9, dtype=dtype, rngs=rngs)

    def __call__(self, x, train):
        return self.norm(self.conv(x), use_running_average=not train)


class Block(nnx.Module):
    def __init__(self, inside, width, stride, is_bottleneck, dtype, rngs):
        shapes = [(width, 3, stride), (width, 3, 1)]
        if is_bottleneck:
            shapes = [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]
        self.layers, before = nnx.List([]), inside
        for outside, size, s in shapes:
            self.layers.append(ConvNorm(before, outside, size, s, dtype, rngs))
            before = outside
        self.stride, self.more = stride, before - inside
        is_projected = is_bottleneck and (self.more or stride > 1)
        shortcut = ConvNorm(inside, before, 1, stride, dtype, rngs) if is_projected else None
        self.shortcut = nnx.data(shortcut)

    def __call__(self, x, train):
        y = x
        for i, layer in enumerate(self.layers):
            y = layer(nnx.relu(y) if i else y, train)
        if self.shortcut:
            x = self.shortcut(x, train)
        elif self.more:  # the paper's option A: zeros for the new channels
            x = jnp.pad(x[:, :: self.stride, :: self.stride], [(0, 0)] * 3 + [(0, self.more)])
        return nnx.relu(x + y)


class ResNet(nnx.Module):
    """Depth 6 n + 2 for small images; 50, 101 or 152 for large ones, with bottlenecks."""

    def __init__(self, depth, width, classes, is_large, dtype, rngs):
        stages = BOTTLENECKS[depth] if is_large else [(depth - 2) // 6] * 3
        self.is_large = is_large
        self.stem = ConvNorm(3, width, *((7, 2) if is_large else (3, 1)), dtype, rngs)
        self.blocks, inside = nnx.List([]), width
        for stage, blocks in enumerate(stages):
            for i in range(blocks):
                stride = 2 if stage and not i else 1
                self.blocks.append(Block(inside, width << stage, stride, is_large, dtype, rngs))
                inside = (width << stage) * (4 if is_large else 1)
        self.linear = nnx.Linear(inside, classes, rngs=rngs)

    def __call__(self, x, train):  # (batch, height, width, 3) -> (batch, classes)
        x = nnx.relu(self.stem(x, train))
        if self.is_large:
            x = nnx.max_pool(x, (3, 3), (2, 2), "SAME")
        for block in self.blocks:
            x = block(x, train)
        return self.linear(x.mean((1, 2), dtype=jnp.float32))


class Images(NamedTuple):
    read: Callable[[np.ndarray], np.ndarray]  # rows -> (len(rows), height, width, 3), uint8
    labels: np.ndarray


class DataSet(NamedTuple):
    train: Images
    test: Images
    classes: int
    is_large: bool  # as ImageNet's
    size: int  # pixels that the network sees
    pad: int  # pixels of zeros on each side, before an image is cropped to `size`
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: dict  # what the command line leaves out


class Batches:
    """Item `index` is the batch of update `index`: of its rows those that this host holds."""

    def __init__(self, images, batch_size, updates, hosts, host, seed=None):
        self.images, self.batch_size, self.updates, self.seed = images, batch_size, updates, seed
        self.mine = np.split(np.arange(batch_size), hosts)[host]

    def __len__(self):
        return self.updates

    def __getitem__(self, index):
        labels = self.images.labels
        epochs, at = np.divmod(index * self.batch_size + self.mine, len(labels))
        if self.seed is None:  # in order; what is past the end is marked
            return self.images.read(at), np.where(epochs == 0, labels[at], -1)
        # Shuffled by seed and epoch. A batch may hold the end of one epoch and rows of the next.
        rows = at.copy()
        for epoch in np.unique(epochs):
            order = permutation(self.seed, epoch, len(labels))
            rows[epochs == epoch] = order[at[epochs == epoch]]
        return self.images.read(rows), labels[rows]


@functools.lru_cache(maxsize=3)
def permutation(seed, epoch, number):
    return np.random.default_rng([seed, epoch]).permutation(number)


def in_memory(images, labels):
    return Images(images.__getitem__, np.asarray(labels, np.int32))


def load(folder, image_size):
    """The data set that is in `folder`; without one, digits."""
    if folder is None:
        return digits()
    for parent in (folder, folder / "cifar-10-batches-py", folder / "cifar-10-batches-bin"):
        for suffix, read in (("", read_pickle), (".bin", read_binary)):
            if (parent / f"data_batch_1{suffix}").exists():
                return cifar10(parent, suffix, read)
    if (folder / "train").is_dir():
        return jpegs(folder, image_size)
    raise FileNotFoundError(
        f"{folder} holds no data set. These were looked for: data_batch_1 or data_batch_1.bin of "
        f"CIFAR-10, in it, in {folder}/cifar-10-batches-py and in {folder}/cifar-10-batches-bin; "
        f"JPEGs in {folder}/train/CLASS and {folder}/val/CLASS. Nothing is downloaded."
    )


def digits():
    """scikit-learn's 1,797 digits of 8 x 8 pixels, each pixel 4 x 4 times."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    images = images.repeat(4, 1).repeat(4, 2).repeat(3, 3)
    parts = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    recipe = dict(
        depth=8, width=16, batch_size=128, updates=160, schedule="MultiStepLR(0.1, [100, 140])"
    )
    train, test = in_memory(parts[0], parts[2]), in_memory(parts[1], parts[3])
    return DataSet(train, test, 10, False, 32, 4, False, (0.3,) * 3, (0.38,) * 3, recipe)


def cifar10(folder, suffix, read):
    def images(names):
        data, labels = zip(*(read(existing(folder / f"{name}{suffix}")) for name in names))
        pixels = np.concatenate(data).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return in_memory(np.ascontiguousarray(pixels), np.concatenate(labels))

    train, test = images([f"data_batch_{i}" for i in range(1, 6)]), images(["test_batch"])
    schedule = "MultiStepLR(0.1, [32000, 48000])"
    recipe = dict(depth=20, width=16, batch_size=128, updates=64_000, schedule=schedule)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    return DataSet(train, test, 10, False, 32, 4, True, mean, std, recipe)


def existing(path):
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: it is a part of the data set in that folder")
    return path


class OnlyArrays(pickle.Unpickler):
    def find_class(self, module, name):  # else a file could run any code
        if name not in ("_reconstruct", "ndarray", "dtype", "encode"):
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def read_pickle(path):
    try:
        with path.open("rb") as file:
            batch = OnlyArrays(file, encoding="bytes").load()
        return batch[b"data"], batch[b"labels"]
    except (pickle.UnpicklingError, EOFError, KeyError) as error:
        raise ValueError(f"{path} is no batch of CIFAR-10: {error!r}") from None


def read_binary(path):
    records = np.fromfile(path, np.uint8)
    if not records.size or records.size % 3073:
        raise ValueError(f"{path} has {records.size} bytes, no multiple of CIFAR-10's 3,073")
    records = records.reshape(-1, 3073)
    return records[:, 1:], records[:, 0]


def jpegs(folder, size):
    """ImageNet's layout: train/CLASS/*.JPEG and val/CLASS/*.JPEG, classes in order of name."""
    stored = size * 256 // 224

    def decode(path):
        try:
            with Image.open(path) as image:
                image.draft("RGB", (stored, stored))  # decodes no more pixels than are needed
                return np.asarray(ImageOps.fit(image.convert("RGB"), (stored, stored)))
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error}") from None

    def images(part):
        paths = sorted(existing(folder / part).glob("*/*.[jJ][pP]*[gG]"))
        if missing := classes.keys() ^ {path.parent.name for path in paths}:
            raise FileNotFoundError(
                f"{folder}/{part}: has JPEGs in other folders than {folder}/train has, or none: "
                f"{', '.join(sorted(missing)[:5])}"
            )
        labels = [classes[path.parent.name] for path in paths]
        return Images(
            lambda rows: np.stack([decode(paths[i]) for i in rows]), np.array(labels, np.int32)
        )

    names = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    classes = {name: i for i, name in enumerate(names)}
    train, test = images("train"), images("val")
    updates = -(-90 * len(train.labels) // 256)
    schedule = f"StepLR(0.1, {-(-updates // 3)})"
    recipe = dict(depth=50, width=64, batch_size=256, updates=updates, schedule=schedule)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return DataSet(train, test, len(classes), True, size, 0, True, mean, std, recipe)


COLUMNS = ["update", "lr", "loss", "accuracy", "gradient_norm", "test_loss", "test_accuracy"]
CURVES = ["loss", "accuracy", "lr", "gradient_norm"]


class Log:
    """What a person sees, written by host 0: the bar, metrics.csv, TensorBoard, curves.png."""

    def __init__(self, args, done):
        self.args, self.rows = args, []
        path = args.out / "metrics.csv"
        if done:
            with path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["update"]) <= done]
        self.file = path.open("w", newline="")
        self.csv = csv.DictWriter(self.file, COLUMNS, lineterminator="\n")
        self.csv.writeheader()
        self.csv.writerows(self.rows)
        # Not a SummaryWriter: its thread would stop at a full disk, and the program wait for it.
        (args.out / "tensorboard").mkdir(parents=True, exist_ok=True)
        self.board = EventsWriter(str(args.out / "tensorboard" / "events"))
        start = SessionLog(status=SessionLog.START)  # from here on older events are hidden
        self.board.write_event(Event(wall_time=time.time(), step=done + 1, session_log=start))
        images, seen = args.updates * args.batch_size, done * args.batch_size
        self.bar = tqdm(total=images, initial=seen, unit=" images", unit_scale=True)

    def add(self, last, metrics, tested):
        """The metrics of the updates up to `last`, and what the test after it gave."""
        number, row = len(metrics["lr"]), {}
        for i, update in enumerate(range(last - number + 1, last + 1)):
            row = {"update": update} | {k: metrics[k][i] for k in COLUMNS if k in metrics}
            row |= tested if update == last else {}
            if update % self.args.log_every == 0 or "test_loss" in row:
                self.rows.append(row)
                self.csv.writerow(row)
                for name in row.keys() - {"update"}:
                    value = scalar(name, row[name])
                    event = Event(wall_time=time.time(), step=update, summary=value)
                    self.board.write_event(event)
        for file in (self.file, self.board):
            file.flush()
        if tested:
            self.bar.write("  ".join(f"{name} {value:<8.4g}" for name, value in row.items()))
        self.bar.set_postfix_str(f"loss {row['loss']:.3f}, lr {row['lr']:.4g}", refresh=False)
        self.bar.update(number * self.args.batch_size)

    def close(self):
        for part in (self.bar, self.board, self.file):
            part.close()
        figure = Figure(figsize=(7, 8), layout="constrained")
        figure.suptitle(self.args.schedule)
        for name, axes in zip(CURVES, figure.subplots(len(CURVES), sharex=True), strict=True):
            for column, color in ((name, "tab:gray"), (f"test_{name}", "tab:blue")):
                rows = [row for row in self.rows if row.get(column, "") != ""]
                values = [[float(row[k]) for row in rows] for k in ("update", column)]
                style = "steps-pre" if name == "lr" else "default"
                axes.plot(*values, color=color, label=column, drawstyle=style)
            axes.set(ylabel=name.replace("_", " "), xlabel="updates")
            axes.set_yscale("linear" if name == "accuracy" else "log")
            axes.grid(alpha=0.25)
            axes.label_outer()
            if name in ("loss", "accuracy"):
                axes.legend(frameon=False)
        figure.savefig(self.args.out / "curves.png", dpi=150)


def print_costs(ours, constant):
    """What the compiler says of an update, and of the same with a constant lr."""
    # The compiler counts -1 s for each of its calls named ConcatBitcast.
    seconds = [
        c.cost_analysis()["optimal_seconds"] + c.as_text().count('"ConcatBitcast"')
        for c in (ours, constant)
    ]
    instructions = [c.as_text().count(" = ") for c in (ours, constant)]
    memory, mib = ours.memory_analysis(), 2**20
    arguments = memory.argument_size_in_bytes
    peak = arguments + memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak += memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    print(
        f"memory of a chip: {peak / mib:.1f} MiB, state and batch {arguments / mib:.1f} MiB of it"
    )
    print(f"an update: {seconds[0] * 1e6:.1f} us, as the compiler estimates")
    for kind in ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all"):
        found = re.findall(rf" = (.*?) {kind}(?:-start)?\(", ours.as_text())
        arrays = re.findall(r"[a-z](\d+)\[([\d,]*)\]", " ".join(found))
        sizes = [
            int(bits) // 8 * math.prod(map(int, n.split(",") if n else [])) for bits, n in arrays
        ]
        if found:
            print(f"{kind}: {len(found)} in an update, {sum(sizes) / 2**10:.1f} KiB")
    added, share = instructions[0] - instructions[1], seconds[0] / seconds[1] - 1
    print(
        f"the schedule adds to a constant lr: {added} of {instructions[0]:,} instructions, ", end=""
    )
    print(f"{share:+.3%} of the estimate")
