"""Generated text → a compiled `epoch`, kept in a cache that later processes load.

text ──translate.py──▶ LLVM module ──LLVM──▶ object code ──▶ cache file, loaded, called
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from chainrule.cache import cache_folder
from chainrule.errors import CompileError
from chainrule.kernels import threads
from chainrule.kernels.builtins import NUMBERS, make_builtins
from chainrule.kernels.host import ITEM_BYTES, host, tile_shape
from chainrule.kernels.sparse import walk_panels
from chainrule.kernels.translate import translate
from chainrule.messages import say

# What object code may call besides itself. Anything else is a bug of the generator.
C_FUNCTIONS = frozenset({"memcpy", "memmove", "memset"}) | threads.C_FUNCTIONS
MATH_FUNCTIONS = frozenset(
    name + suffix
    for name in ("sin", "cos", "sincos", "pow", "exp2", "ldexp", "fmod", "floor", "fma")
    for suffix in ("", "f")
)

ENTRY = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)

MAGIC = b"chainrule object 1\n"
# Whose change changes the object code.
SOURCES = ("host.py", "tile.py", "sparse.py", "threads.py", "scalars.py", "builtins.py", "translate.py", "compile.py")


@dataclass(frozen=True)
class Compiled:
    """A compiled step.

    `entry(thread, threads, address, number, scalar, control)` runs without the interpreter's lock; the last four are
    addresses of arrays. `seconds` is what it took to get it, `path` the text it came from, where that could be written.
    """

    entry: Callable[..., int]
    text: str
    seconds: float
    from_cache: bool
    path: Path | None


def compile_source(text: str, dtype: str) -> Compiled:
    """Compile the module `text`, or load it from the cache; the same text gives the same object in one process.

    Raises: CompileError, also where the text needs what a compiled step must not.
    """
    if dtype not in ITEM_BYTES:
        raise CompileError(say("kernels.dtype", given=dtype))
    started = time.perf_counter()
    key = cache_key(text, dtype)
    with _lock:
        if key not in _loaded:
            _loaded[key] = _load_or_build(text, dtype, key, started)
        return _loaded[key]


_loaded: dict[str, Compiled] = {}
_lock = threading.Lock()


def cache_key(text: str, dtype: str) -> str:
    """A hash of all that the object code depends on."""
    machine, shape = host(), tile_shape(dtype)
    parts: list[object] = [text, dtype, shape, machine.cpu, machine.features, sys.version, sys.platform]
    files = [Path(__file__).parent / name for name in SOURCES]
    parts += [llvmlite.__version__, _hash_of(tuple((path, path.stat().st_mtime_ns) for path in files))]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@cache
def _hash_of(files: tuple[tuple[Path, int], ...]) -> str:
    """A hash of files, which are given with the times of their last change."""
    found = hashlib.sha256()
    for path, _ in files:
        # Its length first, so that two files are not the same as one.
        source = path.read_bytes()
        found.update(len(source).to_bytes(8, "little") + source)
    return found.hexdigest()


def _load_or_build(text: str, dtype: str, key: str, started: float) -> Compiled:
    folder = _kernel_folder()
    path = folder / f"{key[:32]}.py" if folder else None
    code = _read(path, key) if path else None
    from_cache = code is not None
    if code is None:
        written = path if path and _write(path, text.encode()) else None
        code = _build(text, dtype, key, str(path or f"<chainrule {key[:8]}>"))
        if written:
            _write(written.with_suffix(".object"), MAGIC + bytes.fromhex(key) + hashlib.sha256(code).digest() + code)
    entry = _load(code, _entry_name(key))
    kept = path if path and path.exists() else None
    return Compiled(entry, text, time.perf_counter() - started, from_cache, kept)


# the cache


def _kernel_folder() -> Path | None:
    """The folder of the cache, or None where there can be none."""
    try:
        folder = Path(cache_folder()) / "kernels"
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


def _read(path: Path, key: str) -> bytes | None:
    """The object code that belongs to a text, or None where the file is missing, damaged or another's."""
    try:
        data = path.with_suffix(".object").read_bytes()
    except OSError:
        return None
    head = len(MAGIC) + 64
    code = data[head:]
    whole = MAGIC + bytes.fromhex(key) + hashlib.sha256(code).digest()
    return code if code and data[:head] == whole else None


def _write(path: Path, data: bytes) -> bool:
    """Write a file whole or not at all, safe against other processes doing the same; whether it worked."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    except OSError:
        return False
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        return False
    return True


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    """Where an array's memory is, as an argument of an entry."""
    return ctypes.c_void_p(array.ctypes.data)


# building


def _build(text: str, dtype: str, key: str, path: str) -> bytes:
    """The object code of a text, with one visible function."""
    return bytes(_target_machine().emit_object(optimized_module(text, dtype, _entry_name(key), path)))


def optimized_module(text: str, dtype: str, entry: str = "epoch", path: str = "<chainrule>") -> llvm.ModuleRef:
    """A text as LLVM's optimizer leaves it: what the object code is emitted from, to be looked at."""
    shape = tile_shape(dtype)
    constants = {name: getattr(threads, name) for name in threads.CONTROL_NAMES}
    constants |= {"TILE_ROWS": shape.rows, "PANEL": shape.panel, "LANES": shape.lanes, "INFINITY": math.inf}
    constants |= {"WALK_PANELS": walk_panels(shape), "BOTH_PANELS": walk_panels(shape, 2)}
    constants |= {"LINE": 64 // ITEM_BYTES[dtype]}
    builtins = make_builtins(dtype, shape)
    made = translate(text, NUMBERS[dtype], shape.lanes, builtins, constants, entry, path)
    try:
        module = llvm.parse_assembly(str(made))
    except RuntimeError as error:  # types that the translator let pass and LLVM does not
        raise CompileError(say("kernels.failed", reason=error, path=path)) from error
    _optimize(module, entry)
    _check_symbols(module, path)
    return module


def _optimize(module: llvm.ModuleRef, entry: str) -> None:
    """Optimize a module as a whole: only `entry` is seen from outside."""
    for function in module.functions:
        if not function.is_declaration and function.name != entry:
            function.linkage = llvm.Linkage.internal
    module.triple = llvm.get_process_triple()
    module.data_layout = str(_target_machine().target_data)
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True
    tuning.slp_vectorization = False
    builder = llvm.create_pass_builder(_target_machine(), tuning)
    builder.getModulePassManager().run(module, builder)


def _entry_name(key: str) -> str:
    return f"chainrule_epoch_{key[:16]}"


def _check_symbols(module: llvm.ModuleRef, path: str) -> None:
    """Loading code with an unknown symbol would end the process, so it is found here."""
    wanted = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    wanted |= {v.name for v in module.global_variables if v.is_declaration}
    unknown = sorted(wanted - C_FUNCTIONS - MATH_FUNCTIONS)
    if unknown:
        raise CompileError(say("kernels.unknown_symbols", symbols=", ".join(unknown), path=path))


# loading


def _load(code: bytes, entry: str) -> Callable[..., int]:
    """Object code as a function. Needs llvmlite only."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    function = ENTRY(engine.get_function_address(entry))
    vars(function)["engine"] = engine  # it owns the memory that the code lies in: who holds the function holds it too
    return function


def _target_machine() -> llvm.TargetMachine:
    _initialize()
    machine = host()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    # Static: addresses are filled in as the code is loaded, without position-independent code's tables.
    reloc = "static" if target.name.startswith("x86") else "default"
    options = {"cpu": machine.cpu, "features": machine.features, "opt": 3, "reloc": reloc, "codemodel": "jitdefault"}
    return target.create_target_machine(**options, jit=True)


def _initialize() -> None:
    """Prepare LLVM, once, and tell it where the C library's functions are."""
    if _initialized.is_set():
        return
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # A Python without a libm of its own (a static build) does not find these among the process's symbols.
    for library, names in ((ctypes.util.find_library("m"), MATH_FUNCTIONS), (None, C_FUNCTIONS)):
        for name in names:
            function = _find(library, name)
            if function:
                llvm.add_symbol(name, function)
    _initialized.set()


_initialized = threading.Event()


def _find(library: str | None, name: str) -> int | None:
    try:
        return ctypes.cast(getattr(ctypes.CDLL(library), name), ctypes.c_void_p).value
    except (OSError, AttributeError, TypeError):
        return None
