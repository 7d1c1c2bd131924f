"""One label among several classes: the softmax of z V + c."""

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastem.families.base import Array, Family
from fastem.runtime import detached


class Categorical(Family):
    """Classes: ``P(y = k | z)`` is the softmax of ``z V + c``.

    The E-step has one table per class, so the log-odds of the hidden units are not tilted.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import Categorical
    >>> family = Categorical()
    >>> family.targets([0, 2, 1])
    array([0, 2, 1])
    >>> logits = np.array([[0.0, 800.0, 0.0], [0.0, 0.0, 800.0]])
    >>> family.draw(logits, np.random.RandomState(0))
    array([1, 2])
    """

    name: ClassVar[str] = "categorical"

    def targets(self, y: ArrayLike) -> NDArray[np.int64]:
        """Return class indices (n_samples,).

        Raises
        ------
        ValueError
            If y is not an array of integers.
        """
        try:
            labels = np.asarray(detached(y))
        except ValueError as error:
            raise ValueError(f"y must be an array of class indices: {error}") from error
        if labels.dtype.kind not in "iu":
            raise ValueError(f"y must hold class indices (integers), got dtype {labels.dtype}.")
        return labels.astype(np.int64)

    def draw(self, logits: Array, random_state: np.random.RandomState) -> NDArray[np.int64]:
        """Draw a class index for every row of logits (n_samples, n_classes)."""
        # the index of the largest logit plus Gumbel noise has the softmax distribution
        return np.argmax(logits + random_state.gumbel(size=logits.shape), axis=1)
