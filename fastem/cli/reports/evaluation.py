"""The text of an evaluation of predictions, made from the same content as its JSON."""

from typing import Any

from fastem.cli.messages import counted
from fastem.cli.reports.layout import aligned


def evaluation_text(content: dict[str, Any]) -> str:
    """Return figures and calibration of predictions as text."""
    of_task = _of_classes if "accuracy" in content["evaluation"] else _of_numbers
    written = []
    if "output" in content:
        n = counted(content["predictions"], "prediction")
        written = [f"output   {n} written to {content['output']}"]
    return "\n".join(
        [
            f"data     {content['data']}: {counted(content['predictions'], 'row')}, target "
            f"{content['target']}",
            f"model    {content['model']}",
            *written,
            "",
            *of_task(content["evaluation"]),
        ]
    )


def _of_classes(evaluation: dict[str, Any]) -> list[str]:
    rows = [
        [
            _bin(entry),
            str(entry["rows"]),
            f"{entry['mean_probability']:.4f}",
            f"{entry['share_correct']:.4f}",
        ]
        for entry in evaluation["calibration"]
    ]
    return [
        f"mean log-loss {evaluation['log_loss']:.4f} nats; lower is better",
        f"accuracy {evaluation['accuracy']:.4f}",
        "",
        "calibration of the probability of the predicted class",
        aligned([["probability", "rows", "mean probability", "share correct"], *rows]),
        "share correct: share of rows whose prediction is correct; ideally the mean probability",
        f"expected calibration error {evaluation['expected_calibration_error']:.4f}: mean over "
        "rows of the absolute difference of these two",
    ]


def _of_numbers(evaluation: dict[str, Any]) -> list[str]:
    ideal = "ideally 0.90"
    if "deviance" in evaluation:
        log, unit = evaluation["log_probability"], "log probability"
        error = f"mean Poisson deviance {evaluation['deviance']:.6g}"
        ideal += ", or more where counts are small"
    else:
        log, unit = evaluation["log_density"], "log density (target in its own unit)"
        error = f"root mean squared error {evaluation['rmse']:.6g} of the predicted means"
    rows = [[_bin(entry), f"{entry['share']:.4f}"] for entry in evaluation["calibration"]]
    return [
        f"mean {unit} {log:.6g} nats; higher is better",
        f"{error}; lower is better",
        f"90 % interval: coverage {evaluation['coverage']:.4f} ({ideal}), mean width "
        f"{evaluation['width']:.6g}",
        "",
        "calibration of the predicted distributions",
        aligned([["quantiles", "share of rows"], *rows]),
        "share of rows: those whose target lies between these two predicted quantiles; ideally 0.1",
    ]


def _bin(entry: dict[str, Any]) -> str:
    return f"{entry['from']:.1f} to {entry['to']:.1f}"
