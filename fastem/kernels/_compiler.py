"""Kernels as Numba compiles them: machine code only for the kernels that Python calls.

By default Numba optimises every function and emits its machine code, also that of a function which
only other kernels call. The code of such a function is then copied into its callers, where it is
optimised and emitted again, once per level of calls. Here a kernel that another kernel calls is
translated to LLVM's intermediate code only. Optimisation starts when all code that a call from
Python can reach is in one module. This halves the time of compilation, and the inliner of LLVM sees
the callees before their loops are vectorised.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import (
    Compiler,
    CompilerBase,
    CompileResult,
    DefaultPassBuilder,
)
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering


class Kernel(CPUDispatcher):
    """A compiled function with two versions per signature.

    Calls from Python run machine code, which is cached on disk. Other kernels refer to `Helper`,
    whose code becomes a part of theirs.
    """

    def __init__(
        self,
        py_func: Callable,
        locals: dict | None = None,
        targetoptions: dict | None = None,
        pipeline_class: type[CompilerBase] = Compiler,
    ) -> None:
        options = {**(targetoptions or {}), "nopython": True, "no_cfunc_wrapper": True}
        super().__init__(py_func, locals or {}, options, pipeline_class)
        self._helper = None

    @property
    def _numba_type_(self) -> types.Dispatcher:
        """Type of the kernel in the code of other kernels."""
        if self._helper is None:
            self._helper = Helper(self.py_func, self.targetoptions)
        return types.Dispatcher(self._helper)

    def compile(self, sig: Any) -> Any:
        """Return the machine code for a signature."""
        # in this order: a child that is forked meanwhile would have no collector
        with global_compiler_lock, _without_collection():
            return super().compile(sig)


class Helper(CPUDispatcher):
    """A kernel as other kernels call it: without machine code, so Python cannot call it."""

    def __init__(self, py_func: Callable, targetoptions: dict) -> None:
        options = {**targetoptions, "no_cpython_wrapper": True}
        super().__init__(py_func, {}, options, _HelperCompiler)

    def add_overload(self, cres: CompileResult) -> None:
        """Keep the code of a signature, but do not offer it to calls from Python."""
        self.overloads[tuple(cres.signature.args)] = cres


class _HelperLibrary(JITCodeLibrary):
    """Code that is linked into other libraries, where it is optimised."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _HelperLowering(NativeLowering):
    """Translate a helper to LLVM's intermediate code."""

    _name = "helper_lowering"

    def run_pass(self, state: Any) -> bool:
        context = state.targetctx
        state.library = _HelperLibrary(context.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        state.library.finalize()

        def key(*args: Any) -> NoReturn:
            raise TypeError("only kernels can call this function")

        state.cr = state.cr._replace(cfunc=key)
        context.insert_user_function(key, state.cr.fndesc, [state.library])
        return True


class _HelperCompiler(CompilerBase):
    def define_pipelines(self) -> list:
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.passes = [
            (_HelperLowering if step is NativeLowering else step, text)
            for step, text in pipeline.passes
        ]
        pipeline._finalized = False
        pipeline.finalize()
        return [pipeline]


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pause the garbage collector: the compiler allocates many objects, nearly all without cycles.

    Collections would take a tenth of the time of compilation.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
