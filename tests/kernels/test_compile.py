"""From a text to a function that runs, and what the cache does in between."""

from __future__ import annotations

import ast
import dataclasses
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib import resources
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from llvmlite import ir

from chainrule.errors import CompileError
from chainrule.kernels import builtins, scalars, translate
from chainrule.kernels import compile as compiling
from chainrule.kernels.builtins import make_builtins
from chainrule.kernels.compile import C_FUNCTIONS, MATH_FUNCTIONS, cache_key, compile_source, optimized_module
from chainrule.kernels.host import TileShape, host, tile_shape
from chainrule.kernels.threads import CONTROL_WORDS, run_team

# All that a module may use, in a few lines: threads, both products, vectors, scalar functions, the words.
TEXT = """
def gather(thread, threads, samples, order, source, batch):
    for n in range(samples * thread // threads, samples * (thread + 1) // threads):
        batch[n] = F(source[order[n]]) * F(0.5)

def product(a, b, out, rows, length):
    acc = stack(TILE_ROWS * PANEL)
    for row in range(0, rows, TILE_ROWS):
        count = least(TILE_ROWS, rows - row)
        tile(at(a, row * length), length, 1, count, b, PANEL, length, 0, acc)
        for r in range(count):
            for lane in range(0, PANEL, LANES):
                put(out, (row + r) * PANEL + lane, tanh(vector(acc, r * PANEL + lane)))

def walk(places, values, count, b, out):
    pairs = stack(16)
    for e in range(count):
        put_pair(pairs, e, places[e], values[e])
    walk_list(1, pairs, count, b, 0, 0, out)
    out[0] = log(exp(out[0]))

def epoch(thread, threads, address, number, scalar, control):
    source = uint8_at(address[0])
    order = int64_at(address[1])
    batch = F_at(address[2])
    out = F_at(address[3])
    places = int32_at(address[4])
    values = F_at(address[5])
    length = number[0]
    rows = number[1]
    eta = F(scalar[0])
    for s in range(number[2]):
        gather(thread, threads, number[4], order, source, batch)
        barrier(control, threads)
        if thread == 0:
            product(batch, batch, out, rows, length)
            walk(places, values, number[3], batch, at(out, rows * PANEL))
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
    count = length * max(rows, panel)  # the batch is both factors of the product
    source, order = rng.integers(0, 3, count, dtype=np.uint8), rng.permutation(count)
    batch, out = np.zeros(count, dtype), np.zeros((rows + 1) * panel, dtype)
    places, values = np.array([0, 3, 4, 8], np.int32), np.array([0.5, -1, 0.25, 2], dtype)
    address = np.array([a.ctypes.data for a in (source, order, batch, out, places, values)], dtype=np.int64)
    number, scalar = np.array([length, rows, 3, places.size, count]), np.array([2.0])
    control = np.zeros(CONTROL_WORDS, dtype=np.int64)
    pointers = [a.ctypes.data for a in (address, number, scalar, control)]
    results = []
    run_team(lambda t: results.append(entry(t, threads, *pointers)), threads, lambda: None, lambda: None)
    assert results == [3] * threads
    exact_batch = 0.5 * source[order]
    left = exact_batch[: rows * length].reshape(rows, length)
    right = exact_batch[: length * panel].reshape(length, panel)
    exact = np.tanh(left @ right).reshape(-1)
    exact[:rows] *= np.where(exact[:rows] > 0, 2, 1)
    return out, np.concatenate([exact, values @ right[places]])


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
        text += f"def f{k}(x):\n    x[0] = x[0] * F(10) + F({k})\n\n"
    text += "def epoch(thread, threads, address, number, scalar, control):\n    x = F_at(address[0])\n"
    text += "".join(f"    f{k}(x)\n" for k in (3, 1, 2, 0)) + "    return 0\n"
    x = np.zeros(1, np.float32)
    address = np.array([x.ctypes.data])
    compile_source(text, "float32").entry(0, 1, address.ctypes.data, None, None, None)
    assert x[0] == 3120


@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_vectors_may_be_narrower(vector_bytes, dtype):
    """A whole text, in a process whose machine has narrower vectors: other files, and the same numbers."""
    if vector_bytes > host().vector_bytes:
        pytest.skip(f"this machine's vectors have {host().vector_bytes} bytes")
    code = f"""
import numpy as np
from tests.kernels.test_compile import TEXT, compile_source, compiling, optimized_module, run, tile_shape
assert tile_shape({dtype!r}).lanes * np.dtype({dtype!r}).itemsize == {vector_bytes}
out, exact = run(compile_source(TEXT, {dtype!r}).entry, {dtype!r})
np.testing.assert_allclose(out, exact, rtol=20 * np.finfo({dtype!r}).eps)
print(compiling._target_machine().emit_assembly(optimized_module(TEXT, {dtype!r})))
"""
    result = python(code, CHAINRULE_VECTOR_BYTES=str(vector_bytes))
    assert result.returncode == 0, result.stderr
    lanes = vector_bytes // np.dtype(dtype).itemsize
    assert re.search(rf"chainrule_tile_6x\dx{lanes}_{dtype}", result.stdout)
    # x86's names of registers tell their width. LLVM may still move numbers in wider ones, not count with them.
    wider = {16: "[yz]mm", 32: "zmm", 64: "none"}[vector_bytes]
    assert not re.search(rf"v(fn?m(add|sub)|add|sub|mul|div|sqrt|max|min)\S*p[sd]\s.*%{wider}", result.stdout)


# what the code is made of


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_called_but_the_texts_own_and_instructions(dtype):
    text = str(optimized_module(TEXT, dtype))
    called = set(re.findall(r'(?:call|invoke)[^\n]*@"?([\w.]+)', text))
    defined = set(re.findall(r'^define [^\n]*?@"?([\w.]+)', text, re.M))
    outside = {name for name in called - defined if not name.startswith("llvm.")}
    assert outside <= C_FUNCTIONS | MATH_FUNCTIONS
    assert {name for name in defined if not name.startswith(("chainrule_", "gather", "product", "walk"))} == {"epoch"}


def test_only_epoch_is_seen_from_outside():
    module = optimized_module(TEXT, "float32", entry="one_name")
    seen = [f.name for f in module.functions if not f.is_declaration and f.linkage == llvm.Linkage.external]
    assert seen == ["one_name"]


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def epoch(:", "could not be built"),
        ("def f():\n    pass", "no function 'epoch'"),
        ("def epoch(thread, threads, address, number, scalar, control):\n    return unknown(1)", "could not be built"),
        ("def epoch(a):\n    return 0", "could not be built"),
        ("raise ValueError('at import')", "line 1: a module has functions only"),
        ("import os\n", "line 1: a module has functions only"),
        ("null\0byte", "could not be built"),
        (
            "def epoch(thread, threads, address, number, scalar, control):\n    stack(threads)\n    return 0",
            "could not be built",
        ),
    ],
)
def test_a_text_that_cannot_be_compiled(text, message):
    with pytest.raises(CompileError, match=message):
        compile_source(text, "float32")


def test_an_error_says_where_the_text_is(cache):
    with pytest.raises(CompileError) as error:
        compile_source("x = 1", "float32")
    (path,) = cache.glob("*.py")
    assert str(path) in str(error.value) and path.read_text() == "x = 1"
    # And it is no answer to keep: the next try fails as well.
    with pytest.raises(CompileError):
        compile_source("x = 1", "float32")
    assert not list(cache.glob("*.object"))


def test_another_dtype():
    with pytest.raises(CompileError, match="float16"):
        compile_source(TEXT, "float16")


def test_symbols_that_nobody_has_are_found_before_they_end_the_process():
    module = llvm.parse_assembly("declare void @PyErr_Print()\ndeclare float @powf(float, float)")
    with pytest.raises(CompileError, match="PyErr_Print"):
        compiling._check_symbols(module, "somewhere")


def test_messages_in_both_languages():
    tables = [
        tomllib.loads(resources.files("chainrule.messages").joinpath(language, "kernels.toml").read_text("utf-8"))
        for language in ("en", "ko")
    ]
    assert tables[0].keys() == tables[1].keys()
    for key in tables[0]:
        assert set(re.findall(r"{\w+", tables[0][key])) == set(re.findall(r"{\w+", tables[1][key])), key


# the cache


PATHS = os.pathsep.join([str(Path(compiling.__file__).parents[2]), str(Path(__file__).parents[2])])


def python(code, **environment):
    """What another process did with the code, which may import from the tests."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": PATHS, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_later_process_loads_it_and_builds_nothing():
    compile_source(TEXT, "float32")
    code = """
import numpy as np
from chainrule.kernels import compile as compiling
from tests.kernels.test_compile import TEXT, run
del compiling._build
compiled = compiling.compile_source(TEXT, "float32")
assert compiled.from_cache and compiled.path.read_text() == TEXT
out, exact = run(compiled.entry, "float32")
np.testing.assert_allclose(out, exact, rtol=2e-6)
"""
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


@pytest.fixture
def read_only(cache, monkeypatch):
    """The folder of the cache as one that may be read only; whoever is root must be told."""

    def protect():
        def refuse(*arguments, **options):
            raise PermissionError(13, "Permission denied")

        cache.chmod(0o555)
        monkeypatch.setattr(tempfile, "mkstemp", refuse)

    cache.mkdir(parents=True)
    yield protect
    cache.chmod(0o755)


def test_a_folder_that_may_only_be_read(read_only, cache):
    read_only()
    compiled = compile_source(TEXT, "float32")
    assert compiled.path is None and not compiled.from_cache
    out, exact = run(compiled.entry, "float32")
    np.testing.assert_allclose(out, exact, rtol=2e-6)
    assert list(cache.iterdir()) == []


def test_what_lies_in_a_folder_that_may_only_be_read_is_used(read_only, cache, monkeypatch):
    compile_source(TEXT, "float32")
    forget(monkeypatch)
    read_only()
    compiled = compile_source(TEXT, "float32")
    assert compiled.from_cache and compiled.path.read_text() == TEXT


def test_a_disk_that_is_full(monkeypatch, cache):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    compiled = compile_source(TEXT, "float32")
    assert compiled.path is None
    assert list(cache.iterdir()) == []


def test_several_processes_at_once(cache, tmp_path):
    """They begin to compile at the same moment; each has a right result, and what is left is whole."""
    code = """
import json, sys, time
from pathlib import Path
import numpy as np
from tests.kernels.test_compile import TEXT, compile_source, run
go, name = Path(sys.argv[1]), sys.argv[2]
go.with_name(name).touch()
while not go.exists():
    time.sleep(0.001)
compiled = compile_source(TEXT, "float32")
out, exact = run(compiled.entry, "float32")
np.testing.assert_allclose(out, exact, rtol=2e-6)
print(json.dumps([compiled.from_cache, str(compiled.path), out.tolist()]))
"""
    go, names = tmp_path / "go", [f"ready{k}" for k in range(4)]
    environment = {**os.environ, "PYTHONPATH": PATHS}
    running = [
        subprocess.Popen([sys.executable, "-c", code, go, name], env=environment, stdout=subprocess.PIPE)
        for name in names
    ]
    while not all((tmp_path / name).exists() for name in names) and all(p.poll() is None for p in running):
        time.sleep(0.001)
    go.touch()
    answers = [json.loads(process.communicate()[0] or "null") for process in running]
    assert all(answers)
    assert all(answer[1:] == answers[0][1:] for answer in answers)
    assert sorted(p.suffix for p in cache.iterdir()) == [".object", ".py"]
    assert compile_source(TEXT, "float32").from_cache


def test_the_key_knows_what_the_code_depends_on(monkeypatch):
    keys = {cache_key(TEXT, "float32"), cache_key(TEXT, "float64"), cache_key(TEXT + "\n", "float32")}
    machine = host()
    for change in ({"cpu": "another"}, {"features": machine.features + ",+another"}):
        with monkeypatch.context() as patch:
            patch.setattr(compiling, "host", lambda change=change: dataclasses.replace(machine, **change))
            keys.add(cache_key(TEXT, "float32"))
    with monkeypatch.context() as patch:
        patch.setenv("CHAINRULE_VECTOR_BYTES", "16")
        keys.add(cache_key(TEXT, "float32"))
    with monkeypatch.context() as patch:
        patch.setattr(compiling.llvmlite, "__version__", "0.0")
        keys.add(cache_key(TEXT, "float32"))
    assert len(keys) == 7 - (machine.vector_bytes == 16)


@pytest.mark.parametrize("name", compiling.SOURCES)
def test_the_key_knows_the_sources(name, monkeypatch, tmp_path):
    before = cache_key(TEXT, "float32")
    for source in compiling.SOURCES:
        shutil.copy(Path(compiling.__file__).parent / source, tmp_path / source)
    monkeypatch.setattr(compiling, "__file__", str(tmp_path / "compile.py"))
    assert cache_key(TEXT, "float32") == before
    (tmp_path / name).write_text((tmp_path / name).read_text("utf-8") + "# changed\n", "utf-8")
    assert cache_key(TEXT, "float32") != before


def test_the_code_of_another_machine_is_not_loaded(monkeypatch):
    """A home folder on several machines: each finds its own code, and leaves the other's."""
    first = compile_source(TEXT, "float32")
    forget(monkeypatch)
    machine = host()
    monkeypatch.setattr(compiling, "host", lambda: dataclasses.replace(machine, features=machine.features + ",+rtm"))
    second = compile_source(TEXT, "float32")
    assert not second.from_cache and second.path != first.path
    monkeypatch.undo()
    assert first.path.with_suffix(".object").exists()


def test_every_source_of_code_is_in_the_key():
    """A file of this chapter that compile.py or its helpers import for building must be hashed."""
    folder = Path(compiling.__file__).parent
    hashed = set(compiling.SOURCES)
    for name in hashed:
        tree = ast.parse((folder / name).read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("chainrule.kernels."):
                assert f"{node.module.rsplit('.', 1)[1]}.py" in hashed


def test_the_names_that_the_generator_counts_on():
    names = set(make_builtins("float32", tile_shape("float32")))
    memory = "F_at uint8_at int32_at int64_at float32_at float64_at at stack stack_int64"
    numbers = "F float64 int64 select least"
    vectors = "vector put spread lanes_from first_lanes sum_lanes max_lanes min_lanes"
    products = "tile walk_list walk_both put_pair put_both pair_place"
    words = "barrier load store offer take clock prefetch flush_tiny restore"
    assert set(f"{memory} {numbers} {vectors} {products} {words}".split()) | set(scalars.FUNCTIONS) <= names


def test_every_name_is_in_the_table_of_names():
    names = set(make_builtins("float32", tile_shape("float32"))) - set(scalars.FUNCTIONS)
    written = set(re.findall(r"\w+", builtins.__doc__))
    assert {name for name in names - written if not name.endswith("_at")} == set()


def test_the_fast_math_set():
    assert set(translate.FAST_MATH) == {"contract", "reassoc", "nsz", "arcp", "afn"}


def test_the_machine_s_mode_is_set_on_arm_too(monkeypatch):
    """Cross-compiled: the code is read, not run."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    monkeypatch.setattr(builtins, "_ON_X86", False)
    monkeypatch.setattr(builtins, "_FLUSH_BIT", 24)
    text = "def epoch(thread, threads, address, number, scalar, control):\n    mode = flush_tiny()\n"
    text += "    F_at(address[0])[0] = F(scalar[0] * scalar[1])\n    restore(mode)\n    return 0\n"
    made = make_builtins("float32", TileShape(6, 4, 4))
    module = translate.translate(text, ir.FloatType(), 4, made, {}, "epoch", "<text>")
    module.triple = "aarch64-unknown-linux-gnu"
    machine = llvm.Target.from_triple(module.triple).create_target_machine(opt=3)
    code = machine.emit_assembly(llvm.parse_assembly(str(module)))
    assert len(re.findall(r"mrs\s+x\d+, FPCR", code)) == 1
    assert len(re.findall(r"msr\s+FPCR, x\d+", code)) == 2
    assert re.search(r"orr\s+x\d+, x\d+, #0x1000000\b", code)
