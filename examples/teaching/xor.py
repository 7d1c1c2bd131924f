"""OR, AND and XOR by least squares, with and without a hidden layer.

Without a hidden layer the output is linear in the inputs. This is sufficient for OR and AND.
For XOR the least-squares solution has weights 0 and intercept 0.5. No straight line separates
XOR: at most three of the four points are on the correct side. Two hidden units solve the
problem. The script trains such a network. It also evaluates the ReLU network with fixed weights
from the lecture "Deep learning and the multilayer perceptron".

Run: ``python examples/logic_gates.py``
"""

from itertools import product

import numpy as np

from fastem import FastMLPRegressor, backpropagate

INPUTS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
GATES = {
    "OR": np.array([0.0, 1.0, 1.0, 1.0]),
    "AND": np.array([0.0, 0.0, 0.0, 1.0]),
    "XOR": np.array([0.0, 1.0, 1.0, 0.0]),
}
STARTS = 10

# XOR = max(0, X W + c) w + b with these weights.
FIXED_COEFS = [np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([[1.0], [-2.0]])]
FIXED_INTERCEPTS = [np.array([0.0, -1.0]), np.array([0.0])]


def train(target, hidden_layer_sizes):
    """Train from several random starts; return the network with the smallest squared error."""
    networks = [
        FastMLPRegressor(
            hidden_layer_sizes=hidden_layer_sizes,
            activation="tanh",
            solver="lbfgs",
            alpha=0.0,
            tol=1e-10,
            max_iter=1000,
            random_state=seed,
        ).fit(INPUTS, target)
        for seed in range(STARTS)
    ]
    return min(networks, key=lambda network: network.loss_)


def count_correct(output, target):
    """Return the number of correct outputs; an output above 0.5 means 1."""
    return int(np.sum((np.round(output, 6) > 0.5) == target))


def best_line(target):
    """Return the largest number of points that a straight line classifies correctly.

    The grid of lines contains every split of the four points by a straight line.
    """
    weights, halves = (-1.0, 0.0, 1.0), (-1.5, -0.5, 0.5, 1.5)
    lines = product(weights, weights, halves)
    return max(int(np.sum((INPUTS @ [u, v] + b > 0.0) == target)) for u, v, b in lines)


def fixed_network():
    """Return output, loss and gradients of the network with fixed weights."""
    return backpropagate(
        INPUTS,
        GATES["XOR"][:, None],
        FIXED_COEFS,
        FIXED_INTERCEPTS,
        activation="relu",
        output_activation="identity",
        loss="squared_error",
    )


def trained_from_solution():
    """Train from the fixed weights.

    They are a solution: the gradient is zero, and training does not change them.
    """
    network = FastMLPRegressor(
        hidden_layer_sizes=(2,),
        activation="relu",
        solver="lbfgs",
        alpha=0.0,
        coefs_init=FIXED_COEFS,
        intercepts_init=FIXED_INTERCEPTS,
    )
    return network.fit(INPUTS, GATES["XOR"])


def print_row(gate, network, output, n_correct):
    cells = "".join(f"{value:7.3f}" for value in output + 0.0)  # + 0.0 turns -0.0 into 0.0
    print(f"{gate:4} {network:20} {cells} {n_correct:>8}")


def main():
    """Print the outputs at 00, 01, 10 and 11, and the number of correct outputs."""
    header = "".join(f"{f'{u:.0f}{v:.0f}':>7}" for u, v in INPUTS)
    print(f"{'gate':4} {'network':20} {header} {'correct':>8}")
    for gate, target in GATES.items():
        print_row(gate, "target", target, "")
        for name, sizes in (("no hidden layer", ()), ("two hidden units", (2,))):
            output = train(target, sizes).predict(INPUTS).round(6)
            print_row(gate, name, output, f"{count_correct(output, target)}/4")
    output = fixed_network().output[:, 0]
    print_row("XOR", "fixed weights (ReLU)", output, f"{count_correct(output, GATES['XOR'])}/4")
    lines = ", ".join(f"{gate} {best_line(target)}/4" for gate, target in GATES.items())
    print(f"best straight line: {lines}")


if __name__ == "__main__":
    main()
