"""The exact E-step in NumPyro: a model with discrete latent units, summed out by enumeration.

NumPyro gives every enumerated unit an axis of its own. The log-probabilities of y are an array with
m axes of length 2, one of rows and one of classes, and gradients keep several such arrays. No limit
of the number of axes was reached up to m = 20 (6 rows, tens of seconds to compile). The limits are
time and memory, which grow at least like ``n g 2**m``. On one thread, an E-step of 1000 rows and
three classes takes 0.2 seconds for m = 10 and 1 second for m = 12. For m = 16, one array has
1.6 GB.
"""

from peer_arrays import EStep, Gradients, arrays_of
from problems import EStepProblem


def prepare_numpyro(problem: EStepProblem, dtype: type) -> EStep:
    """Prepare ``value_and_grad`` of ``log_density``, compiled; all weights of rows are one.

    ``log_density`` is the sum over rows, so the log-likelihood has one entry.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np
    import numpyro
    from numpyro.contrib.funsor import config_enumerate, enum, log_density
    from numpyro.distributions import Bernoulli, Categorical

    jax.config.update("jax_enable_x64", True)
    X, y, _, *parameters = map(jnp.asarray, arrays_of(problem, dtype))
    start = dict(zip("WbVc", parameters, strict=True))
    units = range(problem.shape.first)

    @config_enumerate
    def model(X, y):
        W, b, V, c = (numpyro.param(name, start[name]) for name in "WbVc")
        a = X @ W + b
        with numpyro.plate("rows", len(X), dim=-1):
            logits = c
            for h in units:
                unit = Bernoulli(logits=a[:, h])
                z = numpyro.sample(f"z{h}", unit, infer={"enumerate": "parallel"})
                logits = logits + z[..., None] * V[h]
            numpyro.sample("y", Categorical(logits=logits), obs=y)

    enumerated = enum(model, first_available_dim=-2)  # the rows have the axis -1

    def total(parameters, X, y):
        return log_density(enumerated, (X, y), {}, parameters)[0]

    value_and_gradients = jax.jit(jax.value_and_grad(total))

    def e_step() -> Gradients:
        value, gradients = value_and_gradients(start, X, y)
        return Gradients(*map(np.asarray, (value[None], *(gradients[name] for name in "WbVc"))))

    return e_step
