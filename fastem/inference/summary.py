"""The summary of a fit as a table of plain text."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from fastem.parameters import Array

_WIDTH = 78


@dataclass(frozen=True)
class Summary:
    """Summary of a fitted network; ``print(summary)`` shows a table.

    Attributes
    ----------
    model, family : str
    hidden_layer_sizes : tuple of int
    n_samples : float
        Summed weight of the rows.
    n_parameters : int
        Free parameters; one class of the softmax is redundant.
    log_likelihood : float, nats
        Without penalty.
    aic, bic : float
        With `n_parameters`, on the scale of deviances.
    alpha : float
        L2 penalty in use.
    n_starts, n_iter : int
        Random starts, and iterations of the best one.
    converged : bool
    effective_parameters : float
        See `Inference`.
    n_unidentified : int
        Directions of the parameters that neither the rows nor the penalty determine.
    feature_names, output_names : lists of str
        Outputs are classes, labels or columns of y.
    effects : array (n_features, n_outputs)
        Average marginal effects: the mean over the weighted rows of the slope of p(y = k | x), of
        the probability of a label, or of the mean of y, per unit of the feature.
    effect_errors : array (n_features, n_outputs)
        Standard errors by the delta method; infinite where an effect is not identified.
    coverage : float, probability
        Of the intervals in the table.
    half_width : float
        Half the width of an interval in standard errors.
    noise_variance, noise_variance_error : arrays (n_outputs,) or None
        Variance of y given the hidden states, with standard errors, in the squared unit of y. None
        if the family has no variance. The error is 0 if the variance is at its lower bound.
    """

    model: str
    family: str
    hidden_layer_sizes: tuple[int, ...]
    n_samples: float
    n_parameters: int
    log_likelihood: float
    aic: float
    bic: float
    alpha: float
    n_starts: int
    n_iter: int
    converged: bool
    effective_parameters: float
    n_unidentified: int
    feature_names: list[str]
    output_names: list[str]
    effects: Array
    effect_errors: Array
    coverage: float
    half_width: float
    noise_variance: Array | None = None
    noise_variance_error: Array | None = None

    @property
    def z_values(self) -> Array:
        """Effects divided by their standard errors, (n_features, n_outputs)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(self.effects / self.effect_errors, nan=0.0)

    @property
    def p_values(self) -> Array:
        """Two-sided p-values of the hypothesis that an effect is zero, (n_features, n_outputs)."""
        return 2.0 * ndtr(-np.abs(self.z_values))

    @property
    def effect_intervals(self) -> Array:
        """Confidence intervals of the effects, (n_features, n_outputs, 2)."""
        margin = self.half_width * self.effect_errors
        return np.stack([self.effects - margin, self.effects + margin], axis=-1)

    def __str__(self) -> str:
        blocks = [self._head(), self._effect_table(), *self._noise_table(), self._notes()]
        return "\n".join(["=" * _WIDTH, *blocks, "=" * _WIDTH])

    __repr__ = __str__

    def _head(self) -> str:
        pairs = [
            ("Model", self.model),
            ("Family", self.family),
            ("Hidden units", ", ".join(map(str, self.hidden_layer_sizes))),
            ("Observations", f"{self.n_samples:g}"),
            ("Parameters", str(self.n_parameters)),
            ("Effective parameters", f"{self.effective_parameters:.2f}"),
            ("Penalty alpha", f"{self.alpha:g}"),
            ("Log-likelihood", f"{self.log_likelihood:.3f}"),
            ("AIC", f"{self.aic:.3f}"),
            ("BIC", f"{self.bic:.3f}"),
            ("Starts", str(self.n_starts)),
            ("Iterations", str(self.n_iter)),
            ("Converged", "yes" if self.converged else "no"),
            ("Unidentified directions", str(self.n_unidentified)),
        ]
        left = pairs[: len(pairs) // 2]
        right = pairs[len(pairs) // 2 :]
        lines = [
            f"{a + ':':<22}{b:>16}   {c + ':':<24}{d:>13}"
            for (a, b), (c, d) in zip(left, right, strict=True)
        ]
        return "\n".join(lines)

    def _effect_table(self) -> str:
        low, high = 0.5 - 0.5 * self.coverage, 0.5 + 0.5 * self.coverage
        names = [*self.feature_names, "feature"]
        width = max(8, min(24, max(map(len, names))))
        lines = ["-" * _WIDTH, "Average marginal effects on " + self._predicted()]
        low_word, high_word = f"[{low:.3g}", f"{high:.3g}]"
        head = f"{'feature':<{width}}{'effect':>11}{'std. error':>11}{'z':>8}{'P>|z|':>8}"
        lines.append(head + f"{low_word:>11}{high_word:>11}")
        z, p, intervals = self.z_values, self.p_values, self.effect_intervals
        for k, output in enumerate(self.output_names):
            if len(self.output_names) > 1:
                lines.append(f"{self._kind()} {output}")
            for j, name in enumerate(self.feature_names):
                numbers = f"{self.effects[j, k]:>11.4g}{self.effect_errors[j, k]:>11.3g}"
                numbers += f"{z[j, k]:>8.2f}{p[j, k]:>8.3f}"
                numbers += "".join(f"{end:>11.4g}" for end in intervals[j, k])
                lines.append(f"{name[:width]:<{width}}" + numbers)
        return "\n".join(lines)

    def _noise_table(self) -> list[str]:
        if self.noise_variance is None:
            return []
        lines = ["-" * _WIDTH, "Noise variance given the hidden states"]
        values = zip(self.output_names, self.noise_variance, self.noise_variance_error, strict=True)
        for name, variance, error in values:
            at_floor = "  (at its lower bound)" if error == 0.0 else f"{error:>11.3g}"
            lines.append(f"{self._kind()} {name:<13}{variance:>11.4g}{at_floor}")
        return ["\n".join(lines)]

    def _notes(self) -> str:
        lines = [
            "-" * _WIDTH,
            "Effects are means over the rows of the slope per unit of the feature. Standard",
            "errors are by the delta method, given the number of units and the penalty.",
            "The hidden units are latent: the usual asymptotics of AIC, BIC and likelihood",
            "ratios do not hold for their number. Use cross-validation, or",
            "fastem.likelihood_ratio_test.",
        ]
        if not self.converged:
            lines.append("The fit did not converge: standard errors are unreliable.")
        return "\n".join(lines)

    def _predicted(self) -> str:
        return {
            "categorical": "the probability of a class",
            "bernoulli": "the probability of a label",
        }.get(self.family, "the mean of y")

    def _kind(self) -> str:
        return {"categorical": "class", "bernoulli": "label"}.get(self.family, "output")
