import jax

collect_ignore = ["user_code.py"]  # for type checkers: half of it is wrong

# As careful users run: no implicit promotion of dtypes or ranks.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Several devices on any machine, for what is sharded.
jax.config.update("jax_num_cpu_devices", 8)
