"""Families of output distributions: one class, several labels, numbers and counts, one file each.

Your own family needs only the names of this module: see `IndependentOutputs`.
"""

import copy

from fastem.families.base import Family, IndependentOutputs
from fastem.families.bernoulli import Bernoulli
from fastem.families.categorical import Categorical
from fastem.families.gaussian import Gaussian
from fastem.families.mixture import (
    MOST_UNITS_OF_A_MIXTURE,
    Mixture,
    blocks,
    mixtures_of_rows,
)
from fastem.families.poisson import LARGEST_LOG_RATE, Poisson

FAMILIES: dict[str, type[Family]] = {
    "categorical": Categorical,
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "poisson": Poisson,
}
"""Families by the name that the parameter ``family`` takes."""


def resolve_family(family: str | Family) -> Family:
    """Return the family that the parameter ``family`` stands for.

    Parameters
    ----------
    family : {"categorical", "bernoulli", "gaussian", "poisson"} or Family

    Returns
    -------
    family : Family
        A new instance. If an instance was passed, it is a copy: a fit does not depend on later
        changes of the settings.

    Raises
    ------
    ValueError
        If there is no family of that name.
    """
    if isinstance(family, Family):
        return copy.copy(family)
    if isinstance(family, str) and family in FAMILIES:
        return FAMILIES[family]()
    choices = ", ".join(map(repr, FAMILIES))
    raise ValueError(
        f"family must be one of {choices}, or an instance of fastem.Family; got {family!r}."
    )


__all__ = [
    "FAMILIES",
    "LARGEST_LOG_RATE",
    "MOST_UNITS_OF_A_MIXTURE",
    "Bernoulli",
    "Categorical",
    "Family",
    "Gaussian",
    "IndependentOutputs",
    "Mixture",
    "Poisson",
    "blocks",
    "mixtures_of_rows",
    "resolve_family",
]
