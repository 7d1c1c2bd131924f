"""OR, AND and XOR by least squares, with and without a hidden layer.

Without one the output is linear in the inputs. That suffices for OR and AND; for XOR the
best fit has weights 0 and intercept 0.5, and no line has more than three of the four
points on the right side. Two hidden units do it, as trained and as written out by hand
with ReLU in the lecture "Deep learning and the multilayer perceptron".

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

# max(0, X W + c) w + b is XOR.
WRITTEN_OUT_COEFS = [np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([[1.0], [-2.0]])]
WRITTEN_OUT_INTERCEPTS = [np.array([0.0, -1.0]), np.array([0.0])]


def train(target, hidden_layer_sizes):
    """Return the network with the least squared error among those of several starts."""
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


def count_right(output, target):
    """Count the outputs on the target's side of 0.5; one half itself means 0."""
    return int(np.sum((np.round(output, 6) > 0.5) == target))


def best_line(target):
    """Count what the best of all lines gets right; these make every cut of the square."""
    weights, halves = (-1.0, 0.0, 1.0), (-1.5, -0.5, 0.5, 1.5)
    lines = product(weights, weights, halves)
    return max(int(np.sum((INPUTS @ [u, v] + b > 0.0) == target)) for u, v, b in lines)


def written_out():
    """Return outputs, loss and gradients of the network that was written out by hand."""
    return backpropagate(
        INPUTS,
        GATES["XOR"][:, None],
        WRITTEN_OUT_COEFS,
        WRITTEN_OUT_INTERCEPTS,
        activation="relu",
        output_activation="identity",
        loss="squared_error",
    )


def trained_from_written_out():
    """Return a network whose training starts at the solution, where the gradient is zero."""
    network = FastMLPRegressor(
        hidden_layer_sizes=(2,),
        activation="relu",
        solver="lbfgs",
        alpha=0.0,
        coefs_init=WRITTEN_OUT_COEFS,
        intercepts_init=WRITTEN_OUT_INTERCEPTS,
    )
    return network.fit(INPUTS, GATES["XOR"])


def print_row(gate, network, output, right):
    cells = "".join(f"{value:7.3f}" for value in output + 0.0)  # no minus before a zero
    print(f"{gate:4} {network:20} {cells} {right:>6}")


def main():
    """Print the outputs at 00, 01, 10 and 11, and how many of the four are right."""
    header = "".join(f"{f'{u:.0f}{v:.0f}':>7}" for u, v in INPUTS)
    print(f"{'gate':4} {'network':20} {header} {'right':>6}")
    for gate, target in GATES.items():
        print_row(gate, "target", target, "")
        for name, sizes in (("no hidden layer", ()), ("two hidden units", (2,))):
            output = train(target, sizes).predict(INPUTS).round(6)
            print_row(gate, name, output, f"{count_right(output, target)}/4")
    output = written_out().output[:, 0]
    print_row("XOR", "written out (ReLU)", output, f"{count_right(output, GATES['XOR'])}/4")
    lines = ", ".join(f"{gate} {best_line(target)}/4" for gate, target in GATES.items())
    print(f"the best line of all: {lines}")


if __name__ == "__main__":
    main()
