"""
Learning digits from a stream
=============================

``partial_fit`` trains a network on some rows and does not store them. The next call continues the
training with other rows. The rows can therefore come from a file that does not fit into memory,
from a camera or from a network connection.

Here a deterministic network of a lecture, with 784-100-100-100-10 units, is trained on every image
once, one row at a time. The example measures its accuracy on new images during the training.
"""

# %%
# A stream of images
# ------------------
# The digits of scikit-learn have 8 x 8 pixels. We enlarge them to 28 x 28 pixels, the size of
# MNIST. A quarter of the images is kept for the test. The stream shows each of the remaining images
# nine times, shifted by different numbers of pixels, in random order.
#
# With a file in the layout of MNIST, ``pandas.read_csv("train.csv", chunksize=1000)`` is such a
# stream.

from itertools import pairwise, product

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import shift, zoom
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fastem import FastMLPClassifier

images, labels = load_digits(return_X_y=True)
images = np.clip(zoom(images.reshape(-1, 8, 8) / 16.0, (1, 3.5, 3.5), order=1), 0.0, 1.0)
images, new_images, labels, new_labels = train_test_split(
    images, labels, test_size=0.25, stratify=labels, random_state=0
)


def rows(images):
    """Return one row of 784 numbers from 0.01 to 1 for each image."""
    return 0.99 * images.reshape(len(images), -1) + 0.01


def stream(batch_size=1000, seed=0):
    """Yield batches of shifted images and their labels."""
    places = np.array([*product(range(len(images)), (-2, 0, 2), (-2, 0, 2))])
    np.random.default_rng(seed).shuffle(places)
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        shifted = [shift(images[i], (down, right), order=0) for i, down, right in batch]
        yield np.array(shifted), labels[batch[:, 0]]


first, first_labels = next(stream())
figure, axes = plt.subplots(1, 8, figsize=(8.0, 1.3), layout="constrained")
for ax, image, label in zip(axes, first, first_labels, strict=False):
    ax.imshow(image, cmap="gray_r")
    ax.set(title=str(label), xticks=[], yticks=[])
plt.show()

# %%
# The network
# -----------
# The three hidden layers have logistic, tanh and logistic units, and the output is a softmax. The
# initial weights have the variance 2 / fan-in. Plain gradient descent takes one step per row, with
# learning rate 0.01.

LAYERS = (784, 100, 100, 100, 10)
rng = np.random.default_rng(0)
network = FastMLPClassifier(
    LAYERS[1:-1],
    ("logistic", "tanh", "logistic"),
    solver="sgd",
    alpha=0.0,
    batch_size=1,
    learning_rate_init=0.01,
    momentum=0.0,
    shuffle=False,
    coefs_init=[rng.normal(scale=np.sqrt(2 / a), size=(a, b)) for a, b in pairwise(LAYERS)],
    intercepts_init=[np.zeros(size) for size in LAYERS[1:]],
)

# %%
# One pass over the stream
# ------------------------
# The first call of ``partial_fit`` needs the list of all classes, because a batch may lack some.

n_seen, accuracies = [0], [0.1]  # before the first row: one of ten classes at random
for batch, batch_labels in stream():
    network.partial_fit(rows(batch), batch_labels, classes=np.arange(10))
    n_seen.append(n_seen[-1] + len(batch))
    accuracies.append(network.score(rows(new_images), new_labels))

for n, accuracy in zip(n_seen[1::3], accuracies[1::3], strict=True):
    print(f"{n:6} rows seen: accuracy on {len(new_labels)} new images {accuracy:.3f}")

# %%
# Accuracy against the number of rows seen
# ----------------------------------------
# Every row was used for one step only. Streams for EM: :doc:`/guide/stream_and_large_data`.

figure, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
ax.plot(n_seen, accuracies, "o-")
ax.set(xlabel="rows seen", ylabel="accuracy on new images", ylim=(0.0, 1.0))
ax.set_title("784-100-100-100-10 network, one row at a time")
ax.grid(alpha=0.3)
plt.show()
