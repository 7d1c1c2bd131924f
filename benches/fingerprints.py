"""Print a hash of the weights of ten fits: equal hashes on two commits mean equal bits.

    python benches/fingerprints.py > before.txt
    git checkout HEAD && pip install . && python benches/fingerprints.py > after.txt
    diff before.txt after.txt

The script uses public names only, so that it also runs on commits with another layout.
Compare on one machine, because other processors and BLAS kernels round differently. BLAS is
limited to one thread, because the perceptrons call it directly.
"""

import hashlib
import warnings

import numpy as np
import threadpoolctl
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning

import fastem


def fits():
    """Yield (name, fitted estimator) of ten fits that run every engine and solver."""
    iris, wine = load_iris(return_X_y=True), load_wine(return_X_y=True)
    cancer, diabetes = load_breast_cancer(return_X_y=True), load_diabetes(return_X_y=True)
    em, classify = fastem.FastEMClassifier, fastem.FastMLPClassifier
    # given values in place of defaults, which differ between commits
    shared = {"random_state": 0, "max_iter": 30}
    common = {**shared, "alpha": 0.15}
    sampling = fastem.Sampling(n_samples=50)
    yield "em, enumeration", em((8,), e_step="enumeration", **common).fit(*wine)
    yield "em, two layers", em((4, 3), m_step="bound", **common).fit(*iris)
    yield "em, quadrature, two classes", em((20,), e_step="quadrature", **common).fit(*cancer)
    yield "em, quadrature, three classes", em((5,), e_step="quadrature", **common).fit(*iris)
    yield "em, sampling", em((6,), e_step=sampling, **common).fit(*iris)
    yield "lbfgs", em((6,), solver="lbfgs", **common).fit(*wine)
    yield (
        "adam",
        em((6,), solver="adam", batch_size=32, learning_rate_init=0.05, **common).fit(*wine),
    )
    yield "perceptron, adam", classify((16, 8), **shared).fit(*cancer)
    yield "perceptron, sgd", classify((8,), solver="sgd", early_stopping=True, **shared).fit(*iris)
    regressor = fastem.FastMLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", **shared)
    yield "perceptron, lbfgs", regressor.fit(*diabetes)


def fingerprint(estimator):
    """Return a hash of weights, intercepts and losses."""
    digest = hashlib.sha256()
    for array in (*estimator.coefs_, *estimator.intercepts_, np.array(estimator.loss_curve_)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def main():
    """Print a line per fit."""
    with threadpoolctl.threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        for name, estimator in fits():
            print(f"{fingerprint(estimator)}  {estimator.n_iter_:3d} iterations  {name}")


if __name__ == "__main__":
    main()
