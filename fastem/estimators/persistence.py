"""What a model file and a pickle keep of a model."""

import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem._version import __version__
from fastem.engines import ENGINES, Engine, resolve_engine
from fastem.estimators.model_files import read_model, write_model
from fastem.families import FAMILIES, Family
from fastem.oracle import check_parameters
from fastem.runtime import warn_user

_CURVES = "data_loss_curve", "loss_curve_seconds", "validation_loss_curve"
_PATHS = {"path_": "alpha_path_", "sizes_": "size_path_"}  # by the prefix of their columns


def save(
    model: Any, path: str | os.PathLike[str], preparation: dict[str, Any] | None = None
) -> None:
    """Write a fitted model with stochastic units.

    Parameters
    ----------
    model : estimator
    path : path-like
    preparation : dict of JSON values, optional
        How columns of a table become the features of the model.

    Raises
    ------
    ValueError
        If the labels are neither numbers nor strings, or the engine is not one of this package.
        No file is written.
    """
    header, arrays = contents_of(model)
    if preparation is not None:
        header["preparation"] = preparation
    write_model(path, header, arrays)


def contents_of(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return header and arrays of the file of a fitted model.

    Raises
    ------
    ValueError
        As `save`.
    """
    for name, engine in (("e_step", model.e_step), ("e_step_", model.e_step_)):
        _check_engine(name, engine)
    _check_family(model.family_)
    arrays = {"loss_curve": np.array(model.loss_curve_)}
    if hasattr(model, "classes_"):
        arrays["classes"] = _plain_labels(model.classes_)
    if hasattr(model, "variance_"):
        arrays["variance"] = model.variance_
    if hasattr(model, "feature_deviation_"):
        arrays["feature_deviation"] = model.feature_deviation_
    for name in _CURVES:
        if getattr(model, f"{name}_", None) is not None:
            arrays[name] = np.array(getattr(model, f"{name}_"))
    for i, (coef, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        arrays[f"coef_{i}"], arrays[f"intercept_{i}"] = coef, intercept
    if hasattr(model, "feature_names_in_"):
        arrays["feature_names"] = model.feature_names_in_.astype(str)
    header = {
        "class": type(model).__name__,
        "fastem_version": __version__,
        "parameters": {name: _to_json(v) for name, v in model.get_params(deep=False).items()},
        "engine": _to_json(model.e_step_),
        "n_iter": model.n_iter_,
        "converged": bool(model.converged_),
        "loss": float(model.loss_),
        "best_validation_loss": getattr(model, "best_validation_loss_", None),
        "family": _to_json(model.family_),
    }
    if hasattr(model, "variance_floor_"):
        header["variance_floor"] = float(model.variance_floor_)
    if "classes" in arrays:
        header["object_labels"] = model.classes_.dtype.kind == "O"
    _add_choices(model, header, arrays)
    return header, arrays


def _add_choices(model: Any, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Add the attributes that describe the choices of a fit, if there are any, and its starts."""
    for name in ("alpha_", "solver_"):
        if hasattr(model, name):
            header[name] = getattr(model, name)
    for prefix, path in _PATHS.items():
        columns = getattr(model, path, {})
        arrays.update({prefix + name: column for name, column in columns.items()})
    starts = getattr(model, "starts_", None)
    if starts is None:
        return
    names = "loss", "n_iter", "converged"
    header["starts"] = [{name: start[name] for name in names} for start in starts]
    for i, start in enumerate(starts):
        for j, (coef, intercept) in enumerate(
            zip(start["coefs"], start["intercepts"], strict=True)
        ):
            arrays[f"start_{i}_coef_{j}"], arrays[f"start_{i}_intercept_{j}"] = coef, intercept
        if "variance" in start:
            arrays[f"start_{i}_variance"] = start["variance"]


def _check_engine(name: str, value: Any) -> None:
    """Raise ValueError if an attribute of a model is an engine of another package."""
    if isinstance(value, Engine) and type(value) not in ENGINES.values():
        kinds = ", ".join(f"fastem.{kind.__name__}()" for kind in ENGINES.values())
        raise ValueError(
            f"A model file cannot hold {name} of class {type(value).__qualname__}, "
            f"which is not an engine of fastem. Use pickle, or fit with one of {kinds}."
        )


def _check_family(family: Family) -> None:
    """Raise ValueError if the family of a model is one of another package."""
    if type(family) not in FAMILIES.values():
        raise ValueError(
            f"A model file cannot hold a family of class {type(family).__qualname__}, which is not "
            "a family of fastem. Use pickle."
        )


def _plain_labels(classes: np.ndarray) -> np.ndarray:
    if classes.dtype.kind in "biufU":
        return classes
    if all(isinstance(label, str) for label in classes):
        return classes.astype(str)
    raise ValueError(
        f"Labels of dtype {classes.dtype} cannot be saved; use integers or strings as labels."
    )


def _to_json(value: Any) -> Any:
    if isinstance(value, Engine):
        settings = {name: _to_json(setting) for name, setting in value.get_params().items()}
        return {"engine": value.name, "settings": settings}
    if isinstance(value, Family):
        return {"family": value.name, "settings": value.get_params()}
    if isinstance(value, dict):  # JSON would turn the keys into strings
        return {"items": [[_to_json(key), _to_json(item)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, np.random.RandomState):
        return None  # the position of a generator has no effect on a fitted model
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict) and value.get("engine") in ENGINES:
        return ENGINES[value["engine"]](**value["settings"])
    if isinstance(value, dict) and value.get("family") in FAMILIES:
        return FAMILIES[value["family"]](**value["settings"])
    if isinstance(value, dict) and "items" in value:
        return dict(value["items"])
    return value


def load(kinds: Sequence[type], path: str | os.PathLike[str]) -> Any:
    """Read a model that `save` has written.

    Parameters
    ----------
    kinds : sequence of type
        The classes that the model may have.
    path : path-like

    Raises
    ------
    ValueError
        If the file is damaged or holds another kind of model.
    """
    return model_of(kinds, path, *read_model(path))


def model_of(
    kinds: Sequence[type],
    path: str | os.PathLike[str],
    header: dict[str, Any],
    arrays: dict[str, np.ndarray],
) -> Any:
    """Return the model for the header and the arrays of a file; ``path`` is for messages.

    Parameters and errors are those of `load`.
    """
    for kind in kinds:
        if header.get("class") == kind.__name__:
            break
    else:
        names = " or ".join(f"a {kind.__name__}" for kind in kinds)
        raise ValueError(f"{str(path)!r} holds a {header.get('class')}, not {names}.")
    try:
        return _restore(kind, header, arrays)
    except Exception as error:
        raise ValueError(f"{str(path)!r} is damaged: {error!r}.") from error


def _restore(kind: type, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    parameters = {name: _from_json(value) for name, value in header["parameters"].items()}
    if isinstance(parameters["hidden_layer_sizes"], list):
        parameters["hidden_layer_sizes"] = tuple(parameters["hidden_layer_sizes"])
    model = kind(**parameters)
    n_arrays = sum(name.startswith("coef_") for name in arrays)
    model.coefs_ = [arrays[f"coef_{i}"] for i in range(n_arrays)]
    model.intercepts_ = [arrays[f"intercept_{i}"] for i in range(n_arrays)]
    model.family_ = _from_json(header.get("family", {"family": "categorical", "settings": {}}))
    weights = [*model.coefs_, *model.intercepts_]
    if "variance" in arrays:
        model.variance_ = arrays["variance"]
        weights.append(model.variance_)
    if "variance_floor" in header:  # absent from files of earlier versions
        model.variance_floor_ = float(header["variance_floor"])
    n_features = len(model.coefs_[0])
    if any(values.dtype != np.float64 for values in weights):
        raise ValueError("weights are not float64")
    variance = arrays.get("variance")
    check_parameters(model.coefs_, model.intercepts_, n_features, model.family_, variance)
    if "object_labels" in header or "classes" in arrays:
        classes = arrays["classes"]
        model.classes_ = classes.astype(object) if header["object_labels"] else classes
        if classes.shape != model.intercepts_[-1].shape:
            raise ValueError(f"{classes.shape} labels for {len(model.intercepts_[-1])} classes")
    if "feature_names" in arrays:
        if arrays["feature_names"].shape != (n_features,):
            raise ValueError(f"{arrays['feature_names'].shape} names for {n_features} features")
        model.feature_names_in_ = arrays["feature_names"].astype(object)
    if "feature_deviation" in arrays:  # absent from files of earlier versions
        model.feature_deviation_ = arrays["feature_deviation"]
        if model.feature_deviation_.shape != (n_features,):
            raise ValueError(
                f"{model.feature_deviation_.shape} deviations for {n_features} features"
            )
    model.n_features_in_ = n_features
    model.n_layers_ = n_arrays + 1
    model.loss_curve_ = arrays["loss_curve"].tolist()
    for name in _CURVES:
        if name in arrays:  # absent from files of earlier versions
            setattr(model, f"{name}_", arrays[name].tolist())
    if "validation_loss_curve" not in arrays:
        model.validation_loss_curve_ = None
    model.best_validation_loss_ = header.get("best_validation_loss")
    model.loss_ = float(header.get("loss", model.loss_curve_[-1]))  # older files lack it
    model.n_iter_, model.converged_ = int(header["n_iter"]), bool(header["converged"])
    model.e_step_ = resolve_engine(_from_json(header["engine"]))
    _restore_choices(model, header, arrays)
    return model


def _restore_choices(model: Any, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Set the attributes that `_add_choices` has added; earlier versions lack them."""
    for name, kind in (("alpha_", float), ("solver_", str)):
        if name in header:
            setattr(model, name, kind(header[name]))
    for prefix, path in _PATHS.items():
        names = [name for name in arrays if name.startswith(prefix)]
        if names:
            setattr(model, path, {name.removeprefix(prefix): arrays[name] for name in names})
    if "starts" not in header:
        return
    n_layers = len(model.coefs_)
    model.starts_ = []
    for i, start in enumerate(header["starts"]):
        start["coefs"] = [arrays[f"start_{i}_coef_{j}"] for j in range(n_layers)]
        start["intercepts"] = [arrays[f"start_{i}_intercept_{j}"] for j in range(n_layers)]
        if f"start_{i}_variance" in arrays:
            start["variance"] = arrays[f"start_{i}_variance"]
        model.starts_.append(start)


def add_version(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a pickle with the version of the package."""
    return {**state, "_fastem_version": __version__}


def check_version(kind: type, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state without the version that `add_version` has added.

    Warns
    -----
    UserWarning
        If another version of the package wrote the pickle.
    """
    state = dict(state)
    version = state.pop("_fastem_version", None)
    if version != __version__:
        warn_user(
            f"{kind.__name__} was pickled by fastem {version} and is opened by {__version__}; "
            "results may differ. Models written by save() do not depend on the version."
        )
    return state


class ModelFiles:
    """Methods of a network with stochastic units that write and read model files and pickles."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file of plain arrays.

        Parameters
        ----------
        path : path-like
            No suffix is added. If it is a symbolic link, its target is written.

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        ValueError
            If the labels are neither numbers nor strings, or the engine or the family is not one of
            this package. Then no file is written.
        OSError
            If the file cannot be written. An earlier file of that name is kept then.
        """
        check_is_fitted(self)
        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a model that `save` has written. No code from the file is run.

        Files of the command line may also hold how the columns of a table become features. This
        method ignores it; `fastem.load_pipeline` returns both.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        model : estimator

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is truncated or is not a model of this class.
        """
        return load([cls], path)

    def __getstate__(self) -> dict[str, Any]:
        return add_version(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(check_version(type(self), state))
