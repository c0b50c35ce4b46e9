"""Each scalar function against exact arithmetic, to the bound that its docstring states."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest
import scipy.special

from chainrule.errors import CompileError
from chainrule.kernels.builtins import NUMBERS, make_builtins
from chainrule.kernels.compile import compile_source, optimized_module
from chainrule.kernels.host import TileShape, tile_shape
from chainrule.kernels.scalars import FUNCTIONS
from chainrule.kernels.translate import translate

# LLVM's tuning for this one prefers 256 bits, as kernels/host.py does not.
FEATURES = {"skylake-avx512": "-prefer-256-bit"}
X86_COUNTS = r"v(?:fn?m|mul|add|sub|div)\w*p[sd]\b"

UNARY = [name for name, build in FUNCTIONS.items() if build.__code__.co_argcount == 1]
BINARY = [name for name in FUNCTIONS if name not in UNARY]
# sin, cos and power are the C library's: called one by one.
FORMS = ["one by one", "loop", "vectors"]
VECTORIZED = [name for name in FUNCTIONS if name not in ("sin", "cos", "power")]

# In float64, for float32's results: some 30 bits more than they have.
DOUBLE = {
    "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1, "sqrt": np.sqrt, "abs": np.abs,
    "sign": np.sign, "step": lambda x: np.heaviside(x, 0), "tanh": np.tanh, "sin": np.sin, "cos": np.cos,
    "sigmoid": lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "relu": lambda x: np.maximum(x, 0), "erf": scipy.special.erf, "floor": np.floor,
}  # fmt: skip

# In 40 digits, for float64's.
EXACT = {
    "exp": mpmath.exp, "log": mpmath.log, "log1p": lambda x: mpmath.log(1 + x), "expm1": mpmath.expm1,
    "sqrt": mpmath.sqrt, "abs": abs, "sign": mpmath.sign, "step": lambda x: mpmath.mpf(x > 0), "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "relu": lambda x: max(x, mpmath.mpf(0)), "erf": mpmath.erf, "sin": mpmath.sin, "cos": mpmath.cos,
    "floor": mpmath.floor,
}  # fmt: skip

# At 0, ∞, -∞, 10⁴, -10⁴ ("step" and the like are tested by their definitions).
EDGES = {
    "exp": (1, np.inf, 0, np.inf, 0),
    "log": (-np.inf, np.inf, np.nan, np.log(1e4), np.nan),
    "log1p": (0, np.inf, np.nan, np.log1p(1e4), np.nan),
    "expm1": (0, np.inf, -1, np.inf, -1),
    "sqrt": (0, np.inf, np.nan, 100, np.nan),
    "abs": (0, np.inf, np.inf, 1e4, 1e4),
    "sign": (0, 1, -1, 1, -1),
    "step": (0, 1, 0, 1, 0),
    "tanh": (0, 1, -1, 1, -1),
    "sigmoid": (0.5, 1, 0, 1, 0),
    "softplus": (np.log(2), np.inf, 0, 1e4, 0),
    "relu": (0, np.inf, 0, 1e4, 0),
    "erf": (0, 1, -1, 1, -1),
    "floor": (0, np.inf, -np.inf, 1e4, -1e4),
}


def loops(names, arguments, form="loop"):
    """A module with one loop for each function, chosen by number[1].

    "loop" is what LLVM makes vectors of by itself; "one by one" it cannot, for the word stored in every turn.
    """
    text = ""
    for name in names:
        text += f"def do_{name}({', '.join(arguments)}, out, n, control):\n"
        if form == "vectors":
            call = ", ".join(f"vector({a}, i)" for a in arguments)
            text += f"    for i in range(0, n, LANES):\n        put(out, i, {name}({call}))\n"
        else:
            call = ", ".join(f"{a}[i]" for a in arguments)
            text += f"    for i in range(n):\n        out[i] = {name}({call})\n"
        if form == "one by one":
            text += "        store(control, PROGRESS, i)\n"
        text += "\n"
    text += "def epoch(thread, threads, address, number, scalar, control):\n"
    pointers = ", ".join(f"F_at(address[{k}])" for k in range(len(arguments) + 1))
    for place, name in enumerate(names):
        text += f"    if number[1] == {place}:\n        do_{name}({pointers}, number[0], control)\n"
    return text + "    return 0\n"


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def apply(name, *arrays):
    """The compiled function over arrays: of numbers and of vectors, which must agree in every bit."""
    one, loop, vectors = (apply_form(form, name, *arrays) for form in FORMS)
    for got in (loop, vectors):
        assert np.array_equal(got, one, equal_nan=True), name
    return vectors


def apply_form(form, name, *arrays):
    lanes = tile_shape(str(arrays[0].dtype)).lanes
    count = arrays[0].size
    arrays = tuple(np.pad(a, (0, -count % lanes), constant_values=1) for a in arrays)
    names, arguments = (UNARY, "x") if len(arrays) == 1 else (BINARY, "xy")
    entry = compile_source(loops(names, arguments, form), str(arrays[0].dtype)).entry
    out = np.empty_like(arrays[0])
    address = np.array([a.ctypes.data for a in (*arrays, out)], dtype=np.int64)
    number = np.array([out.size, names.index(name)], dtype=np.int64)
    words = np.zeros(64)
    entry(0, 1, address.ctypes.data, number.ctypes.data, words.ctypes.data, words.ctypes.data)
    return out[:count]


def bound(name):
    """The error that the function's docstring allows, in ulp."""
    found = re.search(r"[Ww]ithin ([\d.]+) ulp", FUNCTIONS[name].__doc__)
    return float(found[1]) if found else 0.0


def inside(name, x):
    """The numbers of x in the function's domain, and where float64's references can follow."""
    lowest = {"log": 0, "log1p": -1, "sqrt": 0}.get(name, -np.inf)
    widest = {"sin": 1e4, "cos": 1e4}.get(name, np.inf)
    if x.dtype == np.float64:
        widest = {"exp": 709, "expm1": 709, "softplus": 800, "sigmoid": 700}.get(name, widest)
    return x[(x >= lowest) & (np.abs(x) <= widest)]


def ulps(result, exact, dtype):
    """Errors in units of the last place of `exact`, below the normal numbers in units of the smallest normal's."""
    limits = np.finfo(dtype)
    size = np.maximum(np.abs(exact), limits.tiny)
    return np.abs(result - exact) / (2.0 ** np.floor(np.log2(size)) * limits.eps)


@pytest.mark.parametrize("name", UNARY)
def test_float32_over_its_whole_range(name):
    # Every 9,973rd of all bit patterns: 430,000 numbers of all signs and sizes, denormals too; and the middle again.
    check_float32(name, np.arange(0, 2**32, 9973, dtype=np.uint64))
    middle = np.random.default_rng(0).uniform(-20, 20, 200_000).astype(np.float32)
    check_float32(name, middle.view(np.uint32))


@pytest.mark.soak
@pytest.mark.parametrize("name", UNARY)
def test_float32_in_small_steps(name):
    """Every 97th bit pattern: the 44 million numbers that the docstrings' bounds were measured at."""
    for start in range(0, 2**32, 2**29):
        check_float32(name, np.arange(start, start + 2**29, 97, dtype=np.uint64))


def check_float32(name, patterns):
    """The function at the numbers of these bits, and where it is not finite."""
    x = patterns.astype(np.uint32).view(np.float32)
    x = inside(name, x[np.isfinite(x)])
    with np.errstate(all="ignore"):
        exact = DOUBLE[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
        result = apply(name, x)
        finite = np.isfinite(rounded)
        assert np.array_equal(result[~finite], rounded[~finite])
        assert ulps(result[finite].astype(np.float64), exact[finite], np.float32).max(initial=0) <= bound(name)


@pytest.mark.parametrize("name", UNARY)
def test_float64_over_its_whole_range(name):
    rng = np.random.default_rng(1)
    sizes = np.exp(rng.uniform(-700, 700, 400)) * rng.choice([-1, 1], 400)
    parts = [sizes, rng.uniform(-740, 705, 300), rng.uniform(-30, 30, 500), rng.standard_normal(500), [2.0**-1070]]
    x = inside(name, np.concatenate(parts))
    limits = np.finfo(np.float64)
    # 1 + e⁻³⁰⁰ has 300 zeros behind its point.
    digits = 700 if name in ("log1p", "softplus", "sigmoid") else 40
    with mpmath.workdps(digits):
        for one, got in zip(x.tolist(), apply(name, x).tolist(), strict=True):
            exact = EXACT[name](mpmath.mpf(one))
            size = max(abs(exact), mpmath.mpf(limits.tiny))
            unit = mpmath.mpf(2) ** mpmath.floor(mpmath.log(size, 2)) * mpmath.mpf(limits.eps)
            assert abs(got - exact) <= bound(name) * unit, (name, one, got)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EDGES)
def test_edges(name, dtype):
    x = np.array([0, np.inf, -np.inf, 1e4, -1e4], dtype)
    expected = np.array(EDGES[name], dtype)
    # Repeated, so that LLVM's vectors see it, and once more, for the rest of its loop.
    np.testing.assert_allclose(apply(name, np.tile(x, 20)), np.tile(expected, 20), rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(apply(name, x), expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_stays_nan(dtype):
    for count in (1, 100):
        nan, one = np.full(count, np.nan, dtype), np.ones(count, dtype)
        for name in UNARY:
            assert np.isnan(apply(name, nan)).all(), name
        for name in ("maximum", "minimum"):
            assert np.isnan(apply(name, nan, one)).all(), name
            assert np.isnan(apply(name, one, nan)).all(), name
        assert np.isnan(apply("power", nan, one)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pairs(dtype):
    rng = np.random.default_rng(2)
    x, y = (rng.standard_normal(101).astype(dtype) for _ in range(2))
    x[:4], y[:4] = [np.inf, -np.inf, 0, 1], [1, 1, 0, 1]
    assert np.array_equal(apply("maximum", x, y), np.maximum(x, y))
    assert np.array_equal(apply("minimum", x, y), np.minimum(x, y))
    base = np.abs(x[4:]) + np.finfo(dtype).tiny
    np.testing.assert_allclose(apply("power", base, y[4:]), base ** y[4:], rtol=4 * np.finfo(dtype).eps)
    assert np.array_equal(apply("power", np.array([-2, 0, 0], dtype), np.array([3, 0, 2], dtype)), [-8, 1, 0])


def test_overflow_and_underflow_of_exp():
    x = np.array([88.72, 88.73, -103.9, -104.1, -87.4], np.float32)
    result = apply("exp", x)
    assert np.isfinite(result[0]) and np.isinf(result[1])
    assert 0 < result[2] < np.finfo(np.float32).tiny and result[3] == 0
    assert result[4] == pytest.approx(np.exp(-87.4), rel=1e-5)


@pytest.mark.parametrize("form", ["loop", "vectors"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", VECTORIZED)
def test_vectors_are_of_the_dtype_itself(name, dtype, form):
    arguments = "x" if name in UNARY else "xy"
    text = str(optimized_module(loops([name], arguments, form), dtype))
    kind = "float" if dtype == "float32" else "double"
    assert f"<{tile_shape(dtype).lanes} x {kind}>" in text
    other = "double" if dtype == "float32" else "float"
    assert not re.search(rf"\b{other}\b(?! @llvm)", text.replace("ptr", ""))
    # No call but LLVM's own, which are instructions, and the module's.
    called = set(re.findall(r'call .*?@"?([\w.]+)"?\(', text))
    assert all(found.startswith(("llvm.", "do_")) for found in called), called


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("triple", "cpu", "vector_bytes", "packed", "register"),
    [
        ("x86_64-unknown-linux-gnu", "haswell", 32, X86_COUNTS, "%ymm"),
        ("x86_64-unknown-linux-gnu", "skylake-avx512", 64, X86_COUNTS, "%zmm"),
        ("aarch64-unknown-linux-gnu", "generic", 16, r"f(?:mla|mls|mul|add|sub|div)\b", r"v\d+\.(?:4s|2d)"),
    ],
)
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "erf"])
def test_code_for_other_machines(name, triple, cpu, vector_bytes, packed, register, dtype):
    """Cross-compiled: whole vectors, nothing called, nothing done number by number."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    shape = TileShape(6, 4, vector_bytes // np.dtype(dtype).itemsize)
    constants = {"LANES": shape.lanes}
    text = loops([name], "x", "vectors")
    made = translate(text, NUMBERS[dtype], shape.lanes, make_builtins(dtype, shape), constants, "epoch")
    module = llvm.parse_assembly(str(made))
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=FEATURES.get(cpu, ""), opt=3)
    module.triple, module.data_layout = triple, str(machine.target_data)
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    code = re.split(rf"\ndo_{name}[\w.]*:", machine.emit_assembly(module))[1]
    counting = [line for line in code.splitlines() if re.search(rf"^\s+{packed}", line)]
    assert len(counting) > 5
    assert all(re.search(register, line) for line in counting)
    one_by_one = r"v(?:fn?m|mul|add|sub|div)\w*s[sd]|f(?:madd|msub|mul|add|sub|div)\s+[sd]\d"
    assert not re.search(rf"^\s+(?:{one_by_one})", code, re.M)
    assert not re.search(r"^\s+(?:callq?|bl)\s", code, re.M)


def test_formats_do_not_mix():
    text = loops(["exp"], "x").replace("exp(x[i])", "maximum(x[i], 0.0)")
    with pytest.raises(CompileError):
        compile_source(text, "float32")


def test_select_takes_either_side():
    text = loops(["relu"], "x").replace("relu(x[i])", "select(x[i] > F(1), x[i] * F(2), F(-1))")
    entry = compile_source(text, "float32").entry
    x, out = np.linspace(-3, 3, 33, dtype=np.float32), np.zeros(33, np.float32)
    address, number = np.array([x.ctypes.data, out.ctypes.data]), np.array([33, 0])
    entry(0, 1, address.ctypes.data, number.ctypes.data, None, None)
    assert np.array_equal(out, np.where(x > 1, 2 * x, -1).astype(np.float32))
