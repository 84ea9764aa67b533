"""jaxsched beside optax, in one run."""
