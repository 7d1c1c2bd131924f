"""Matrix products of the BLAS that Numba calls, with strides and accumulation.

``np.dot`` in a kernel needs contiguous arguments and overwrites its output. The BLAS function that
Numba calls for it also takes ranges of columns, and can add to its output.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.linalg import ensure_blas

ensure_blas()

_KINDS = {types.float64: "d", types.float32: "s"}
_CHAR, _SIZE, _POINTER = ir.IntType(8), ir.IntType(64), ir.IntType(8).as_pointer()
_GEMM = ir.FunctionType(
    ir.IntType(32),
    [_CHAR] * 3 + [_SIZE] * 3 + [_POINTER, _POINTER, _SIZE]
    + [_POINTER, _SIZE, _POINTER, _POINTER, _SIZE],
)  # fmt: skip


def _product(name, form, transposes_a=False, transposes_b=False, adds=False):
    """Return a function ``(a, b, out)`` for kernels, for one form of the product.

    The last axis of every array is contiguous, and no axis is empty.
    """

    def generate(context, builder, signature, args):
        kind = signature.args[2].dtype
        a, b, out = (
            context.make_array(array)(context, builder, value)
            for array, value in zip(signature.args, args, strict=True)
        )
        (a_rows, a_columns), (b_rows, b_columns) = (
            cgutils.unpack_tuple(builder, array.shape) for array in (a, b)
        )
        n, k = (a_columns, a_rows) if transposes_a else (a_rows, a_columns)
        m = b_rows if transposes_b else b_columns
        one = context.get_constant_generic(builder, kind, 1.0)
        beta = context.get_constant_generic(builder, kind, 1.0 if adds else 0.0)

        def char(letter):
            return ir.Constant(_CHAR, ord(letter))

        def pointer(value):
            return builder.bitcast(value, _POINTER)

        def stride(array):
            rows, _ = cgutils.unpack_tuple(builder, array.strides)
            return builder.sdiv(rows, array.itemsize)

        def flag(is_transposed):
            return char("t" if is_transposed else "n")

        # BLAS stores matrices by columns: it sees the transposes of a, b and out
        gemm = cgutils.get_or_insert_function(builder.module, _GEMM, "numba_xxgemm")
        builder.call(
            gemm,
            (
                char(_KINDS[kind]), flag(transposes_b), flag(transposes_a), m, n, k,
                pointer(cgutils.alloca_once_value(builder, one)),
                pointer(b.data), stride(b), pointer(a.data), stride(a),
                pointer(cgutils.alloca_once_value(builder, beta)), pointer(out.data), stride(out),
            ),
        )  # fmt: skip
        return context.get_dummy_value()

    def product(typing_context, a, b, out):
        return types.void(a, b, out), generate

    product.__name__ = product.__qualname__ = name
    product.__doc__ = f"``{form}``"
    return intrinsic(product)


fill_product = _product("fill_product", "out = a b")
fill_product_at_b = _product("fill_product_at_b", "out = a' b", transposes_a=True)
fill_product_at_bt = _product(
    "fill_product_at_bt", "out = a' b'", transposes_a=True, transposes_b=True
)
fill_product_a_bt = _product("fill_product_a_bt", "out = a b'", transposes_b=True)
add_product_a_bt = _product("add_product_a_bt", "out += a b'", transposes_b=True, adds=True)
add_product_at_bt = _product(
    "add_product_at_bt", "out += a' b'", transposes_a=True, transposes_b=True, adds=True
)
