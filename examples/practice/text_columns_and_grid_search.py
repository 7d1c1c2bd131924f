"""
Text columns, missing values and a grid search
==============================================

Real tables have text columns, empty cells and columns in different units. A scikit-learn pipeline
turns such a table into numbers, and :class:`fastem.FastEMClassifier` is its last step. The number
of hidden units and the penalty remain to be chosen. The example chooses them by a grid search over
the whole pipeline, plots the scores, and checks the result on rows that are not part of the search.
"""

# %%
# The table
# ---------
# The table has penguins of three species. The file ``penguins.csv`` is in the folder ``examples``
# of the source code. The function ``find`` looks for it in the folder of this script and in all
# folders above. In a notebook, it starts in the working folder.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import ConfusionMatrixDisplay, log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from fastem import FastEMClassifier


def find(name):
    """Return the path of a file in the folder of this script, or in a folder above it."""
    start = Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()
    for folder in (start, *start.parents):
        for path in (folder / name, folder / "examples" / name):
            if path.is_file():
                return path
    raise FileNotFoundError(f"{name} is not in {start} or above. Copy it to this folder.")


table = pd.read_csv(find("penguins.csv"))
print(table.head(4).to_string(index=False))
print("\nempty cells")
print(table.isna().sum()[lambda count: count > 0].to_string())

# %%
# The sizes of the bill would make the task easy. We use two measurements and two text columns only.
# A stratified 30 % of the rows are held out for the end.
TEXT, NUMBERS = ["island", "sex"], ["flipper_length_mm", "body_mass_g"]
train, test = train_test_split(table, test_size=0.3, stratify=table["species"], random_state=0)
print(f"{len(train)} training rows, {len(test)} held-out rows")

# %%
# The pipeline
# ------------
# Empty cells become the most frequent text or the median. Text becomes one column of 0 and 1 per
# value. ``handle_unknown="ignore"`` allows new rows to have an island that no training row has.
#
# There is no scaler. The estimator standardises its inputs itself (``standardize=True``, the
# default). Millimetres and grams need no conversion.
columns = ColumnTransformer(
    [
        (
            "text",
            make_pipeline(
                SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
            ),
            TEXT,
        ),
        ("numbers", SimpleImputer(strategy="median"), NUMBERS),
    ]
)
network = FastEMClassifier(max_iter=2000, random_state=0)
pipeline = make_pipeline(columns, network)

# %%
# The grid search
# ---------------
# All 24 combinations are compared by five-fold cross-validation. The score is the negative
# log-loss: the mean log-probability of the true species, in nats. The imputers and encoders are
# part of the pipeline. They are therefore fitted without the rows of the fold.
SIZES, PENALTIES = [(1,), (2,), (4,), (8,)], [0.01, 0.1, 0.3, 1.0, 3.0, 10.0]
search = GridSearchCV(
    pipeline,
    {"fastemclassifier__hidden_layer_sizes": SIZES, "fastemclassifier__alpha": PENALTIES},
    scoring="neg_log_loss",
    cv=5,
).fit(train, train["species"])
chosen = search.best_estimator_[-1]
print(f"chosen: {chosen.hidden_layer_sizes[0]} hidden units, alpha = {chosen.alpha:g}")
print(f"mean log-probability by cross-validation: {search.best_score_:.3f} nats")

# %%
# The picture shows the scores. Higher is better. A single unit has only two states, which are too
# few for three species. From two units on, the penalty matters more than the size. Large penalties
# underfit.
scores = search.cv_results_["mean_test_score"].reshape(len(PENALTIES), len(SIZES)).T
fig, ax = plt.subplots(figsize=(7.0, 3.6), layout="constrained")
image = ax.imshow(scores, cmap="viridis", aspect="auto")
for row, column in np.ndindex(scores.shape):
    value = scores[row, column]
    is_best = value == scores.max()
    ax.text(
        column,
        row,
        f"{value:.3f}",
        ha="center",
        va="center",
        color="white" if value < np.median(scores) else "black",
        fontweight="bold" if is_best else "normal",
    )
ax.set_xticks(range(len(PENALTIES)), [f"{alpha:g}" for alpha in PENALTIES])
ax.set_yticks(range(len(SIZES)), [size for (size,) in SIZES])
ax.set(xlabel="penalty alpha", ylabel="hidden units")
ax.set_title("Mean log-probability of the true species, five folds")
fig.colorbar(image, label="nats per row")
plt.show()

# %%
# Held-out rows
# -------------
# The search fits the chosen pipeline to all training rows. It can then be used like any classifier.
# The confusion matrix shows which species it confuses: Adelie and Chinstrap penguins have similar
# sizes, and both live on the island Dream.
probability = search.predict_proba(test)
print(f"accuracy on held-out rows: {np.mean(search.predict(test) == test['species']):.3f}")
print(f"log-loss on held-out rows: {log_loss(test['species'], probability):.3f} nats")

fig, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
ConfusionMatrixDisplay.from_estimator(
    search, test, test["species"], ax=ax, cmap="Blues", colorbar=False
)
ax.set(title="Held-out penguins", xlabel="predicted species", ylabel="true species")
plt.show()

# %%
# Without a search
# ----------------
# The estimator can also choose its penalty by itself: this is ``alpha="auto"``, the default. It
# fits once, with ten hidden units, and compares the penalties faster than a grid search.
automatic = make_pipeline(columns, network).fit(train, train["species"])
own_choice = automatic[-1]
own_loss = log_loss(test["species"], automatic.predict_proba(test))
print(f"{own_choice.coefs_[0].shape[1]} hidden units, alpha = {own_choice.alpha_:g}")
print(f"log-loss on held-out rows: {own_loss:.3f} nats")

# %%
# New rows
# --------
# ``penguins_new.csv`` has penguins without a species. The pipeline takes the rows as they are.
new = pd.read_csv(find("penguins_new.csv"))
predictions = pd.DataFrame(search.predict_proba(new), columns=search.classes_).round(2)
print(pd.concat([new[TEXT + NUMBERS], predictions], axis=1).head(5).to_string(index=False))

# %%
# .. seealso:: Guide: :doc:`/guide/classify`, :doc:`/guide/tables`.
