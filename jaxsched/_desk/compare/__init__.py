"""A log against a schedule: where they differ, and the simplest explanation of it."""
