"""The parts of examples/resnet.py: the network and the images."""

import functools
import hashlib
import pickle
import sys
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image, ImageOps

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
    name: str  # of what is in it
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


def name_of(train, test, *contents):
    """Two data sets of one name give the same run."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    return f"{len(train):,} and {len(test):,} images, sha256 {digest.hexdigest()[:16]}"


def digits():
    """scikit-learn's 1,797 digits of 8 x 8 pixels, each pixel 4 x 4 times."""
    from sklearn.datasets import load_digits  # its import takes longer than jax's
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    images = images.repeat(4, 1).repeat(4, 2).repeat(3, 3)
    parts = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    recipe = {"depth": 8, "width": 16, "batch_size": 128, "epochs": 15}
    recipe |= {"epoch_schedule": "MultiStepLR(0.1, [9, 13])"}
    train, test = in_memory(parts[0], parts[2]), in_memory(parts[1], parts[3])
    mean, std = (0.3,) * 3, (0.38,) * 3
    return DataSet("digits", train, test, 10, False, 32, 4, False, mean, std, recipe)


PUBLISHED = {  # MD5 of the files of 10,000 images each
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}


def cifar10(folder, suffix, read):
    def images(names):
        paths = [existing(folder / f"{name}{suffix}") for name in names]
        data, labels = zip(*(checked(path, *read(path)) for path in paths))
        pixels = np.concatenate(data).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return in_memory(np.ascontiguousarray(pixels), np.concatenate(labels)), *data, *labels

    train, *contents = images([f"data_batch_{i}" for i in range(1, 6)])
    test, *more = images(["test_batch"])
    name = name_of(train.labels, test.labels, *contents, *more)
    recipe = {"depth": 20, "width": 16, "batch_size": 128, "epochs": 164}
    recipe |= {"epoch_schedule": "MultiStepLR(0.1, [82, 123])"}
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    return DataSet(name, train, test, 10, False, 32, 4, True, mean, std, recipe)


def existing(path):
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: it is a part of the data set in that folder")
    return path


class OnlyArrays(pickle.Unpickler):
    """What CIFAR-10's own files name, and nothing else: a pickle could run any code."""

    def find_class(self, module, name):
        modules = {"ndarray": "numpy", "dtype": "numpy", "_reconstruct": "numpy.core.multiarray"}
        if modules.get(name) != module:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def read_pickle(path):
    try:
        with path.open("rb") as file:
            batch = OnlyArrays(file, encoding="bytes").load()
            file.seek(0)
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        if not isinstance(batch, dict):
            raise TypeError(f"{type(batch).__name__}, expected a dict of data and labels")
        data, labels = batch[b"data"], batch[b"labels"]
        is_changed = len(data) == 10_000 and md5 != PUBLISHED[path.name]
    except Exception as error:  # a broken pickle may raise any
        raise ValueError(f"{path} is no batch of CIFAR-10: {error!r}") from None
    if is_changed:  # which may be what one wants
        print(f"{path} is not the published file: MD5 {md5}", file=sys.stderr)
    return data, labels


def read_binary(path):
    records = np.fromfile(path, np.uint8)
    if not records.size or records.size % 3073:
        raise ValueError(f"{path} has {records.size} bytes, no multiple of CIFAR-10's 3,073")
    records = records.reshape(-1, 3073)
    return records[:, 1:], records[:, 0]


def checked(path, pixels, labels):
    """A batch of CIFAR-10, if it is one."""
    shape = getattr(pixels, "shape", ())
    if len(shape) != 2 or shape[1] != 3072 or pixels.dtype != np.uint8:
        found = f"{pixels.dtype}{[*shape]}" if shape else type(pixels).__name__
        raise ValueError(f"{path}: the images are {found}, expected uint8 in 3,072 columns")
    if not isinstance(labels, list) and getattr(labels, "ndim", 0) != 1:
        raise ValueError(f"{path}: the labels are {type(labels).__name__}, expected a list")
    if not len(labels) == len(pixels) > 0:
        what = f"{len(labels):,} labels of {len(pixels):,} images"
        raise ValueError(f"{path}: {what}, expected one of each")
    for row, label in enumerate(labels):
        if not isinstance(label, (int, np.integer)) or not 0 <= label <= 9:
            what = f"row {row} (from 0) has the label {label}"
            raise ValueError(f"{path}: {what}, expected an integer from 0 to 9")
    return np.ascontiguousarray(pixels), np.asarray(labels, np.int32)


def jpegs(folder, size):
    """ImageNet's layout: train/CLASS/*.JPEG and val/CLASS/*.JPEG, classes in order of name."""
    stored = size * 256 // 224

    def decode(path, row):
        try:
            with Image.open(path) as image:
                image.draft("RGB", (stored, stored))  # decodes no more pixels than are needed
                return np.asarray(ImageOps.fit(image.convert("RGB"), (stored, stored)))
        except Exception as error:  # Pillow raises many: a broken file, a bomb of pixels
            what = f"{path} (row {row} of {path.parents[1].name}, from 0) cannot be read"
            raise ValueError(f"{what}, expected a JPEG: {error}") from None

    def images(part):
        paths = sorted(existing(folder / part).glob("*/*.[jJ][pP]*[gG]"))
        if missing := classes.keys() ^ {path.parent.name for path in paths}:
            raise FileNotFoundError(
                f"{folder}/{part}: has JPEGs in other folders than {folder}/train has, or none: "
                f"{', '.join(sorted(missing)[:5])}"
            )
        labels = np.array([classes[path.parent.name] for path in paths], np.int32)
        names = "\n".join(str(path.relative_to(folder)) for path in paths).encode()
        return Images(lambda rows: np.stack([decode(paths[i], i) for i in rows]), labels), names

    names = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    classes = {name: i for i, name in enumerate(names)}
    (train, train_names), (test, test_names) = images("train"), images("val")
    name = name_of(train.labels, test.labels, train_names, test_names)
    recipe = {"depth": 50, "width": 64, "batch_size": 256, "epochs": 90}
    recipe |= {"epoch_schedule": "StepLR(0.1, 30)"}
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return DataSet(name, train, test, len(classes), True, size, 0, True, mean, std, recipe)
