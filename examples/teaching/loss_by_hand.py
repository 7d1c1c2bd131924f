"""Losses and a gradient step that seminars compute by hand, reproduced with ``backpropagate``.

The data of both losses are from the seminar "Neural network". To compute a loss from given
predictions, the script uses a network of one layer that returns its input.

The gradient step is from the seminar "Logistic regression and neural networks": two inputs, two
hidden and two output units, logistic activations, half the squared error. The seminar states:

- the weights of the first layer and one output weight, 0.4;
- the sums of the two output units before the logistic function, 0.27 and 0.43.

It does not state the other three output weights and the second target. Here the weights are
chosen to give both sums, and the target is arbitrary. The gradient of the stated weight depends
on them only through the first sum.

Run: ``python examples/loss_by_hand.py``
"""

import numpy as np

from fastem import backpropagate

PREDICTED = np.array([11.0, 19.0, 30.0, 43.0, 47.0])
OBSERVED = np.array([10.0, 20.0, 30.0, 40.0, 50.0])

PROBABILITIES = np.array([[0.3, 0.2, 0.5], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.1, 0.5, 0.4]])
CLASSES = np.array([0, 1, 0, 2])

INPUT = np.array([[0.2, 0.5]])
TARGET = np.array([[0.2, 0.5]])  # the seminar does not state the second
COEFS = [
    np.array([[0.1, 0.2], [0.3, 0.1]]),
    np.array([[0.4, 0.5], [0.1, 0.3]]),  # the seminar states 0.4 only
]
RATE = 0.3


def mean_squared_error():
    """Return the mean squared error of the predictions.

    ``backpropagate`` minimises half of it, so its loss is doubled.
    """
    half = backpropagate(
        PREDICTED[:, None],
        OBSERVED[:, None],
        [np.ones((1, 1))],
        [np.zeros(1)],
        output_activation="identity",
        loss="squared_error",
    ).loss
    return 2.0 * half


def total_cross_entropy():
    """Return the cross-entropy of the table in nats, summed over its rows."""
    mean = backpropagate(
        np.log(PROBABILITIES),  # softmax inverts this logarithm
        np.eye(3)[CLASSES],
        [np.eye(3)],
        [np.zeros(3)],
        output_activation="softmax",
        loss="log_loss",
    ).loss
    return len(CLASSES) * mean


def step():
    """Return output, loss and gradients of the network."""
    return backpropagate(
        INPUT,
        TARGET,
        COEFS,
        [np.zeros(2), np.zeros(2)],
        activation="logistic",
        output_activation="logistic",
        loss="squared_error",
    )


def logit(probability):
    return np.log(probability / (1.0 - probability))


def main():
    """Print each computed value beside the value in the seminar."""
    result = step()
    gradient = result.coef_gradients[1][0, 0]
    rows = [
        ("mean squared error", mean_squared_error(), "4"),
        ("cross-entropy, total", total_cross_entropy(), "2.85"),
        ("sum at output 1", logit(result.output[0, 0]), "0.27"),
        ("sum at output 2", logit(result.output[0, 1]), "0.43"),
        ("output 1", result.output[0, 0], "0.57"),
        ("output 2", result.output[0, 1], "0.61"),
        ("gradient", gradient, "0.049"),
        ("new weight", COEFS[1][0, 0] - RATE * gradient, "0.3853"),
    ]
    print(f"{'':20} {'computed':>10} {'by hand':>8}")
    for name, value, by_hand in rows:
        print(f"{name:20} {value:10.6f} {by_hand:>8}")


if __name__ == "__main__":
    main()
