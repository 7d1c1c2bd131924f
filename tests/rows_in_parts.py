"""Rows in parts of this process, which pickles whatever a cluster would send."""

import math
import pickle
from itertools import pairwise

import numpy as np


def _sent(value):
    return pickle.loads(pickle.dumps(value))


class Rows:
    """`DividedRows` of given lengths; arguments and results are pickled."""

    def __init__(self, X, y, lengths, sample_weight=None, memory=math.inf):
        self.n_threads, self.memory = 2, memory
        ends = np.cumsum([0, *lengths])
        assert ends[-1] == len(X)
        weights = sample_weight
        self.parts = [
            (X[a:b], y[a:b], None if weights is None else weights[a:b]) for a, b in pairwise(ends)
        ]

    def map(self, stage, function, *arguments):
        return [_sent(function(*part, *_sent(arguments))) for part in self.parts]

    def prepare(self, stage, function, *arguments, n_bytes):
        assert len(n_bytes) == len(self.parts)
        return Prepared(self.map(stage, function, *arguments))


class Prepared:
    def __init__(self, parts):
        self.parts = parts

    def map(self, stage, function, *arguments):
        return [_sent(function(part, *_sent(arguments))) for part in self.parts]
