"""Kernels that call kernels: where machine code is made, and what compilation leaves unchanged."""

import gc
import os
import subprocess
import sys

import numpy as np
import pytest
from numba.core.errors import TypingError

from fastem.kernels._compiler import Helper
from fastem.kernels._jit import jit, jit_strict


@jit
def _half(x):
    return 0.5 * x


@jit
def _fill_halves(values, out):
    for i in range(values.size):
        out[i] = _half(values[i])


@jit
def _rows_of(values, n_rows):
    return values.reshape(n_rows, 2)


@jit
def _first_of_rows(values, n_rows):
    return _rows_of(values, n_rows)[0, 0]


@jit
def _wrong(x):
    return x.no_such_attribute


@jit
def _calls_wrong(x):
    return _wrong(x)


@jit_strict
def _rest(a, b):
    return (a + b) - a


@jit
def _rest_in_order(a, b):
    return _rest(a, b)


def test_a_called_kernel_gets_machine_code_only_if_python_calls_it_too():
    out = np.zeros(3)
    _fill_halves(np.arange(3.0), out)
    np.testing.assert_array_equal(out, [0.0, 0.5, 1.0])
    assert len(_fill_halves.signatures) == 1
    assert _half.signatures == []
    assert _half(3.0) == 1.5
    assert len(_half.signatures) == 1
    _fill_halves(np.arange(3, dtype=np.float32), out)  # other types, another version
    np.testing.assert_array_equal(out, [0.0, 0.5, 1.0])


def test_python_cannot_call_the_version_for_kernels():
    out = np.zeros(1)
    _fill_halves(np.ones(1), out)
    helper = _half._numba_type_.dispatcher
    assert isinstance(helper, Helper)
    assert helper.signatures
    with pytest.raises(TypeError, match="only kernels can call"):
        helper(1.0)


def test_each_kernel_keeps_its_rules_of_rounding():
    # without an order of operations, a + b - a may be b
    assert _rest(1e16, 1.0) == _rest_in_order(1e16, 1.0) == 0.0


def test_an_error_inside_a_called_kernel_reaches_python():
    assert _first_of_rows(np.ones(4), 2) == 1.0
    with pytest.raises(ValueError, match="total size"):
        _first_of_rows(np.ones(4), 3)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("kernel", [_wrong, _calls_wrong])
def test_the_garbage_collector_is_as_before(kernel, enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(TypingError, match="no_such_attribute"):
            kernel(1.0)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


_WITHOUT_INTERNALS = """
import sys
sys.modules["fastem.kernels._compiler"] = None  # as if a name that it imports did not exist
import numpy as np, fastem
coefs = [np.zeros((1, 1)), np.zeros((1, 2))]
result = fastem.e_step(np.zeros((1, 1)), [0], coefs, [[0.0], [0.0, 0.0]])
print(result.log_likelihood[0])
"""


def test_kernels_compile_where_numba_has_other_internals(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_INTERNALS],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(done.stdout) == pytest.approx(-0.6931471805599453)
