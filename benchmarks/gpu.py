"""What jaxsched is on a GPU, beside optax, in under six minutes.

    python -m benchmarks.gpu     writes its rows into benchmarks/RESULTS.md

Where JAX sees no GPU it says so, and ends with status 2.
"""

import os
import sys

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # others may use the GPU, too

from benchmarks import clock  # noqa: E402

if __name__ == "__main__":
    sys.exit(clock.main("gpu"))
