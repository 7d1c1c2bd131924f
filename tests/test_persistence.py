"""Model files: loading restores what was saved, and code in a file never runs."""

import copy
import io
import json
import os
import pickle
import re
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem import FastEMClassifier
from fastem.estimators import persistence

X, Y = load_iris(return_X_y=True)
ATTRIBUTES = {
    "n_iter_", "converged_", "loss_", "loss_curve_", "n_features_in_", "n_layers_", "alpha_",
    "solver_",
}  # fmt: skip


def fit(X=X, y=Y, n_hidden=(3,), **options):
    options = {"random_state": 0, "n_jobs": 1, "max_iter": 20, **options}
    return refit(FastEMClassifier(n_hidden, **options), X, y)


def refit(model, X=X, y=Y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


@pytest.fixture(scope="module")
def model():
    return fit()


@pytest.fixture
def path(tmp_path, model):
    path = tmp_path / "model.fem"
    model.save(path)
    return path


def assert_same(loaded, model, X=X, y=Y):
    assert type(loaded) is type(model)
    for name in ("predict", "predict_proba", "predict_log_proba", "transform"):
        got, expected = getattr(loaded, name)(X), getattr(model, name)(X)
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype
    np.testing.assert_array_equal(loaded.posterior(X, y), model.posterior(X, y))
    assert loaded.log_likelihood(X, y) == model.log_likelihood(X, y)
    assert loaded.bic(X, y) == model.bic(X, y)
    np.testing.assert_array_equal(loaded.sample(X, 0)[0], model.sample(X, 0)[0])
    assert loaded.classes_.dtype == model.classes_.dtype
    for name in ATTRIBUTES:
        assert getattr(loaded, name) == getattr(model, name)
        assert type(getattr(loaded, name)) is type(getattr(model, name))
    assert loaded.e_step_ == model.e_step_


def test_everything_comes_back(model, path):
    loaded = FastEMClassifier.load(path)
    assert_same(loaded, model)
    assert loaded.get_params() == model.get_params()
    assert {n for n in vars(loaded) if n[-1] == "_"} == {n for n in vars(model) if n[-1] == "_"}
    np.testing.assert_equal(loaded.alpha_path_, model.alpha_path_)
    np.testing.assert_equal(loaded.starts_, model.starts_)
    assert loaded.coefs_[0].flags.writeable
    assert refit(loaded.set_params(warm_start=True, max_iter=3)).loss_ <= model.loss_


def test_the_compared_sizes_come_back(tmp_path):
    model = refit(FastEMClassifier(alpha=0.5, max_iter=3, random_state=0))
    model.save(tmp_path / "model")
    np.testing.assert_equal(FastEMClassifier.load(tmp_path / "model").size_path_, model.size_path_)


@pytest.mark.parametrize(
    "labels",
    [np.array(["b", "a", "ü"]), np.array(["ham", "spam", ""], dtype=object), np.array([-5, 7, 90]),
     np.array([3.0, 4.0, 6.0]), np.arange(4, 7, dtype=np.uint8), np.array([False, True, True])],
    ids=lambda labels: str(labels.dtype),
)  # fmt: skip
def test_labels_come_back(labels, tmp_path):
    model = fit(y=labels[Y])
    model.save(tmp_path / "m")
    assert_same(FastEMClassifier.load(tmp_path / "m"), model, y=labels[Y])


def test_names_of_features_come_back(tmp_path):
    frame = pd.DataFrame(X, columns=["länge", "b", "c d", "d" * 300])
    model = fit(frame, pd.Series(np.array(["x", "y", "z"])[Y]))
    model.save(tmp_path / "m")
    loaded = FastEMClassifier.load(tmp_path / "m")
    assert loaded.feature_names_in_.tolist() == list(frame.columns)
    assert loaded.feature_names_in_.dtype == object
    np.testing.assert_array_equal(loaded.predict(frame), model.predict(frame))
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[frame.columns[::-1]])


def test_parameters_come_back(tmp_path):
    coefs = [np.linspace(-1.0, 1.0, 8).reshape(4, 2), 3.0 * np.eye(2, 3)]
    start = coefs, [np.zeros(2), np.zeros(3)]
    model = fit(
        n_hidden=2, e_step=fastem.Enumeration(), m_step="bound", accelerate=False,
        alpha=np.float64(0.1) / 3, fit_intercept=False, standardize=False, prediction="plugin",
        learning_rate_init=0.3, max_iter=np.int64(3), tol=0.0, n_init=2, coefs_init=start[0],
        intercepts_init=start[1], warm_start=True, n_jobs=None, random_state=np.int64(7),
    )  # fmt: skip
    model.save(tmp_path / "m")
    loaded = FastEMClassifier.load(tmp_path / "m")
    assert_same(loaded, model)
    kept, got = model.get_params(), loaded.get_params()
    for name in ("coefs_init", "intercepts_init"):
        for one, other in zip(kept.pop(name), got.pop(name), strict=True):
            np.testing.assert_array_equal(one, other)
    assert got == kept


def test_a_generator_is_not_kept(tmp_path):
    model = fit(random_state=np.random.RandomState(3))
    model.save(tmp_path / "m")
    assert FastEMClassifier.load(tmp_path / "m").random_state is None


def test_a_subclass_loads_its_own(tmp_path, path):
    class Mine(FastEMClassifier):
        pass

    with pytest.raises(ValueError, match="holds a FastEMClassifier, not a Mine"):
        Mine.load(path)


# The file


@pytest.mark.parametrize("name", ["model", "model.npz", "model.fem", ".hidden", "a b.c", "é" * 40])
@pytest.mark.parametrize("kind", [str, os.fspath, lambda p: p], ids=["str", "fspath", "Path"])
def test_the_file_has_the_name_that_is_given(name, kind, model, tmp_path):
    model.save(kind(tmp_path / name))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert FastEMClassifier.load(kind(tmp_path / name)).n_iter_ == model.n_iter_


def test_a_name_as_long_as_the_system_allows(model, tmp_path):
    name = "m" * 255
    model.save(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_name_without_a_folder(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save("here")
    assert_same(FastEMClassifier.load("here"), model)


def test_the_file_is_readable_as_others_are(path, tmp_path):
    other = tmp_path / "other"
    other.write_text("")
    assert path.stat().st_mode == other.stat().st_mode


def test_the_file_is_plain_arrays_and_one_json_text(path):
    with np.load(path, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    assert all(array.dtype.kind in "biufU" for array in arrays.values())
    header = json.loads(str(arrays["header"]))
    assert header["class"] == "FastEMClassifier"
    assert header["fastem_version"] == fastem.__version__


def fail_while_writing(monkeypatch):
    savez = np.savez

    def interrupted(file, **arrays):
        savez(file, some=np.ones(10))
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", interrupted)


@pytest.mark.parametrize("failure", ["disk", "labels"])
def test_an_existing_file_survives_a_failing_save(failure, model, path, tmp_path, monkeypatch):
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        if failure == "disk":
            fail_while_writing(patch)
            with pytest.raises(OSError, match="No space left"):
                model.save(path)
        else:
            odd = copy.deepcopy(model)
            odd.classes_ = np.array([1, "two", None], dtype=object)
            with pytest.raises(ValueError, match=r"Labels of dtype object.*integers or strings"):
                odd.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert_same(FastEMClassifier.load(path), model)


@pytest.mark.parametrize("target", ["no/such/folder", "."])
def test_a_path_that_cannot_be_written(target, model, tmp_path):
    with pytest.raises(OSError, match=r"No such file|directory") as caught:
        model.save(tmp_path / target)
    assert caught.value.filename == str(tmp_path / target)
    assert ".fastem." not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_link_stays_and_its_file_is_written(model, tmp_path):
    (tmp_path / "models").mkdir()
    link, file = tmp_path / "latest", tmp_path / "models" / "first"
    try:
        link.symlink_to(file)
    except OSError:
        pytest.skip("no links here")
    for _ in range(2):  # the file is not there yet, and then it is
        model.save(link)
        assert link.is_symlink()
        assert not file.is_symlink()
        assert_same(FastEMClassifier.load(file), model)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["first", "latest", "models"]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_a_file_keeps_its_mode(model, path):
    path.chmod(0o600)
    model.save(path)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_the_mask_of_the_process_is_left_alone(model, tmp_path, monkeypatch):
    # it belongs to all threads: to read it, it has to be set
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("umask was set"))
    model.save(tmp_path / "m")


def test_arrays_are_all_that_savez_is_given(model, tmp_path, monkeypatch):
    def savez(file, **arrays):  # before NumPy 2.1 whatever has a name is an array
        given.update(arrays)

    given = {}
    monkeypatch.setattr(np, "savez", savez)
    model.save(tmp_path / "m")
    assert "header" in given
    assert all(isinstance(array, np.ndarray) for array in given.values())


def test_objects_are_not_written(model, tmp_path):
    odd = copy.deepcopy(model)
    odd.coefs_[0] = odd.coefs_[0].astype(object)
    with pytest.raises(ValueError, match="coef_0 holds Python objects"):
        odd.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


# Damaged and foreign files


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FastEMClassifier.load(tmp_path / "nowhere")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.9999])
def test_truncated_file(share, path):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"model.fem.*damaged or not a fastem model"):
        FastEMClassifier.load(path)


def arrays_in(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def array_in(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zip_in(**texts):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)
    return file.getvalue()


STRANGERS = {
    "empty": b"",
    "text": b"sepal length,sepal width\n1,2\n",
    "binary": bytes(range(256)) * 9,
    "one array": array_in(np.ones(3)),
    "zip": zip_in(readme="hello"),
    "zip with a text as header": zip_in(header="{}"),
    "other arrays": arrays_in(weights=np.ones(3)),
    "number as header": arrays_in(header=np.ones(3)),
    "other text as header": arrays_in(header=np.array("no json")),
    "JSON list": arrays_in(header=np.array("[1, 2]")),
    "JSON number": arrays_in(header=np.array("1")),
    "JSON of another": arrays_in(header=np.array('{"format": "other", "format_version": 1}')),
    "pickle": pickle.dumps({"header": 1}),
}


def array_of_shape(shape):
    """Return the bytes of an array with a header that states a shape, but without values."""
    file = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(file, header)
    return file.getvalue()


@pytest.mark.parametrize(
    "shape", [(2**50,), (10**30,), (-1,), (2**62, 2**62), (2**31, 2**31), (0, 10**40)], ids=str
)
@pytest.mark.parametrize("member", ["header", "coef_0"])
def test_a_forged_array_is_named_as_damage(member, shape, path):
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents[f"{member}.npy"] = array_of_shape(shape)
    path.write_bytes(zip_in(**contents))
    with pytest.raises(ValueError, match=r"model.fem.*damaged"):
        FastEMClassifier.load(path)


def test_whatever_reading_raises_is_damage(path, monkeypatch):
    class OddError(Exception):
        """What no list of exceptions has."""

    def load(*args, **options):
        raise OddError

    monkeypatch.setattr(np, "load", load)
    with pytest.raises(ValueError, match=r"model.fem.*damaged"):
        FastEMClassifier.load(path)


@pytest.mark.parametrize("content", STRANGERS.values(), ids=STRANGERS)
def test_a_file_that_is_not_ours(content, tmp_path):
    path = tmp_path / "stranger"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"'.*stranger' is .*not a fastem model"):
        FastEMClassifier.load(path)


class Bomb:
    """Run code when it is unpickled."""

    exploded = False

    def __reduce__(self):
        return Bomb._explode, ()

    @staticmethod
    def _explode():
        Bomb.exploded = True
        return np.ones(3)


@pytest.mark.parametrize("member", ["header", "classes", "coef_0", "extra"])
def test_pickled_objects_are_not_run(member, path):
    with np.load(path) as content:
        arrays = dict(content)
    arrays[member] = np.array([Bomb()], dtype=object)
    path.write_bytes(arrays_in(**arrays))
    with pytest.raises(ValueError, match="damaged or not a fastem model"):
        FastEMClassifier.load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="damaged or not a fastem model"):
        FastEMClassifier.load(path)
    assert not Bomb.exploded
    pickle.loads(pickle.dumps(Bomb()))  # the bomb works
    assert Bomb.exploded
    Bomb.exploded = False


def rewrite(path, edit_header=None, **changes):
    with np.load(path) as content:
        arrays = dict(content)
    header = json.loads(str(arrays["header"]))
    if edit_header is not None:
        edit_header(header)
    arrays |= {"header": np.array(json.dumps(header)), **changes}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    path.write_bytes(arrays_in(**arrays))


@pytest.mark.parametrize("version", [2, 99, "1.5", None])
def test_another_version_of_the_format(version, path):
    rewrite(path, lambda header: header.update(format_version=version))
    with pytest.raises(ValueError, match=rf"format {version}.*reads format 1.*Update fastem"):
        FastEMClassifier.load(path)


def test_a_file_of_a_version_without_choices(model, path):
    names = "alpha_", "solver_", "starts"
    with np.load(path) as content:
        added = [name for name in content.files if name.startswith(("path_", "start_"))]
    rewrite(path, lambda header: [header.pop(name) for name in names], **dict.fromkeys(added))
    loaded = FastEMClassifier.load(path)
    assert not {"alpha_", "solver_", "starts_", "alpha_path_"} & set(vars(loaded))
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert refit(loaded.set_params(warm_start=True, max_iter=3)).alpha_ == 0.15


def test_another_version_of_the_package_is_welcome(model, path):
    rewrite(path, lambda header: header.update(fastem_version="77.0"))
    assert_same(FastEMClassifier.load(path), model)


@pytest.mark.parametrize("name", ["FastMLPClassifier", "object", None, 3])
def test_another_class(name, path):
    rewrite(path, lambda header: header.update({"class": name}))
    with pytest.raises(ValueError, match=f"model.fem' holds a {name}, not a FastEMClassifier"):
        FastEMClassifier.load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (key, value)
        for key in ("format", "class", "parameters", "engine", "n_iter")
        for value in ("absent", None, "text", ["a"], {"engine": "nonsense"})
    ]
    + [("converged", "absent"), ("object_labels", "absent")],
    ids=str,
)
def test_damaged_header(key, value, path):
    def edit(header):
        del header[key]
        if value != "absent":
            header[key] = value

    rewrite(path, edit)
    with pytest.raises(ValueError, match=r"model.fem"):
        FastEMClassifier.load(path)


@pytest.mark.parametrize(
    ("name", "array"),
    [(name, None) for name in ("classes", "coef_0", "coef_1", "intercept_0", "loss_curve")]
    + [
        ("classes", np.arange(2)), ("classes", np.eye(3)), ("coef_0", np.ones(3)),
        ("coef_0", np.ones((4, 2))), ("coef_1", np.ones((3, 4))), ("coef_1", np.array("text")),
        ("coef_0", np.full((4, 3), "text")), ("coef_0", np.full((4, 3), np.nan)),
        ("coef_0", np.full((4, 3), 1j)), ("intercept_0", np.ones(2)), ("intercept_1", np.ones(())),
        ("loss_curve", np.ones(0)), ("feature_names", np.array(["a", "b"])),
    ],
    ids=str,
)  # fmt: skip
def test_damaged_arrays(name, array, path):
    rewrite(path, **{name: array})
    with pytest.raises(ValueError, match=r"model.fem.*damaged"):
        FastEMClassifier.load(path)


def test_a_flipped_bit_is_an_error_or_harmless(model, path):
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    places = rng.choice(len(content), 400, replace=False)
    with zipfile.ZipFile(path) as archive:  # and all that frames the members
        framing = [m.header_offset + k for m in archive.infolist() for k in range(0, 30, 3)]
        framing += range(archive.start_dir, len(content), 7)
    n_errors = n_unnamed = 0
    for place in [*places, *framing]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            loaded = FastEMClassifier.load(path)
        except ValueError as error:
            n_errors += "model.fem" in str(error)
            n_unnamed += "model.fem" not in str(error)
        else:
            np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert n_errors > 200
    assert n_unnamed == 0


# Pickle


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(protocol, model):
    assert_same(pickle.loads(pickle.dumps(model, protocol)), model)


def test_copies(model):
    assert_same(copy.deepcopy(model), model)
    assert_same(copy.copy(model), model)
    unfitted = pickle.loads(pickle.dumps(FastEMClassifier((2,))))
    assert unfitted.get_params() == FastEMClassifier((2,)).get_params()


@pytest.mark.parametrize("version", ["0.0.1", None])
def test_pickle_of_another_version(version, model, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(persistence, "__version__", version)
        content = pickle.dumps(model)
    expected = re.escape(f"by fastem {version} and is opened by {fastem.__version__}; results")
    with pytest.warns(UserWarning, match=expected) as caught:
        loaded = pickle.loads(content)
    assert len(caught) == 1
    assert_same(loaded, model)
    assert_same(pickle.loads(pickle.dumps(loaded)), model)


def test_pickled_fit_goes_on_as_if_nothing_had_happened():
    options = {"warm_start": True, "tol": 0.0, "max_iter": 12}
    whole, half = fit(**options), fit(**options)
    again = pickle.loads(pickle.dumps(half))
    refit(whole)
    refit(again)
    assert len(whole.loss_curve_) == 25
    assert again.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(again.coefs_[0], whole.coefs_[0])
