"""Objects with settings that scikit-learn's grid search can read and change."""

import inspect
from typing import Any, Self


class HasSettings:
    """Object whose settings are the parameters of its constructor, stored under the same names."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **settings: Any) -> Self:
        """Change settings; return the object.

        Raises
        ------
        ValueError
            If there is no such setting.
        """
        names = self.get_params()
        for name, value in settings.items():
            if name not in names:
                raise ValueError(
                    f"{type(self).__name__} has no setting {name!r}; it has {sorted(names)}."
                )
            setattr(self, name, value)
        return self
