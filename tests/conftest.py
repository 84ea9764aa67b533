from pathlib import Path

import jax

collect_ignore = ["user_code.py"]  # for type checkers: half of it is wrong

# As careful users run: no implicit promotion of dtypes or ranks.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Several devices on any machine, for what is sharded.
jax.config.update("jax_num_cpu_devices", 8)


def pytest_xdist_auto_num_workers(config):
    """No workers for one file, or for tests of one file: they take longer to start."""
    files = {argument.partition("::")[0] for argument in config.option.file_or_dir}
    return 0 if len(files) == 1 and Path(files.pop()).is_file() else None
