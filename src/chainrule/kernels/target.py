"""Numba, cut down to what a compiled step needs: typing and lowering, nothing else.

This is the only file that reaches into Numba's inside (0.68). A target of its own keeps each function's LLVM module as
it was lowered, to be linked and optimized once by compile.py; and it loads a tenth of Numba's registries: pointers,
numbers, ranges and mathematics, no arrays, strings or containers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import codegen, config, cpu, fastmathpass, registry, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.extending import intrinsic
from numba.core.target_extension import CPU, dispatcher_registry, jit_registry, target_registry

from chainrule.errors import CompileError
from chainrule.messages import say

# Products may be fused, sums reordered, divisions shared. `nnan` and `ninf` are left out: they would let LLVM drop the
# tests that find a number that is not finite. Every function gets the same set, also those that Numba brings along: a
# caller's flags leak into callees by order of compilation.
FAST_MATH = frozenset({"contract", "reassoc", "nsz", "arcp", "afn"})
# No index is checked (pointers have no length), no reference counted (nothing is allocated); division is C's.
OPTIONS = {
    "fastmath": set(FAST_MATH),
    "error_model": "numpy",
    "boundscheck": False,
    "_nrt": False,
    "nopython": True,
    "no_rewrites": True,  # array expressions and the like, which generated text has none of: 8 % of the time
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}

# With `arcp`, LLVM would make 1/√x from x86's estimate and a Newton step: NaN at 0 and ∞, wrong at denormal numbers.
NO_ESTIMATES = '"reciprocal-estimates"="none"'

# epoch(thread, threads, address, number, scalar, control)
EPOCH = types.int64(
    types.int64,
    types.int64,
    types.CPointer(types.int64),
    types.CPointer(types.int64),
    types.CPointer(types.float64),
    types.CPointer(types.int64),
)


@dataclass(frozen=True)
class Lowered:
    """All of a text's functions in one LLVM module, not yet optimized; `symbol` is epoch's name in it."""

    module: llvm.ModuleRef
    symbol: str


class _Library(codegen.AOTCodeLibrary):
    """One function's LLVM module, left as it is."""

    def _optimize_functions(self, ll_module: llvm.ModuleRef) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass


class _Codegen(codegen.AOTCPUCodegen):
    _library_class = _Library


class _Context(cpu.CPUContext):
    """What lowering knows of the target."""

    def init(self) -> None:
        super().init()
        self._internal_codegen = _Codegen("chainrule")

    def load_additional_registries(self) -> None:
        from numba.cpython import builtins, mathimpl, numbers, rangeobj, tupleobj  # noqa: F401 (they register themselves)

        self.install_registry(mathimpl.registry)

    def post_lowering(self, mod: ir.Module, library: Any) -> None:
        if self.fastmath:
            fastmathpass.rewrite_module(mod, self.fastmath)
        for function in mod.functions:
            if function.blocks:
                # Past llvmlite's list of known attributes, which has none of the form "name"="value".
                set.add(function.attributes, NO_ESTIMATES)
            if _has_loop(function):
                # A call costs nothing beside a loop; one function with all loops in it would cost LLVM minutes.
                function.attributes.add("noinline")

    def get_executable(self, library: Any, fndesc: Any, env: Any) -> Any:
        # Nobody calls it: functions are called from compiled code only. But Numba tells functions apart by it, and
        # wants it built in: the bound method of a new list is both.
        return [fndesc].copy


def _has_loop(function: ir.Function) -> bool:
    """Whether a block jumps back: Numba writes blocks in the order of the source."""
    place = {block: n for n, block in enumerate(function.blocks)}
    return any(place.get(target, n + 1) <= n for n, b in enumerate(function.blocks) for target in b.terminator.operands)


class _Target(registry.CPUTarget):
    @cached_property
    def _toplevel_target_context(self) -> _Context:
        return _Context(self.typing_context, self._target_name)


class _Dispatcher(registry.CPUDispatcher):
    targetdescr = _Target("chainrule")


class _Chainrule(CPU):
    """The name under which Numba finds this target while it types a call."""


target_registry["chainrule"] = _Chainrule
dispatcher_registry[_Chainrule] = _Dispatcher


def kernel(function: Callable[..., Any]) -> Any:
    """The decorator of generated functions."""
    if config.DISABLE_JIT:
        raise CompileError(say("kernels.jit_disabled"))
    return _Dispatcher(function, targetoptions=dict(OPTIONS))


# What Numba compiles on its own account (the bodies behind some built-in names) goes the same way.
jit_registry[_Chainrule] = lambda *_, **__: kernel


def lower(epoch: Callable[..., Any]) -> Lowered:
    """Type and lower `epoch` and all that it calls."""
    dispatcher = kernel(epoch)
    with global_compiler_lock:
        dispatcher.compile(EPOCH)
        result = dispatcher.overloads[EPOCH.args]
        result.library.finalize()
        return Lowered(result.library._final_module, result.fndesc.mangled_name)


def make_memory(dtype: str) -> dict[str, Any]:
    """What a text does with memory: F and the casts from addresses, `at`, `stack`."""
    import numpy as np

    named = {"uint8": np.uint8, "int64": np.int64, "float32": np.float32, "float64": np.float64}
    casts = {f"{name}_at": _make_cast(name) for name in named}
    return {
        **named,
        **casts,
        "F": named[dtype],
        "F_at": casts[f"{dtype}_at"],
        "at": _at,
        "stack": _make_stack(dtype),
        "INFINITY": float("inf"),
    }


def _make_cast(name: str) -> Any:
    """`float32_at(address)`: the number of a byte in memory as a pointer."""
    pointer = types.CPointer(getattr(types, name))

    def cast(context: Any, address: Any) -> Any:
        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[ir.Value]) -> ir.Value:
            return builder.inttoptr(arguments[0], context.get_value_type(pointer))

        return pointer(types.int64), generate

    cast.__name__ = f"{name}_at"
    return intrinsic(cast)


@intrinsic
def _at(context: Any, pointer: Any, index: Any) -> Any:
    """`at(pointer, index)`: a pointer to pointer[index]."""
    if not isinstance(pointer, types.CPointer):
        return None

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[ir.Value]) -> ir.Value:
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, types.int64), generate


def _make_stack(dtype: str) -> Any:
    """`stack(count)`: room for a constant count of numbers on the thread's stack, until the function returns."""
    number = getattr(types, dtype)

    @intrinsic(prefer_literal=True)
    def stack(context: Any, count: Any) -> Any:
        if not isinstance(count, types.IntegerLiteral):
            return None
        size = count.literal_value

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[ir.Value]) -> ir.Value:
            array = ir.ArrayType(context.get_value_type(number), size)
            # In the entry block the stack grows once, however often a loop comes by.
            with builder.goto_entry_block():
                room = builder.alloca(array)
            # A whole number of cache lines from 0: vectors of 64 bytes do not straddle two.
            room.align = 64
            return builder.bitcast(room, context.get_value_type(signature.return_type))

        return types.CPointer(number)(count), generate

    return stack
