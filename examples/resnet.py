"""Trains He et al.'s ResNet on CIFAR-10 or on folders of JPEGs: the start of a real training.

    python examples/resnet.py                                    # digits, where no data is at hand
    python examples/resnet.py --data-dir ~/data --epochs 90 --epoch-schedule "StepLR(0.1, 30)"
    python examples/resnet.py --data-dir ~/data --resume         # SIGTERM and Ctrl-C save before
    python examples/resnet.py --compile-for v5e:16x16            # with jax[tpu]; needs no TPU

The same file runs on one device, on many, and on many hosts. Every batch is split over all
devices; `--fsdp N` also splits the parameters over N of them. https://arxiv.org/abs/1512.03385
"""

import argparse
import contextlib
import functools
import sys
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from resnet_machines import Failure, ending_together, print_costs, slice_of_tpus
from resnet_parts import BOTTLENECKS, ResNet, load
from resnet_run import open_checkpoints, train
from train import number

import jaxsched as js


class Program:
    """What is compiled: the initial state, an update, an evaluation."""

    def __init__(self, args, data, devices: list[Any], schedule):
        # A host's devices are neighbours, so that it holds neighbouring rows of a batch.
        devices = sorted(devices, key=lambda device: (device.process_index, device.id))
        grid = np.array(devices).reshape(-1, args.fsdp)
        self.mesh = Mesh(grid, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
        self.args, self.data, self.schedule = args, data, schedule
        self.is_plateau = isinstance(schedule, js.ReduceLROnPlateau)
        self.replicated = NamedSharding(self.mesh, P())
        self.split = NamedSharding(self.mesh, P(("data", "fsdp")))
        self.split_many = NamedSharding(self.mesh, P(None, ("data", "fsdp")))
        self.graph, shapes = jax.eval_shape(self.create)
        shardings = jax.tree.map(self.sharding_of, shapes)
        self.state = jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            *(shapes, shardings),
        )
        self.initial = jax.jit(lambda: self.create()[1], out_shardings=shardings)
        out = (shardings, self.replicated, self.replicated)
        self.updates = jax.jit(self.scan, donate_argnums=0, out_shardings=out)
        self.evaluate = jax.jit(self.evaluate_batch, out_shardings=self.replicated)
        self.observe = jax.jit(self.tell, donate_argnums=0, out_shardings=shardings)
        self.highest = jax.jit(jnp.max, out_shardings=self.replicated)

    def sharding_of(self, leaf):
        """Kernels and their momentum are split along their longest axis that can be."""
        axes = [i for i, n in enumerate(leaf.shape) if n % self.args.fsdp == 0]
        if self.args.fsdp == 1 or leaf.ndim < 2 or not axes:
            return self.replicated
        longest = max(axes, key=leaf.shape.__getitem__)
        return NamedSharding(self.mesh, P(*[None] * longest, "fsdp"))

    def create(self):
        args, data = self.args, self.data
        dtype = jnp.bfloat16 if args.bfloat16 else jnp.float32  # of the parameters always float32
        shape = args.depth, args.width, data.classes, data.is_large
        model = ResNet(*shape, dtype, nnx.Rngs(args.seed))
        # inject_hyperparams keeps the lr in the optimizer's state, where it can be read.
        sgd = optax.inject_hyperparams(optax.sgd)(learning_rate=self.schedule, momentum=0.9)
        only_kernels = functools.partial(jax.tree.map, lambda x: x.ndim > 1)
        mask = only_kernels if args.decay_kernels_only else None
        # As in torch, the weight decay goes through the momentum.
        tx = optax.chain(optax.add_decayed_weights(args.weight_decay, mask), sgd)
        return nnx.split((model, nnx.Optimizer(model, tx, wrt=nnx.Param)))

    def loss(self, model, images, labels, train):
        """For each image: the loss, and whether the network is right."""
        data, smoothing = self.data, self.args.label_smoothing if train else 0.0
        x = (images.astype(jnp.float32) / 255 - jnp.array(data.mean)) / jnp.array(data.std)
        logits = model(x, train)
        targets = optax.smooth_labels(jax.nn.one_hot(labels, data.classes), smoothing)
        return optax.softmax_cross_entropy(logits, targets), logits.argmax(-1) == labels

    def augment(self, key, images):
        """Crops each image somewhere, up to `pad` pixels outside of it, and flips every second."""
        keys, number, size = jax.random.split(key, 3), len(images), self.data.size

        def where(key, length):
            least, most = -self.data.pad, length + self.data.pad - size
            return jax.random.randint(key, (number, 1), least, most + 1) + jnp.arange(size)

        rows, columns = where(keys[0], images.shape[1]), where(keys[1], images.shape[2])
        if self.data.flip:
            is_flipped = jax.random.bernoulli(keys[2], shape=(number, 1))
            columns = jnp.where(is_flipped, columns[:, ::-1], columns)
        # A row of zeros and a one picks a pixel, and one of zeros alone what is outside of the
        # image. Integers up to 255 are exact in bfloat16, in which a TPU multiplies.
        rows, columns = (
            jax.nn.one_hot(indices, n)
            for indices, n in zip((rows, columns), images.shape[1:3], strict=True)
        )
        images = jnp.einsum("nrh,nhwc->nrwc", rows, images.astype(jnp.float32))
        return jnp.einsum("nsw,nrwc->nrsc", columns, images)

    def update(self, state, batch):
        model, optimizer = nnx.merge(self.graph, state)
        images, labels = batch
        key = jax.random.fold_in(jax.random.key(self.args.seed), optimizer.step[...])
        images = self.augment(key, images)

        def mean_loss(model):
            losses, right = self.loss(model, images, labels, train=True)
            return losses.mean(), right.mean()

        (loss, accuracy), grads = nnx.value_and_grad(mean_loss, has_aux=True)(model)
        optimizer.update(model, grads)
        (lr,) = js.get_last_lr(optimizer)
        norm = optax.tree.norm(grads)
        metrics = {"lr": lr, "loss": loss, "accuracy": accuracy, "gradient_norm": norm}
        return nnx.state((model, optimizer)), metrics

    def scan(self, state, batches):
        # XLA's CPU backend convolves 20 times slower inside of a loop than outside.
        is_cpu = self.mesh.devices.flat[0].platform == "cpu"
        unroll = max(2, len(batches[1])) if is_cpu else 1
        state, metrics = jax.lax.scan(self.update, state, batches, unroll=unroll)
        model, _ = nnx.merge(self.graph, state)
        is_finite = jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(nnx.state(model))])
        return state, metrics, is_finite.all()

    def evaluate_batch(self, state, images, labels):
        model, _ = nnx.merge(self.graph, state)
        edge = (images.shape[1] - self.data.size) // 2
        images = images[:, edge : edge + self.data.size, edge : edge + self.data.size]
        losses, right = self.loss(model, images, labels, train=False)
        is_image = labels >= 0  # and not what fills the last batch
        return jnp.stack([(losses * is_image).sum(), right.sum(), is_image.sum()])

    def tell(self, state, metric):
        model, optimizer = nnx.merge(self.graph, state)
        return nnx.state((model, js.observe(optimizer, metric)))


def compile_for(args, data, devices, schedule):
    """Compiles an update, and prints what it costs."""

    def compiled(schedule):
        program = Program(args, data, devices, schedule)

        def like(sharding, dtype, *shape):
            return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

        stored = data.train.read(np.array([0]))[0].shape
        images = like(program.split_many, np.uint8, 1, args.batch_size, *stored)
        labels = like(program.split_many, np.int32, 1, args.batch_size)
        return program.updates.lower(program.state, (images, labels)).compile()

    print("compiling two programs: minutes, if they are large", file=sys.stderr)
    print(f"{len(devices)} chips of {devices[0].device_kind}, {args.batch_size} images an update")
    # The constant is a schedule of optax, so that both programs count updates.
    print_costs(compiled(schedule), compiled(optax.constant_schedule(0.1)))


def updates_by_epochs(args, images):
    """The number of updates and the schedule by updates, which follow from the epochs."""
    if args.updates is None:
        args.updates = -(-args.epochs * images // args.batch_size)
    if args.schedule:
        return js.parse(args.schedule)
    schedule = js.parse(args.epoch_schedule)
    epochs = np.arange(args.updates + 1) * args.batch_size // images  # of each update
    if args.batch_size > images:  # an epoch is less than an update
        return js.RecordedLR(schedule(epochs))
    # 50,000 images in batches of 128 are epochs of 391, 391, 390 ... updates.
    firsts = -(-np.arange(epochs[-1] + 2) * images // args.batch_size)
    return js.per_epoch(schedule, np.diff(firsts).tolist())


def findings(schedule, args, images):
    """What `js.check` finds. An epoch has a fraction of an update: 390 and 391 are both right."""
    lengths = {images // args.batch_size, -(-images // args.batch_size)} - {0}
    found = [js.check(schedule, args.updates, steps_per_epoch=n) for n in sorted(lengths)]
    codes = [{finding.code for finding in some} for some in found]
    return [finding for finding in found[-1] if all(finding.code in some for some in codes)]


def run(args):
    def refuse(argument, message) -> NoReturn:
        raise Failure(f"argument --{argument}: {message}", 2)

    try:
        data = load(args.data_dir, args.image_size)
    except (OSError, ValueError) as error:
        refuse("data-dir", error)
    recipe = dict(data.recipe)
    if args.updates:
        del recipe["epochs"]
    if args.schedule:
        del recipe["epoch_schedule"]
    for name, value in recipe.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    images = len(data.train.labels)
    try:
        schedule = updates_by_epochs(args, images)
    except (TypeError, ValueError) as error:
        refuse("schedule" if args.schedule else "epoch-schedule", error)
    if args.depth not in BOTTLENECKS if data.is_large else args.depth < 8 or args.depth % 6 != 2:
        refuse("depth", "50, 101 or 152" if data.is_large else "must be 6 n + 2: 8, 14, 20, ...")
    devices = slice_of_tpus(args.compile_for) if args.compile_for else jax.devices()
    if args.batch_size % len(devices):
        refuse("batch-size", f"must be a multiple of the {len(devices)} devices")
    if len(devices) % args.fsdp:
        refuse("fsdp", f"must divide the {len(devices)} devices")
    if jax.process_index() == 0:
        for finding in findings(schedule, args, images):
            print(f"check: {finding}", file=sys.stderr)
    if args.compile_for:
        return compile_for(args, data, devices, schedule)
    if args.updates_per_dispatch is None:
        args.updates_per_dispatch = 1 if devices[0].platform == "cpu" else 20
    checkpoints, done = open_checkpoints(args, data)
    with contextlib.ExitStack() as at_end:
        program = Program(args, data, devices, schedule)
        train(args, data, program, checkpoints, done, at_end)


def main() -> None:
    parser = make_parser()
    args = parser.parse_args()
    try:
        if args.distributed:  # before anything else asks JAX for its devices
            where = args.coordinator, args.processes, args.process_id
            try:  # a host that is killed is missed by the others after half a minute
                jax.distributed.initialize(*where, heartbeat_timeout_seconds=30)
            except (RuntimeError, ValueError) as error:
                raise Failure(f"argument --distributed: {error}", 2) from None
        elif (args.coordinator, args.processes, args.process_id) != (None, None, None):
            raise Failure("--coordinator, --processes, --process-id need --distributed", 2)
        with ending_together():
            run(args)
    except Failure as failure:
        parser.exit(failure.status, f"{parser.prog}: error: {failure}\n")


def make_parser() -> argparse.ArgumentParser:
    style = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n")[0], formatter_class=style
    )
    natural, positive, real = number(int, 0), number(int, 1), number(float, 0)

    add = parser.add_argument_group("recipe (None: what is usual for the data)").add_argument
    add("--data-dir", type=Path, help="CIFAR-10, or train/CLASS/*.JPEG and val/CLASS/*.JPEG")
    lrs = parser.add_mutually_exclusive_group()
    lrs.add_argument("--epoch-schedule", help='the lr by epochs: "MultiStepLR(0.1, [82, 123])"')
    lrs.add_argument("--schedule", help='by updates: "MultiStepLR(0.1, [32000, 48000])"')
    lengths = parser.add_mutually_exclusive_group()
    lengths.add_argument("--epochs", type=positive, help="passes over the training images")
    lengths.add_argument("--updates", type=positive, help="the length in updates")
    add("--batch-size", type=positive, help="images in one update, over all devices")
    add("--depth", type=positive, help="6 n + 2 for small images; 50, 101 or 152 for JPEGs")
    add("--width", type=positive, help="channels of the first stage")
    add("--image-size", type=positive, default=224, help="of JPEGs: pixels that are trained on")
    add("--weight-decay", type=real, default=1e-4, help="L2 penalty, as in torch's SGD")
    add("--decay-kernels-only", action="store_true", help="not batch norm and biases")
    add("--label-smoothing", type=number(float, 0, 1), default=0.0, help="share of all classes")
    add("--bfloat16", action="store_true", help="compute in bfloat16; parameters stay float32")
    add("--seed", type=number(int, 0, 2**32), default=0, help="of weights, order, crops, flips")

    add = parser.add_argument_group("devices").add_argument
    dispatch_help = "updates that the host starts at once; None: 1 on a CPU, else 20"
    add("--updates-per-dispatch", type=positive, help=dispatch_help)
    add("--fsdp", type=positive, default=1, help="devices over which parameters are split")
    add("--distributed", action="store_true", help="run as one of many hosts, as the platform says")
    add("--coordinator", metavar="HOST:PORT", help="of process 0, where no platform says it")
    add("--processes", type=positive, help="how many, likewise")
    add("--process-id", type=natural, help="which of them this one is, likewise")
    add("--compile-for", metavar="SLICE", help="only compile for these TPUs: v5e:16x16")

    add = parser.add_argument_group("run").add_argument
    add("--out", type=Path, default="runs/resnet", help="folder for all files, one for all hosts")
    add("--resume", action="store_true", help="go on from the last checkpoint there, if any")
    add("--override", action="store_true", help="go on although arguments or data have changed")
    add("--save-every", type=positive, default=1000, help="updates between checkpoints")
    add("--keep", type=positive, default=3, help="checkpoints that are kept")
    add("--test-every", type=positive, default=1000, help="updates between tests")
    add("--log-every", type=positive, default=20, help="updates between rows of metrics.csv")
    return parser


if __name__ == "__main__":
    main()
