"""Array views without reference counts, for kernels with inner steps of less than a microsecond.

Numba counts references to slices with atomic operations, and ``reshape`` takes 40 nanoseconds.
The views of this module count no references and check no bounds. Two conditions follow. The base
array must outlive its views; the arguments of a kernel outlive the call. The caller must pass
bounds that lie inside the base array.

A view of a read-only array has a read-only type. Numba therefore refuses to compile a kernel that
writes to a view of a read-only array.
"""

from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array


def _type_of_view(flat, ndim):
    """Return the type of a view: writeable and aligned only if the base array is so."""
    return types.Array(flat.dtype, ndim, "C", readonly=not flat.mutable, aligned=flat.aligned)


def _view(context, builder, result, array, start, shape):
    size = context.get_abi_sizeof(context.get_data_type(result.dtype))
    item = context.get_constant(types.intp, size)
    strides = [item] if len(shape) == 1 else [builder.mul(shape[1], item), item]
    view = make_array(result)(context, builder)
    data = builder.gep(array.data, [start])
    populate_array(view, data=data, shape=shape, strides=strides, itemsize=item, meminfo=None)
    return view._getvalue()


@intrinsic
def vector(typing_context, flat, start, n):
    """Return ``flat[start : start + n]``."""
    result = _type_of_view(flat, 1)

    def generate(context, builder, signature, args):
        array = make_array(signature.args[0])(context, builder, args[0])
        return _view(context, builder, result, array, args[1], [args[2]])

    return result(flat, types.intp, types.intp), generate


@intrinsic
def matrix(typing_context, flat, start, n_rows, n_columns):
    """Return ``flat[start : start + n_rows * n_columns].reshape(n_rows, n_columns)``."""
    result = _type_of_view(flat, 2)

    def generate(context, builder, signature, args):
        array = make_array(signature.args[0])(context, builder, args[0])
        return _view(context, builder, result, array, args[1], [args[2], args[3]])

    return result(flat, types.intp, types.intp, types.intp), generate


@intrinsic
def untracked(typing_context, group):
    """Return a copy of a tuple of arrays and numbers, without references to the arrays' memory.

    The types of the members do not change: a read-only array stays read-only.
    """

    def generate(context, builder, signature, args):
        members = []
        for i, kind in enumerate(group.types):
            member = builder.extract_value(args[0], i)
            if isinstance(kind, types.Array):
                array = make_array(kind)(context, builder, member)
                array.meminfo = context.get_constant_null(types.MemInfoPointer(types.voidptr))
                member = array._getvalue()
            members.append(member)
        return context.make_tuple(builder, group, members)

    return group(group), generate
