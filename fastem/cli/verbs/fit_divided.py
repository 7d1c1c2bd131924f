"""The verb ``fit`` with ``--dask`` or ``--workers``: the rows are divided among workers."""

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from fastem.cli.files import check_files
from fastem.cli.interrupts import (
    NOTHING_TO_SAVE,
    begin_ending,
    saved_message,
    saving_on_interrupt,
)
from fastem.cli.messages import INTERRUPTED, notify, print_result
from fastem.cli.reports import report
from fastem.cli.verbs.inputs import (
    announce_regression,
    check_depth,
    options_of,
    table_options_of,
)
from fastem.runtime import doing

# Slow imports are inside functions, so that --help and errors appear without delay.
if TYPE_CHECKING:
    from fastem.cli.cluster.table import DividedTable
    from fastem.cli.comparison.fitting import Fit


def run_fit_divided(arguments: argparse.Namespace) -> int:
    """Fit on the workers of a cluster and save the model."""
    import fastem.dask  # the error names the remedy
    from fastem.cli.cluster.clients import client_of
    from fastem.cli.cluster.files import open_files, paths_of

    for path in paths_of(arguments.data):
        check_files({"DATA": path}, {"--model": arguments.model})
    with doing("reading the names of the columns"):
        files = open_files(arguments.data, table_options_of(arguments))
    with ExitStack() as stack:
        with doing("connecting to the workers"):
            client = stack.enter_context(client_of(arguments.dask, arguments.workers))
        try:
            return _fit(arguments, client, files)
        except fastem.dask.PartitionError as error:
            raise ValueError(str(error)) from error


def _fit(arguments: argparse.Namespace, client: Any, files: Any) -> int:
    from fastem.cli.cluster.fitting import divided_estimator, divided_figures, fit_divided
    from fastem.cli.cluster.table import prepare_table
    from fastem.cli.comparison.methods import exact_em
    from fastem.estimators import save_model

    options = table_options_of(arguments)
    with doing("reading and preparing the columns"):
        table = prepare_table(client, files, arguments.target, arguments.task, options)
    announce_regression(arguments, table.dataset)
    check_depth(arguments, table.dataset.task)
    method = exact_em(options_of(arguments), table.dataset.y, table.dataset.task)
    estimator, path = divided_estimator(client, method), arguments.model
    stored = table.preparation.to_json()

    def save(model: Any) -> None:
        save_model(model.to_local() if hasattr(model, "to_local") else model, path, stored)

    try:
        with saving_on_interrupt(estimator, save, path):
            fit = fit_divided(method, estimator, table)
    except KeyboardInterrupt:  # before the first iteration has ended
        begin_ending()
        notify(NOTHING_TO_SAVE)
        return INTERRUPTED
    save(fit.estimator)
    if fit.interrupted:
        notify(saved_message(path))
        return INTERRUPTED
    with doing("evaluating"):
        figures = divided_figures(client, fit.estimator, table)
    content = _content(path, table, fit, figures, len(files.paths))
    print_result(content, report.fit_text, arguments.json)
    return 0


def _content(
    path: str, table: "DividedTable", fit: "Fit", figures: dict[str, float], n_files: int
) -> dict[str, Any]:
    columns = [
        {"column": column.name, "kind": column.kind, "missing": table.n_missing[column.name]}
        | ({} if column.median is None else {"median": column.median})
        | ({} if column.kind == "number" else {"categories": list(column.categories)})
        for column in table.preparation.learned
    ]
    return {
        "data": table.dataset.describe() | {"files": n_files, "partitions": len(table.lengths)},
        "hidden_layer_sizes": list(fit.hidden_layer_sizes),
        "settings": fit.settings,
        "n_iter": fit.n_iter,
        "converged": fit.converged,
        "seconds": fit.seconds,
        **figures,
        "model": path,
        "preparation": columns,
    }
