"""jaxsched beside optax, torch and braintools, in one run: `python -m benchmarks`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # for `traces`
