"""jaxsched beside optax, torch and braintools, in one run: `python -m benchmarks`."""
