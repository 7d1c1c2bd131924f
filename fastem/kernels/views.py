"""Views without reference counts, for kernels whose inner steps last less than a microsecond.

Slicing and reshaping count references by atomic operations, and ``reshape`` takes 40
nanoseconds. The views made here count nothing and check nothing: their base must outlive
them, as a kernel's arguments outlive its call, and bounds are the caller's care.
"""

from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array


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
    result = types.Array(flat.dtype, 1, "C")

    def generate(context, builder, signature, args):
        array = make_array(signature.args[0])(context, builder, args[0])
        return _view(context, builder, result, array, args[1], [args[2]])

    return result(flat, types.intp, types.intp), generate


@intrinsic
def matrix(typing_context, flat, start, n_rows, n_columns):
    """Return ``flat[start : start + n_rows * n_columns].reshape(n_rows, n_columns)``."""
    result = types.Array(flat.dtype, 2, "C")

    def generate(context, builder, signature, args):
        array = make_array(signature.args[0])(context, builder, args[0])
        return _view(context, builder, result, array, args[1], [args[2], args[3]])

    return result(flat, types.intp, types.intp, types.intp), generate


@intrinsic
def untracked(typing_context, group):
    """Return a tuple of arrays and numbers with its arrays' references counted no more."""

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
