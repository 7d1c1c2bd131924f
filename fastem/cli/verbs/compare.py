"""The verb ``compare`` of the command line: EM and other methods on held-out rows."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastem.cli.arguments import ALPHA_HELP, add_common, add_options, one_of, positive, share
from fastem.cli.files import check_files
from fastem.cli.messages import counted, print_result
from fastem.cli.reports.comparison import comparison_text
from fastem.cli.reports.layout import layers
from fastem.cli.verbs.inputs import check_depth, dataset_of, options_of
from fastem.perceptron import HIDDEN_ACTIVATIONS

# Slow imports are inside functions, so that --help and errors appear without delay.
if TYPE_CHECKING:
    from fastem.cli.comparison.compare import Comparison

_SOLVERS = "lbfgs", "sgd", "adam"
_ACTIVATIONS = tuple(HIDDEN_ACTIVATIONS)
_SCOPE = (
    "--hidden, --max-iter, --alpha, --activation, --solver and --epochs concern the two networks, "
    "EM and backpropagation, only. The other methods have fixed settings: scikit-learn's "
    "defaults, enough iterations, and the penalty 1 of linear models."
)


def add_compare(verbs: Any) -> None:
    """Add the verb to the subparsers of the command line."""
    text = "compare EM with backpropagation, a linear model and gradient boosting on held-out rows"
    parser = verbs.add_parser("compare", help=text, description=f"{text}. {_SCOPE}")
    add_common(parser, target=True)
    default = "auto for EM, and alpha=0.0001 of the perceptron for backpropagation"
    numbers = "for numbers, backpropagation has half the squared errors of the standardised target "
    numbers += "in place of the log-likelihood"
    text = f"penalty of both networks: {ALPHA_HELP}; {numbers}; auto: EM chooses the penalty that "
    text += "predicts held-out training rows best, and backpropagation keeps its default "
    text += f"(default: {default})"
    add_options(parser, text)
    add = parser.add_argument
    names = ", ".join(_ACTIVATIONS)
    text = f"activation of the perceptron: {names} (default: relu), or one for every hidden layer, "
    text += "for example relu,tanh"
    add("--activation", type=_activation, metavar="NAME", help=text)
    text = "solver of the perceptron (default: adam)"
    add("--solver", type=_solver, metavar=f"{{{','.join(_SOLVERS)}}}", help=text)
    add(
        "--epochs",
        type=positive,
        metavar="N",
        help="maximum number of epochs of the perceptron, or of iterations of lbfgs",
    )
    text = "share of the rows for testing (default: %(default)s)"
    add("--test-size", type=share, default=0.25, metavar="SHARE", help=text)
    text = "number of random splits into training and test rows, with the seeds SEED, SEED+1, ...; "
    text += "the table then has means over the splits and their standard errors, and --plot, the "
    text += "example predictions and the learning curves are of the first (default: %(default)s)"
    add("--splits", type=positive, default=1, metavar="N", help=text)
    text = "write a figure of the learning curves of both networks to FILE; its suffix (.png, "
    text += ".pdf, .svg, ...) selects the format; for classes only, because other losses are "
    text += "defined differently"
    add("--plot", metavar="FILE", help=text)
    parser.set_defaults(run=_run_compare)


_solver = one_of(_SOLVERS)


def _activation(text: str) -> str | tuple[str, ...]:
    names = tuple(one_of(_ACTIVATIONS)(name.strip()) for name in text.split(","))
    return names if len(names) > 1 else names[0]


def _check_activations(names: str | tuple[str, ...] | None, sizes: tuple[int, ...] | str) -> None:
    n_layers = 1 if isinstance(sizes, str) else len(sizes)
    if isinstance(names, tuple) and len(names) != n_layers:
        remedy = "give one" if n_layers == 1 else f"give one for all, or {n_layers}"
        raise ValueError(
            f"argument --activation: {','.join(names)!r} has {len(names)} activations, but the "
            f"networks have {counted(n_layers, 'hidden layer')} ({layers(sizes)}): {remedy}"
        )


def _run_compare(arguments: argparse.Namespace) -> int:
    from fastem.cli.comparison.methods import hidden_layer_sizes

    check_files({"DATA": arguments.data}, {"--plot": arguments.plot})
    options = options_of(arguments)
    dataset = dataset_of(arguments)
    check_depth(arguments, dataset.task)
    _check_activations(options.activation, hidden_layer_sizes(options, dataset.task))
    if dataset.task != "class" and arguments.plot is not None:
        raise ValueError(
            f"--plot works for classes only, and the task of {dataset.name} is {dataset.task}: "
            "the losses of EM and backpropagation are then defined differently"
        )
    from fastem.cli.comparison.compare import compare

    comparison = compare(dataset, options, test_size=arguments.test_size, n_splits=arguments.splits)
    content = comparison.to_dict()
    try:
        if arguments.plot is not None:
            _plot(comparison, arguments.plot)
            content["plot"] = arguments.plot
    finally:  # print the results even if the figure cannot be written
        print_result(content, comparison_text, arguments.json)
    return 0


def _plot(comparison: "Comparison", path: str) -> None:
    from fastem.plotting import save_loss_curves

    sizes = next(iter(comparison.runs.values()))[0].fit.hidden_layer_sizes
    rows = f"{comparison.n_train} rows, {layers(sizes)} hidden units"
    title = f"{Path(comparison.dataset.name).name}: training loss, {rows}"
    save_loss_curves(comparison.networks, path, title)
