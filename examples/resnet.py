"""Trains He et al.'s ResNet on CIFAR-10 or on folders of JPEGs: the start of a real training.

    python examples/resnet.py                                    # digits, where no data is at hand
    python examples/resnet.py --data-dir ~/data --schedule "MultiStepLR(0.1, [32000, 48000])"
    python examples/resnet.py --data-dir ~/data --resume         # SIGTERM and Ctrl-C save before
    python examples/resnet.py --compile-for v5e:16x16            # with jax[tpu]; needs no TPU

The same file runs on one device, on many, and on many hosts. Every batch is split over all
devices; `--fsdp N` also splits the parameters over N of them. https://arxiv.org/abs/1512.03385
"""

import argparse
import csv
import functools
import math
import os
import re
import signal
import sys
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from matplotlib.figure import Figure
from resnet_parts import BOTTLENECKS, Batches, ResNet, load
from tensorboardX import SummaryWriter
from tqdm import tqdm
from train import number

import jaxsched as js

COLUMNS = ["update", "lr", "loss", "accuracy", "gradient_norm", "test_loss", "test_accuracy"]
CURVES = ["loss", "accuracy", "lr", "gradient_norm"]


class Program:
    """What is compiled: the initial state, an update, an evaluation."""

    def __init__(self, args, data, devices, schedule):
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
        x = (images / 255 - jnp.array(data.mean)) / jnp.array(data.std)
        logits = model(x, train)
        targets = optax.smooth_labels(jax.nn.one_hot(labels, data.classes), smoothing)
        return optax.softmax_cross_entropy(logits, targets), logits.argmax(-1) == labels

    def augment(self, key, images):
        """Crops each image somewhere and flips every second one."""
        pad, size = self.data.pad, self.data.size
        images = jnp.pad(images, [(0, 0), (pad, pad), (pad, pad), (0, 0)])

        def one(key, image):
            where, flip = jax.random.split(key)
            row, column = jax.random.randint(where, (2,), 0, image.shape[0] - size + 1)
            image = jax.lax.dynamic_slice(image, (row, column, 0), (size, size, 3))
            return jnp.where(self.data.flip & jax.random.bernoulli(flip), image[:, ::-1], image)

        return jax.vmap(one)(jax.random.split(key, len(images)), images)

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
        norm = optax.global_norm(grads)
        metrics = {"lr": lr, "loss": loss, "accuracy": accuracy, "gradient_norm": norm}
        return nnx.state((model, optimizer)), metrics

    def scan(self, state, batches, stop):
        # XLA's CPU backend convolves 20 times slower inside of a loop than outside.
        is_cpu = self.mesh.devices.flat[0].platform == "cpu"
        unroll = len(batches[1]) if is_cpu else 1
        return *jax.lax.scan(self.update, state, batches, unroll=unroll), stop.any()

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


class Log:
    """What a person sees, written by host 0: the bar, metrics.csv, TensorBoard, curves.png."""

    def __init__(self, args, done):
        self.out, self.every, self.title, self.rows = args.out, args.log_every, args.schedule, []
        path = args.out / "metrics.csv"
        if done:
            with path.open(newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["update"]) <= done]
        self.file = path.open("w", newline="")
        self.csv = csv.DictWriter(self.file, COLUMNS, lineterminator="\n")
        self.csv.writeheader()
        self.csv.writerows(self.rows)
        self.board = SummaryWriter(str(args.out / "tensorboard"), purge_step=done + 1)
        size, total = args.batch_size, args.updates * args.batch_size
        bar = functools.partial(tqdm, unit=" images", unit_scale=True, dynamic_ncols=True)
        self.bar = bar(total=total, initial=done * size)
        self.batch_size = size

    def add(self, last, metrics, test):
        """The metrics of the updates up to `last`, and what the test after it gave."""
        number = len(metrics["lr"])
        for i, update in enumerate(range(last - number + 1, last + 1)):
            row = {"update": update} | {k: metrics[k][i] for k in COLUMNS if k in metrics}
            row |= test if update == last else {}
            if update % self.every == 0 or (test and update == last):
                self.rows.append(row)
                self.csv.writerow(row)
                for name, value in row.items():
                    self.board.add_scalar(name, value, update)
        self.file.flush()
        if test:
            self.bar.write("  ".join(f"{name} {value:<8.4g}" for name, value in row.items()))
        self.bar.set_postfix_str(f"loss {row['loss']:.3f}, lr {row['lr']:.4g}", refresh=False)
        self.bar.update(number * self.batch_size)

    def close(self):
        self.bar.close()
        self.board.close()
        self.file.close()
        figure = Figure(figsize=(7, 8), layout="constrained")
        for name, axes in zip(CURVES, figure.subplots(len(CURVES), sharex=True), strict=True):
            for column, color in ((name, "tab:gray"), (f"test_{name}", "tab:blue")):
                points = [(int(r["update"]), float(r[column])) for r in self.rows if r.get(column)]
                axes.plot(*np.array(points).reshape(-1, 2).T, color=color, label=column)
            axes.set(
                ylabel=name.replace("_", " "), yscale="linear" if name == "accuracy" else "log"
            )
            axes.grid(alpha=0.25)
        axes.set(xlabel="updates")
        figure.suptitle(self.title)
        figure.savefig(self.out / "curves.png", dpi=150)


def train(args, data, program):
    is_main = jax.process_index() == 0
    shape = jax.process_count(), jax.process_index()
    read = grain.ReadOptions(16, max(16, 2 * args.updates_per_dispatch))  # threads, and batches

    def batches(images, updates, seed=None):
        source = Batches(images, args.batch_size, updates, *shape, seed)
        return iter(grain.MapDataset.source(source).to_iter_dataset(read))

    def to_devices(sharding, arrays):
        return [jax.make_array_from_process_local_data(sharding, a) for a in arrays]

    def test(state):
        number = -(-len(data.test.labels) // args.batch_size)
        sums = [
            program.evaluate(state, *to_devices(program.split, batch))
            for batch in batches(data.test, number)
        ]
        loss, right, images = np.sum(jax.device_get(sums), axis=0)
        return {"test_loss": loss / images, "test_accuracy": right / images}

    folder = args.out.absolute() / "checkpoints"
    options = ocp.CheckpointManagerOptions(max_to_keep=args.keep)
    checkpoints = ocp.CheckpointManager(folder, options=options)
    train_batches = batches(data.train, args.updates, args.seed)
    done = checkpoints.latest_step() or 0  # in updates
    if done and not args.resume:
        sys.exit(f"{folder} has checkpoints: give --resume to go on, or another --out")
    if done:
        parts = dict(state=ocp.args.StandardRestore(program.state), data=ocp.args.JsonRestore())
        found = checkpoints.restore(done, args=ocp.args.Composite(**parts))
        state = found.state
        train_batches.set_state(found.data)
    else:
        state = program.initial()

    stop = np.zeros(jax.local_device_count(), bool)

    def ask_to_stop(signum, _):
        stop[:] = True
        signal.signal(signum, signal.SIG_DFL)  # a second one ends the program at once

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, ask_to_stop)

    log = Log(args, done) if is_main else None
    waiting, is_stopped = [], False
    while done < args.updates and not is_stopped:
        number = min(args.updates_per_dispatch, args.updates - done)
        chunk = map(np.stack, zip(*(next(train_batches) for _ in range(number)), strict=True))
        chunk = to_devices(program.split_many, chunk)
        # The wish of one host to stop goes through the program, so that all stop after one update.
        (wish,) = to_devices(program.split, [stop.copy()])
        state, metrics, is_stopping = program.updates(state, chunk, wish)
        done += number

        def is_due(every):
            return done == args.updates or done // every > (done - number) // every

        tested = test(state) if is_due(args.test_every) else {}
        waiting.append((done, metrics, tested, is_stopping))
        # One dispatch behind, so that the devices never wait for the host.
        while len(waiting) > (not tested and not is_due(args.save_every)):
            *report, is_stopping = jax.device_get(waiting.pop(0))
            is_stopped |= bool(is_stopping)
            if log:
                log.add(*report)
        if tested and program.is_plateau:
            state = program.observe(state, tested["test_loss"])
        if is_stopped or is_due(args.save_every):
            parts = dict(state=ocp.args.StandardSave(state))
            parts["data"] = ocp.args.JsonSave(train_batches.get_state())
            checkpoints.save(done, args=ocp.args.Composite(**parts))
    checkpoints.close()
    if log:
        log.close()


def compile_for(args, data, schedule):
    """Compiles one update for a slice of TPUs that is only described."""
    jax.config.update("jax_platforms", "cpu")
    # libtpu asks the machine otherwise, and waits for an answer.
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
    os.environ |= {"TPU_ACCELERATOR_TYPE": "v5litepod-4"}
    devices = topologies.get_topology_desc(topology_name=args.compile_for, platform="tpu").devices

    def compiled(schedule):
        program = Program(args, data, devices, schedule)
        stored = data.train.read(np.array([0]))[0].shape
        shapes = (1, args.batch_size, *stored), (1, args.batch_size), (len(devices),)
        shardings = program.split_many, program.split_many, program.split
        images, labels, wish = (
            jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)
            for shape, dtype, sharding in zip(shapes, (np.uint8, np.int32, bool), shardings)
        )
        return program.updates.lower(program.state, (images, labels), wish).compile()

    # A constant as a schedule of optax, so that both programs count.
    ours, constant = compiled(schedule), compiled(optax.constant_schedule(0.1))
    memory, text = ours.memory_analysis(), ours.as_text()
    peak = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    peak += memory.generated_code_size_in_bytes - memory.alias_size_in_bytes
    print(f"{args.compile_for}: {len(devices)} chips, {args.batch_size} images in an update")
    print(f"memory of a chip       {peak / 2**20:.1f} MiB, of which the state and the batch are")
    print(f"                       {memory.argument_size_in_bytes / 2**20:.1f} MiB")
    seconds = [c.cost_analysis()["optimal_seconds"] for c in (ours, constant)]
    print(f"an update, estimated   {seconds[0] * 1e6:.1f} us")
    for kind in ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all"):
        results = re.findall(rf" = (.*?) {kind}(?:-start)?\(", text)
        if results:
            arrays = re.findall(r"[a-z]+(\d+)\[([\d,]*)\]", " ".join(results))
            size = sum(
                int(b) // 8 * math.prod(map(int, filter(None, n.split(",")))) for b, n in arrays
            )
            print(f"{kind:<23}{len(results)}, of {size / 2**10:.0f} KiB")
    instructions = [c.as_text().count(" = ") for c in (ours, constant)]
    print(
        f"the schedule adds      {instructions[0] - instructions[1]} instructions of {instructions[0]:,}"
    )
    print(f"                       {100 * (seconds[0] / seconds[1] - 1):.2f} % of the estimate")


def main():
    parser = make_parser()
    args = parser.parse_args()

    def refuse(argument, message):
        parser.error(f"argument --{argument}: {message}")

    if args.distributed:  # before anything else asks JAX for its devices
        jax.distributed.initialize(args.coordinator, args.processes, args.process_id)
    try:
        data = load(args.data_dir, args.image_size)
    except (OSError, ValueError) as error:
        refuse("data-dir", error)
    for name, value in data.recipe.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    try:
        schedule = js.parse(args.schedule)
    except ValueError as error:
        refuse("schedule", error)
    if args.depth not in BOTTLENECKS if data.is_large else args.depth < 8 or args.depth % 6 != 2:
        refuse("depth", "50, 101 or 152" if data.is_large else "8, 14, 20 and so on: 6 n + 2")
    if args.compile_for:
        return compile_for(args, data, schedule)
    devices = jax.devices()
    if args.batch_size % len(devices):
        refuse("batch-size", f"must be a multiple of the {len(devices)} devices")
    if len(devices) % args.fsdp:
        refuse("fsdp", f"must divide the {len(devices)} devices")
    train(args, data, Program(args, data, devices, schedule))


def make_parser():
    parser = argparse.ArgumentParser(
        description="Train a ResNet on CIFAR-10, on folders of JPEGs, or on handwritten digits.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    natural, positive, real = number(int, 0), number(int, 1), number(float, 0)

    add = parser.add_argument_group(
        "recipe (without a value: the usual one of the data)"
    ).add_argument
    add(
        "--data-dir",
        type=Path,
        help="CIFAR-10 as published, or train/CLASS/*.JPEG and val/CLASS/*.JPEG; without it digits",
    )
    add(
        "--schedule",
        help='how the lr falls, in updates: "MultiStepLR(0.1, [32000, 48000])", "per_epoch(StepLR(0.1, 30), 391)"',
    )
    add("--updates", type=positive, help="of the parameters, in all")
    add("--batch-size", type=positive, help="images in one update, over all devices")
    add("--depth", type=positive, help="6 n + 2 for small images; 50, 101 or 152 for large ones")
    add("--width", type=positive, help="channels of the first stage")
    add("--image-size", type=positive, default=224, help="of JPEGs: pixels that the network sees")
    add("--weight-decay", type=real, default=1e-4, help="L2 penalty, as in torch's SGD")
    add(
        "--decay-kernels-only", action="store_true", help="no weight decay of biases and batch norm"
    )
    add(
        "--label-smoothing", type=number(float, 0, 1), default=0.0, help="0.1 is usual for ImageNet"
    )
    add("--bfloat16", action="store_true", help="compute in bfloat16; parameters stay float32")
    add("--seed", type=number(int, 0, 2**32), default=0, help="for weights, order, crops and flips")

    add = parser.add_argument_group("devices").add_argument
    add(
        "--updates-per-dispatch",
        type=positive,
        default=20,
        help="updates that the host starts at once",
    )
    add("--fsdp", type=positive, default=1, help="split the parameters over so many devices")
    add(
        "--distributed",
        action="store_true",
        help="run as one of many hosts; where the platform does not tell: also",
    )
    add("--coordinator", metavar="HOST:PORT", help="the address of process 0")
    add("--processes", type=positive, help="how many")
    add("--process-id", type=natural, help="which one of them this is, from 0")
    add(
        "--compile-for",
        metavar="SLICE",
        help="compile for these TPUs, as v5e:16x16, print what it costs, and stop",
    )

    add = parser.add_argument_group("run").add_argument
    add(
        "--out",
        type=Path,
        default="runs/resnet",
        help="folder for all that is written, one for all hosts",
    )
    add("--resume", action="store_true", help="go on from the last checkpoint there, if any")
    add("--save-every", type=positive, default=1000, help="updates from one checkpoint to the next")
    add("--keep", type=positive, default=3, help="checkpoints to keep")
    add("--test-every", type=positive, default=1000, help="updates from one test to the next")
    add(
        "--log-every",
        type=positive,
        default=20,
        help="updates from one row of metrics.csv to the next",
    )
    return parser


if __name__ == "__main__":
    main()
