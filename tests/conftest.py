import jax

# As careful users run: no implicit promotion of dtypes or ranks.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
