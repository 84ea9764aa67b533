"""What jaxsched is on a TPU, beside optax: `benchmarks.gpu` for a host with TPUs.

    python -m benchmarks.tpu     writes its rows into benchmarks/RESULTS.md

Where JAX sees no TPU it says so, and ends with status 2. It has not run on a TPU yet.
"""

import sys

from benchmarks import clock

if __name__ == "__main__":
    print("No TPU has run this program yet.", file=sys.stderr)
    sys.exit(clock.main("tpu"))
