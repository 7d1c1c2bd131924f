"""Losses and a gradient step that seminars work out by hand, from ``backpropagate``.

The tables of losses are those of the seminar "Neural network"; a network of one layer
hands given predictions through. The step is that of the seminar "Logistic regression and
neural networks": two inputs, two hidden and two output units, all logistic, half the
squared error. The seminar gives the first layer, one output weight, 0.4, and the sums
that reach the outputs, 0.27 and 0.43. It leaves out the other three output weights and the
second target: those here are chosen, the weights so that they yield both sums. They have
no part in the gradient of the one weight but through the first sum.

Run: ``python examples/loss_by_hand.py``
"""

import numpy as np

from fastem import backpropagate

PREDICTED = np.array([11.0, 19.0, 30.0, 43.0, 47.0])
OBSERVED = np.array([10.0, 20.0, 30.0, 40.0, 50.0])

PROBABILITIES = np.array([[0.3, 0.2, 0.5], [0.1, 0.8, 0.1], [0.6, 0.2, 0.2], [0.1, 0.5, 0.4]])
CLASSES = np.array([0, 1, 0, 2])

INPUT = np.array([[0.2, 0.5]])
TARGET = np.array([[0.2, 0.5]])  # the second is not given
COEFS = [
    np.array([[0.1, 0.2], [0.3, 0.1]]),
    np.array([[0.4, 0.5], [0.1, 0.3]]),  # given: 0.4
]
RATE = 0.3


def mean_squared_error():
    """Return the mean squared error of the predictions: twice what is minimised."""
    halved = backpropagate(
        PREDICTED[:, None],
        OBSERVED[:, None],
        [np.ones((1, 1))],
        [np.zeros(1)],
        output_activation="identity",
        loss="squared_error",
    ).loss
    return 2.0 * halved


def total_cross_entropy():
    """Return the cross-entropy of the table in nats, summed over its rows."""
    mean = backpropagate(
        np.log(PROBABILITIES),  # which softmax takes back
        np.eye(3)[CLASSES],
        [np.eye(3)],
        [np.zeros(3)],
        output_activation="softmax",
        loss="log_loss",
    ).loss
    return len(CLASSES) * mean


def step():
    """Return what backpropagation gives for the network: output, loss and gradients."""
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
    """Print each figure beside the seminar's."""
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
