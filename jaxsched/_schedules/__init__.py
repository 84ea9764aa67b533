"""The schedules: a class, a formula and a docstring each, by family."""
