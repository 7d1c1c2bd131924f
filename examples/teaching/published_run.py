"""Repeat a published iris run of EM training, with its error and without.

The published run takes one gradient step of rate 0.005 on the summed log-likelihood per iteration.
It prints the mean cross-entropy of the plug-in forward pass, softmax(V' sigmoid(W'x)).

Its E-step for V reuses the class index in an inner loop. Every column of the gradient of V is
therefore the column of the last class. Such a step adds the same number to the logits of all
classes. This does not change the softmax, so the output layer is never trained.

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
    """Return the published initial weights: seven hidden units, no intercepts."""
    W = np.random.RandomState(1183).randn(4, 7)
    V = np.random.RandomState(202).randn(7, 3)
    return [W, V]


def model_at(coefs, **parameters):
    """Return an unfitted classifier; its iterations are the steps of the published run."""
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
    """Train with the correct equation 15; return the loss of every iteration and the model."""
    X, _, y, _ = iris_split()
    start = published_start()
    losses = [plugin_loss(start, X, y)]
    model = model_at(start, warm_start=True, max_iter=1)
    with warnings.catch_warnings():
        # a fit of one iteration does not converge and would warn
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(max(ITERATIONS)):
            model.fit(X, y)
            losses.append(log_loss(y, model.predict_proba(X)))
    return losses, model


def faulty_run():
    """Train with the published error in the gradient; return losses and model as above."""
    X, _, y, _ = iris_split()
    W, V = published_start()
    no_intercepts = [np.zeros(7), np.zeros(3)]
    losses = [plugin_loss([W, V], X, y)]
    for _ in range(max(ITERATIONS)):
        gradient_W, gradient_V = fastem.e_step(X, y, [W, V], no_intercepts).coef_gradients
        last_class = gradient_V[:, -1:]  # replaces the column of every class
        W, V = W + RATE * gradient_W, V + RATE * last_class
        losses.append(plugin_loss([W, V], X, y))
    # a fit with a negligible learning rate turns the weights into a classifier
    model = model_at([W, V], max_iter=1).set_params(learning_rate_init=1e-300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    return losses, model


def main():
    """Print the losses of both runs, and the number of correct test rows for both predictions."""
    _, X_test, _, y_test = iris_split()
    runs = {"as published": faulty_run(), "correct equation 15": correct_run()}
    print(f"{'iteration':>9}" + "".join(f"{name:>24}" for name in runs))
    for t in ITERATIONS:
        print(f"{t:>9}" + "".join(f"{losses[t]:>24.10f}" for losses, _ in runs.values()))
    for prediction in ("plugin", "marginal"):
        models = (model.set_params(prediction=prediction) for _, model in runs.values())
        correct = [np.sum(model.predict(X_test) == y_test) for model in models]
        cells = "".join(f"{f'{c}/{len(y_test)}':>24}" for c in correct)
        print(f"{prediction:>9}{cells}   test rows correct")


if __name__ == "__main__":
    main()
