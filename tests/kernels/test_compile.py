"""From a text to a function that runs, and what the cache does in between."""

from __future__ import annotations

import ast
import gc
import os
import re
import subprocess
import sys
import tomllib
from importlib import resources
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from chainrule.errors import CompileError
from chainrule.kernels import compile as compiling
from chainrule.kernels import target
from chainrule.kernels.compile import cache_key, compile_source, namespace, optimized_module
from chainrule.kernels.host import host, tile_shape
from chainrule.kernels.threads import CONTROL_WORDS, run_team

# All that a module may use, in a few lines: two threads, a product, scalar functions, the words.
TEXT = """
@kernel
def gather(thread, threads, samples, order, source, batch):
    for n in range(samples * thread // threads, samples * (thread + 1) // threads):
        batch[n] = F(source[order[n]]) * F(0.5)

@kernel
def product(a, b, out, rows, length):
    acc = stack(TILE_ROWS * PANEL)
    for row in range(0, rows, TILE_ROWS):
        count = min(TILE_ROWS, rows - row)
        tile(at(a, row * length), length, 1, count, b, PANEL, length, acc)
        for r in range(count):
            for lane in range(PANEL):
                out[(row + r) * PANEL + lane] = tanh(acc[r * PANEL + lane])

def epoch(thread, threads, address, number, scalar, control):
    source = uint8_at(address[0])
    order = int64_at(address[1])
    batch = F_at(address[2])
    out = F_at(address[3])
    length = number[0]
    rows = number[1]
    eta = F(scalar[0])
    for s in range(number[2]):
        gather(thread, threads, length * PANEL, order, source, batch)
        barrier(control, threads)
        if thread == 0:
            product(batch, batch, out, rows, length)
            store(control, PROGRESS, s + 1)
        barrier(control, threads)
        if load(control, STOP) != 0:
            return s + 1
    for i in range(rows * thread // threads, rows * (thread + 1) // threads):
        out[i] = select(out[i] > F(0), eta * out[i], out[i])
    return number[2]
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and nothing loaded."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "_loaded", {})
    return tmp_path / "cache" / "kernels"


def forget(monkeypatch):
    """As if another process began."""
    monkeypatch.setattr(compiling, "_loaded", {})


def run(entry, dtype, threads=2):
    """TEXT's result, and what it should be."""
    panel, length, rows = tile_shape(dtype).panel, 9, 7
    rng = np.random.default_rng(0)
    source = rng.integers(0, 3, length * panel, dtype=np.uint8)
    order = rng.permutation(length * panel)
    batch, out = np.zeros(length * panel, dtype), np.zeros(rows * panel, dtype)
    address = np.array([a.ctypes.data for a in (source, order, batch, out)], dtype=np.int64)
    number, scalar = np.array([length, rows, 3]), np.array([2.0])
    control = np.zeros(CONTROL_WORDS, dtype=np.int64)
    pointers = [a.ctypes.data for a in (address, number, scalar, control)]
    results = []
    run_team(lambda t: results.append(entry(t, threads, *pointers)), threads, lambda: None, lambda: None)
    assert results == [3] * threads
    exact_batch = 0.5 * source[order]
    exact = np.tanh(exact_batch[: rows * length].reshape(rows, length) @ exact_batch.reshape(length, panel)).reshape(-1)
    exact[:rows] *= np.where(exact[:rows] > 0, 2, 1)
    return out, exact


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_module_runs(dtype, threads):
    compiled = compile_source(TEXT, dtype)
    out, exact = run(compiled.entry, dtype, threads)
    np.testing.assert_allclose(out, exact, rtol=20 * np.finfo(dtype).eps)
    assert compiled.text == TEXT and not compiled.from_cache and compiled.seconds > 0


def test_the_text_can_be_read_beside_the_code(cache):
    compiled = compile_source(TEXT, "float32")
    assert compiled.path.read_text() == TEXT
    assert sorted(p.suffix for p in cache.iterdir()) == [".object", ".py"]


def test_one_process_compiles_a_text_once():
    assert compile_source(TEXT, "float32") is compile_source(TEXT, "float32")
    assert compile_source(TEXT, "float32") is not compile_source(TEXT, "float64")


def test_the_function_keeps_its_code_alive(monkeypatch):
    entry = compile_source(TEXT, "float32").entry
    forget(monkeypatch)
    gc.collect()
    out, exact = run(entry, "float32")
    np.testing.assert_allclose(out, exact, rtol=2e-6)


def test_functions_of_a_module_are_told_apart():
    text = ""
    for k in range(4):
        text += f"@kernel\ndef f{k}(x):\n    x[0] = x[0] * F(10) + F({k})\n\n"
    text += "def epoch(thread, threads, address, number, scalar, control):\n    x = F_at(address[0])\n"
    text += "".join(f"    f{k}(x)\n" for k in (3, 1, 2, 0)) + "    return 0\n"
    x = np.zeros(1, np.float32)
    address = np.array([x.ctypes.data])
    compile_source(text, "float32").entry(0, 1, address.ctypes.data, None, None, None)
    assert x[0] == 3120


def test_vectors_may_be_narrower(monkeypatch):
    wide = cache_key(TEXT, "float32")
    monkeypatch.setenv("CHAINRULE_VECTOR_BYTES", "16")
    assert cache_key(TEXT, "float32") != wide
    out, exact = run(compile_source(TEXT, "float32").entry, "float32")
    np.testing.assert_allclose(out, exact, rtol=2e-6)
    assert "chainrule_tile_6x2x4_float32" in str(optimized_module(TEXT, "float32")) or host().vector_registers == 32


# what the code is made of


def test_nothing_of_pythons_is_called_and_no_reference_counted():
    text = str(optimized_module(TEXT, "float32"))
    called = set(re.findall(r'(?:call|invoke)[^\n]*@"?([\w.]+)', text))
    assert not [name for name in called if re.match(r"NRT|Py|numba", name)]
    assert "NRT" not in text and "numba" not in text


def test_float32_stays_float32():
    text = str(optimized_module(TEXT.replace("F(scalar[0])", "F(2)"), "float32"))
    assert "double" not in text


def test_infinite_and_nan_tests_survive():
    """nnan and ninf are no flags of ours: `x - x` may not become 0."""
    text = """
def epoch(thread, threads, address, number, scalar, control):
    x = F_at(address[0])
    x[1] = x[0] - x[0]
    x[2] = select(abs(x[0]) < F(INFINITY), F(1), F(0))
    return 0
"""
    entry = compile_source(text, "float32").entry
    for value, expected in ((np.inf, 0), (np.nan, 0), (3, 1)):
        x = np.array([value, 7, 7], np.float32)
        entry(0, 1, np.array([x.ctypes.data]).ctypes.data, None, None, None)
        assert x[2] == expected
        assert np.isnan(x[1]) or value == 3


def test_division_and_roots_of_vectors_are_exact_at_infinity():
    """`arcp` would let LLVM estimate 1/√x, and x86's estimate makes NaN of 0 and infinity."""
    text = """
def epoch(thread, threads, address, number, scalar, control):
    x = F_at(address[0])
    y = F_at(address[1])
    for i in range(number[0]):
        y[i] = F(1) / sqrt(x[i])
    return 0
"""
    x = np.tile(np.array([np.inf, 0, 4, 1e-38], np.float32), 16)
    y = np.zeros_like(x)
    address, number = np.array([x.ctypes.data, y.ctypes.data]), np.array([x.size])
    compile_source(text, "float32").entry(0, 1, address.ctypes.data, number.ctypes.data, None, None)
    np.testing.assert_allclose(y, np.tile([0, np.inf, 0.5, 1e19], 16), rtol=1e-6)


# errors


def test_an_exception_in_the_code_is_told_by_what_it_returns():
    text = """
def epoch(thread, threads, address, number, scalar, control):
    for i in range(0, 3, number[0]):
        number[1] = i
    return 0
"""
    entry = compile_source(text, "float32").entry
    for step, expected in ((1, 0), (0, compiling.RAISED)):  # range's step may not be 0
        number = np.array([step, 0])
        assert entry(0, 1, None, number.ctypes.data, None, None) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def epoch(:", "could not be built"),
        ("x = 1", "no function 'epoch'"),
        ("def epoch(thread, threads, address, number, scalar, control):\n    return unknown(1)", "could not be built"),
        ("def epoch(a):\n    return 0", "could not be built"),
        ("raise ValueError('at import')", "could not be built"),
        (
            "def epoch(thread, threads, address, number, scalar, control):\n    stack(threads)\n    return 0",
            "could not be built",
        ),
    ],
)
def test_a_text_that_cannot_be_compiled(text, message):
    with pytest.raises(CompileError, match=message):
        compile_source(text, "float32")


def test_another_dtype():
    with pytest.raises(CompileError, match="float16"):
        compile_source(TEXT, "float16")


def test_symbols_that_nobody_has_are_found_before_they_end_the_process():
    module = llvm.parse_assembly("declare void @NRT_Allocate()\ndeclare float @powf(float, float)")
    with pytest.raises(CompileError, match="NRT_Allocate"):
        compiling._check_symbols(module, "somewhere")


def test_numba_disabled():
    code = f"""
from chainrule.errors import CompileError
from chainrule.kernels.compile import compile_source
try:
    compile_source({TEXT!r}, "float32")
except CompileError as error:
    assert "NUMBA_DISABLE_JIT" in str(error), error
else:
    raise AssertionError
"""
    assert python(code, NUMBA_DISABLE_JIT="1").returncode == 0


def test_messages_in_both_languages():
    tables = [
        tomllib.loads(resources.files("chainrule.messages").joinpath(language, "kernels.toml").read_text("utf-8"))
        for language in ("en", "ko")
    ]
    assert tables[0].keys() == tables[1].keys()
    for key in tables[0]:
        assert set(re.findall(r"{\w+", tables[0][key])) == set(re.findall(r"{\w+", tables[1][key])), key


# the cache


def python(code, **environment):
    source = str(Path(compiling.__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": source, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_later_process_loads_it_without_numba(tmp_path):
    compile_source(TEXT, "float32")
    code = f"""
import sys
sys.modules["numba"] = None      # importing it would fail
from chainrule.kernels.compile import compile_source
compiled = compile_source({TEXT!r}, "float32")
assert compiled.from_cache, compiled
sys.path.insert(0, {str(Path(__file__).parent)!r})
del sys.modules["numba"]
from test_compile import run
import numpy as np
out, exact = run(compiled.entry, "float32")
np.testing.assert_allclose(out, exact, rtol=2e-6)
"""
    # test_compile itself looks at Numba's side: it may be imported once the step is loaded.
    result = python(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:40],
        lambda data: data[:-1],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"#!/bin/sh\n" + data,
        lambda data: data[:19] + bytes(32) + data[51:],  # another text's code
    ],
)
def test_a_damaged_file_is_made_anew(cache, monkeypatch, damage):
    compile_source(TEXT, "float32")
    (file,) = cache.glob("*.object")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    forget(monkeypatch)
    again = compile_source(TEXT, "float32")
    assert not again.from_cache
    assert file.read_bytes()[:51] == whole[:51]
    forget(monkeypatch)
    assert compile_source(TEXT, "float32").from_cache


def test_a_folder_that_cannot_be_written(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("CHAINRULE_CACHE", str(blocked))
    compiled = compile_source(TEXT, "float32")
    assert compiled.path is None and not compiled.from_cache
    out, exact = run(compiled.entry, "float32")
    np.testing.assert_allclose(out, exact, rtol=2e-6)


def test_a_disk_that_is_full(monkeypatch, cache):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    compiled = compile_source(TEXT, "float32")
    assert compiled.path is None
    assert list(cache.iterdir()) == []


def test_several_processes_at_once(cache):
    code = f"""
from chainrule.kernels.compile import compile_source
compile_source({TEXT!r}, "float32")
"""
    source = str(Path(compiling.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": source}
    running = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert sorted(p.suffix for p in cache.iterdir()) == [".object", ".py"]
    assert compile_source(TEXT, "float32").from_cache


def test_the_key_knows_what_the_code_depends_on(monkeypatch):
    keys = {cache_key(TEXT, "float32"), cache_key(TEXT, "float64"), cache_key(TEXT + "\n", "float32")}
    monkeypatch.setenv("NUMBA_OPT", "1")
    keys.add(cache_key(TEXT, "float32"))
    monkeypatch.setattr(compiling.metadata, "version", lambda name: "0.0")
    keys.add(cache_key(TEXT, "float32"))
    assert len(keys) == 5


def test_every_source_of_code_is_in_the_key():
    """A file of this chapter that compile.py or its helpers import for building must be hashed."""
    folder = Path(compiling.__file__).parent
    hashed = set(compiling.SOURCES)
    for name in hashed:
        tree = ast.parse((folder / name).read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("chainrule.kernels."):
                assert f"{node.module.rsplit('.', 1)[1]}.py" in hashed


def test_the_namespace_is_what_the_generator_counts_on():
    names = namespace("float32")
    wanted = (
        "kernel tile barrier load store at stack select F F_at TILE_ROWS PANEL INFINITY STOP PROGRESS FAILED DECIDED"
    )
    casts = "uint8_at int64_at float32_at float64_at uint8 int64 float32 float64"
    functions = (
        "exp log log1p expm1 sqrt abs sign step tanh sigmoid softplus relu erf sin cos floor maximum minimum power"
    )
    assert set(f"{wanted} {casts} {functions}".split()) <= set(names)


def test_the_fast_math_set():
    assert {"contract", "reassoc", "nsz", "arcp", "afn"} == target.FAST_MATH
