"""The exact log-likelihood as a differentiable function in PyTorch.

PyTorch is imported when a function is called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fastem.engines import Engine
from fastem.families import Family
from fastem.oracle import Point, RowLikelihood
from fastem.runtime import finite_array

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike

__all__ = ["LogLikelihood", "log_likelihood"]


class LogLikelihood:
    """``log p(y_i | x_i)`` of every row as a differentiable function, for training loops.

    It is called with the arguments of `log_likelihood`, and keeps the memory of the E-step between
    calls as long as their sizes are equal. Rows and parameters can be different in every call.

    Parameters
    ----------
    family, method, n_jobs
        As for `fastem.e_step`.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError
        If there is no family or engine of that name, or ``n_jobs`` is not possible.

    See Also
    --------
    fastem.torch.log_likelihood : The same for one call.

    Examples
    --------
    A linear layer below the network of binary units, trained together with it:

    >>> import torch, fastem
    >>> _ = torch.manual_seed(0)
    >>> X, y = torch.randn(20, 5), torch.arange(20) % 3
    >>> below = torch.nn.Linear(5, 2)
    >>> W, V = torch.randn(2, 4, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    >>> b, c = torch.zeros(4, requires_grad=True), torch.zeros(3, requires_grad=True)
    >>> log_p = fastem.torch.LogLikelihood()
    >>> optimizer = torch.optim.Adam([*below.parameters(), W, V, b, c])
    >>> for _ in range(10):
    ...     optimizer.zero_grad()
    ...     loss = -log_p(below(X), y, [W, V], [b, c]).mean()
    ...     loss.backward()
    ...     optimizer.step()
    """

    def __init__(
        self,
        *,
        family: str | Family = "categorical",
        method: str | Engine = "auto",
        n_jobs: int | None = None,
    ) -> None:
        self._rows = RowLikelihood(family, method, n_jobs)

    def __call__(
        self,
        X: torch.Tensor | ArrayLike,
        y: torch.Tensor | ArrayLike,
        coefs: Sequence[torch.Tensor | ArrayLike],
        intercepts: Sequence[torch.Tensor | ArrayLike],
        variance: torch.Tensor | ArrayLike | None = None,
    ) -> torch.Tensor:
        """Return the log-likelihood of every row, as `log_likelihood` does."""
        import torch

        for name, values in (("coefs", coefs), ("intercepts", intercepts)):
            if not isinstance(values, (list, tuple, torch.nn.ParameterList)):
                raise ValueError(f"{name} must be a list of tensors, got {type(values).__name__}.")
        if isinstance(y, torch.Tensor):
            _check_device("y", y)
        else:
            y = torch.from_numpy(self._rows.family.targets(y))
        named = {"X": X}
        named |= {f"coefs[{i}]": values for i, values in enumerate(coefs)}
        named |= {f"intercepts[{i}]": values for i, values in enumerate(intercepts)}
        if self._rows.family.has_variance and variance is not None:
            named["variance"] = variance
        given = [values.dtype for values in named.values() if isinstance(values, torch.Tensor)]
        floating = [dtype for dtype in given if dtype.is_floating_point]
        dtype = functools.reduce(torch.promote_types, floating) if floating else torch.float64
        tensors = [_float64(name, values) for name, values in named.items()]
        counts = len(coefs), len(intercepts)
        log_likelihood, *_ = _function()(self._rows, counts, y, *tensors)
        return log_likelihood.to(dtype)


def log_likelihood(
    X: torch.Tensor | ArrayLike,
    y: torch.Tensor | ArrayLike,
    coefs: Sequence[torch.Tensor | ArrayLike],
    intercepts: Sequence[torch.Tensor | ArrayLike],
    variance: torch.Tensor | ArrayLike | None = None,
    *,
    family: str | Family = "categorical",
    method: str | Engine = "auto",
    n_jobs: int | None = None,
) -> torch.Tensor:
    """Return the exact ``log p(y_i | x_i)`` of every row, differentiable in PyTorch.

    Parameters
    ----------
    X : tensor (n_samples, n_features)
        Inputs. They can be the output of other layers.
    y, coefs, intercepts, variance, family, method, n_jobs
        As for `fastem.e_step`. Tensors or arrays, on the CPU.

    Returns
    -------
    log_likelihood : tensor (n_samples,), nats
        Differentiable with respect to X, coefs, intercepts and variance; y is a constant. It has
        the widest floating-point type of these tensors, or float64 without tensors. It is computed
        in float64.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError
        As `fastem.e_step`, and if a tensor is not on the CPU.
    FloatingPointError
        If inputs times weights or squared residuals overflow.
    RuntimeError
        In the backward pass, for second derivatives: only first derivatives are available.

    Warns
    -----
    UserWarning
        If "auto" falls back to sampling, or the effective sample size is low: see
        `fastem.Sampling`.

    See Also
    --------
    fastem.torch.LogLikelihood : The same for many calls; it keeps its memory.

    Notes
    -----
    The forward pass is one E-step, which returns the gradients too. The backward pass needs no
    E-step if the loss weights all rows equally, as a mean or a sum does. Otherwise it takes one
    E-step, or two if the weights of rows have both signs.

    Examples
    --------
    >>> import torch, fastem
    >>> X, y = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1])
    >>> W = torch.tensor([[2.0, -1.0]], requires_grad=True)
    >>> V = torch.tensor([[1.0, -1.0], [0.5, 0.0]], requires_grad=True)
    >>> b, c = torch.zeros(2), torch.zeros(2)
    >>> loss = -fastem.torch.log_likelihood(X, y, [W, V], [b, c]).mean()
    >>> loss.backward()
    >>> W.grad
    tensor([[0.1255, 0.0345]])
    """
    function = LogLikelihood(family=family, method=method, n_jobs=n_jobs)
    return function(X, y, coefs, intercepts, variance)


def _check_device(name: str, values: torch.Tensor) -> None:
    """Raise ValueError unless a tensor is on the CPU."""
    if values.device.type != "cpu":
        raise ValueError(
            f"{name} must be on the CPU, got a tensor on {values.device}. Pass {name}.cpu()."
        )


def _float64(name: str, values: torch.Tensor | ArrayLike) -> torch.Tensor:
    """Return real numbers as a tensor of float64; a variance has one dimension at least."""
    import torch

    if not isinstance(values, torch.Tensor):
        return torch.from_numpy(finite_array(name, values))
    _check_device(name, values)
    if values.is_complex() or values.layout != torch.strided:
        raise ValueError(
            f"{name} must be a dense tensor of real numbers, got dtype {values.dtype} and layout "
            f"{values.layout}."
        )
    values = values.to(torch.float64)
    return torch.atleast_1d(values) if name == "variance" else values


@functools.cache
def _function() -> Callable[..., Any]:
    """Return the log-likelihood as a function that autograd can differentiate.

    Its arguments are a `RowLikelihood`, the numbers of coefs and of intercepts, and tensors: y, X,
    coefs, intercepts, and variance if the family has one.
    """
    import torch

    gradient_function = _gradient_function()

    class LogLikelihoodFunction(torch.autograd.Function):
        @staticmethod
        def forward(rows: RowLikelihood, counts: tuple[int, int], *tensors: Any) -> tuple[Any, ...]:
            log_likelihood, posterior, gradients = rows.evaluate(_point(counts, tensors))
            return tuple(map(torch.from_numpy, (log_likelihood, posterior, *gradients)))

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
            ctx.settings = inputs[:2]
            ctx.mark_non_differentiable(*output[1:])
            ctx.save_for_backward(*output[1:], *inputs[2:])

        @staticmethod
        def backward(ctx: Any, weights: torch.Tensor, *_: Any) -> tuple[Any, ...]:
            of_X, of_parameters = ctx.needs_input_grad[3], any(ctx.needs_input_grad[4:])
            settings = *ctx.settings, of_X, of_parameters
            found = gradient_function.apply(*settings, weights, *ctx.saved_tensors)
            into_X, into_parameters = found[:of_X], found[of_X:]
            missing = len(ctx.needs_input_grad) - 4 if not of_parameters else 0
            return None, None, None, *(into_X or [None]), *into_parameters, *[None] * missing

        @staticmethod
        def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, ...]:
            return _one_by_one(LogLikelihoodFunction, info.batch_size, in_dims, inputs)

    return torch.compiler.disable(LogLikelihoodFunction.apply)  # NumPy inside is not compiled


def _gradient_function() -> type:
    """Return the autograd function of the gradients, which cannot be differentiated again.

    Its arguments are a `RowLikelihood`, the numbers of coefs and of intercepts, whether the
    gradients with respect to X and with respect to the parameters are needed, the weights of the
    rows, and what the log-likelihood has saved.
    """
    import torch

    class GradientFunction(torch.autograd.Function):
        @staticmethod
        def forward(
            rows: RowLikelihood,
            counts: tuple[int, int],
            of_X: bool,
            of_parameters: bool,
            weights: torch.Tensor,
            posterior: torch.Tensor,
            *saved: torch.Tensor,
        ) -> tuple[Any, ...]:
            n_parameters = (len(saved) - 2) // 2
            point = _point(counts, saved[n_parameters:])
            found = []
            if of_X:
                own = torch.from_numpy(rows.input_gradient(point, posterior.numpy()))
                found.append(weights[:, None] * own)
            if of_parameters:
                gradients = [values.numpy() for values in saved[:n_parameters]]
                total = rows.weighted_gradients(point, weights.numpy(), gradients)
                found += map(torch.from_numpy, total)
            return tuple(found)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
            pass

        @staticmethod
        def backward(ctx: Any, *_: Any) -> None:
            raise RuntimeError(
                "fastem.torch.log_likelihood has first derivatives only: its gradient cannot be "
                "differentiated again."
            )

        @staticmethod
        def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, ...]:
            return _one_by_one(GradientFunction, info.batch_size, in_dims, inputs)

    return GradientFunction


def _one_by_one(
    function: type, batch_size: int, in_dims: tuple[Any, ...], inputs: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Apply an autograd function to every element of a batch of ``torch.vmap``."""
    import torch

    def element(i: int) -> list[Any]:
        pairs = zip(inputs, in_dims, strict=True)
        return [x.select(dim, i) if isinstance(dim, int) else x for x, dim in pairs]

    results = zip(*(function.apply(*element(i)) for i in range(batch_size)), strict=True)
    stacked = tuple(torch.stack(of_output) for of_output in results)
    return stacked, (0,) * len(stacked)


def _point(counts: tuple[int, int], tensors: tuple[torch.Tensor, ...]) -> Point:
    """Return the arguments as arrays, which share the memory of the tensors."""
    y, X, *rest = (values.detach().numpy() for values in tensors)
    n_coefs, n_weights = counts[0], sum(counts)
    variance = rest[-1] if len(rest) > n_weights else None
    return Point(X, y, rest[:n_coefs], rest[n_coefs:n_weights], variance)
