"""Repeat the published iris run of EM training, as it was and as it was meant.

The run printed the mean cross-entropy of the plug-in forward pass, softmax(V' sigmoid(W'x)),
while one gradient step of rate 0.005 on the summed log-likelihood was taken per iteration.
Its E-step for V reused the class index in an inner loop, so that every column of the
gradient of V was that of the last class. The softmax does not notice a common shift: the
output layer was never trained.

Run: ``python examples/published_run.py``
"""

import warnings

import numpy as np
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import fastem

RATE = 0.005
ITERATIONS = (0, 5, 10, 25, 50)


def iris_split():
    """Return X_train, X_test, y_train, y_test of the published run."""
    X, y = load_iris(return_X_y=True)
    return train_test_split(X, y, test_size=0.2, random_state=1017)


def published_start():
    """Return the published starting weights: seven hidden units, no intercepts."""
    W = np.random.RandomState(1183).randn(4, 7)
    V = np.random.RandomState(202).randn(7, 3)
    return [W, V]


def model_at(coefs, **parameters):
    """Return an unfitted classifier that takes one published step per iteration."""
    return fastem.FastEMClassifier(
        (7,),
        m_step="gradient",
        learning_rate_init=RATE,
        alpha=0.0,
        fit_intercept=False,
        standardize=False,
        prediction="plugin",
        coefs_init=coefs,
        tol=0.0,
        **parameters,
    )


def plugin_loss(coefs, X, y):
    """Return the mean cross-entropy of the plug-in forward pass, in nats."""
    hidden = 1.0 / (1.0 + np.exp(-X @ coefs[0]))
    logits = hidden @ coefs[1]
    log_probability = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -log_probability[np.arange(len(y)), y].mean()


def correct_run():
    """Train with eq. 15 as written; return losses by iteration and the fitted model."""
    X, _, y, _ = iris_split()
    start = published_start()
    losses = [plugin_loss(start, X, y)]
    model = model_at(start, warm_start=True, max_iter=1)
    with warnings.catch_warnings():
        # one iteration at a time never converges; that is what is asked for here
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(max(ITERATIONS)):
            model.fit(X, y)
            losses.append(log_loss(y, model.predict_proba(X)))
    return losses, model


def faulty_run():
    """Train with the published fault put into the gradient; return the same."""
    X, _, y, _ = iris_split()
    W, V = published_start()
    no_intercepts = [np.zeros(7), np.zeros(3)]
    losses = [plugin_loss([W, V], X, y)]
    for _ in range(max(ITERATIONS)):
        gradient_W, gradient_V = fastem.e_step(X, y, [W, V], no_intercepts).coef_gradients
        fault = gradient_V[:, -1:]  # the last class's column, in the place of every class's
        W, V = W + RATE * gradient_W, V + RATE * fault
        losses.append(plugin_loss([W, V], X, y))
    # a fit that stays where it starts turns weights into a classifier
    model = model_at([W, V], max_iter=1).set_params(learning_rate_init=1e-300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    return losses, model


def main():
    """Print both columns, and the test accuracy of both ways to predict."""
    _, X_test, _, y_test = iris_split()
    runs = {"as published (faulty)": faulty_run(), "eq. 15 as written": correct_run()}
    print(f"{'iteration':>9}" + "".join(f"{name:>24}" for name in runs))
    for t in ITERATIONS:
        print(f"{t:>9}" + "".join(f"{losses[t]:>24.10f}" for losses, _ in runs.values()))
    for prediction in ("plugin", "marginal"):
        models = (model.set_params(prediction=prediction) for _, model in runs.values())
        correct = [np.sum(model.predict(X_test) == y_test) for model in models]
        cells = "".join(f"{f'{c}/{len(y_test)}':>24}" for c in correct)
        print(f"{prediction:>9}{cells}   test rows right")


if __name__ == "__main__":
    main()
