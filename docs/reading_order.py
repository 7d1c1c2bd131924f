"""The order of the examples in each section of the gallery."""

ORDER = (
    # teaching
    "xor",
    "two_coins",
    "em_in_numpy",
    "published_run",
    "regression_curve",
    "loss_by_hand",
    # outputs
    "digits_hidden_units",
    "several_labels",
    "two_branches",
    "counts",
    # practice
    "text_columns_and_grid_search",
    "penalty_and_calibration",
    "uncertainty",
    "online_digits",
    "on_a_cluster",
    "onnx_model",
    # research
    "deep_network",
    "thousand_units",
    "gradient_estimators",
)


class ReadingOrder:
    """Sort key of Sphinx-Gallery for the files of one folder."""

    def __init__(self, folder):
        del folder  # names are different in all folders

    def __call__(self, filename):
        """Return the position of a file; a file that is missing above raises ValueError."""
        return ORDER.index(filename.removesuffix(".py"))
