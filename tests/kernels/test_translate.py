"""The language of generated text: what it means is what Python, with NumPy's numbers, does with the same text."""

from __future__ import annotations

import math
import re
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.errors import CompileError
from chainrule.kernels import threads
from chainrule.kernels.compile import compile_source, optimized_module
from chainrule.kernels.host import tile_shape

DTYPES = ["float32", "float64"]
HEAD = "def epoch(thread, threads, address, number, scalar, control):\n"


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


# Python's own execution


class Pointer:
    """What a pointer is to Python: an array, and the place in it that the pointer shows."""

    def __init__(self, array, start=0):
        self.array, self.start = array, start

    def __getitem__(self, index):
        value = self.array[self.start + index]
        return int(value) if isinstance(value, np.integer) else value

    def __setitem__(self, index, value):
        with np.errstate(over="ignore"):
            self.array[self.start + index] = np.asarray(value).astype(self.array.dtype)


def python_names(dtype, arrays):
    """What the text's names mean in Python; an "address" is the array itself."""
    number, lanes = np.dtype(dtype).type, tile_shape(dtype).lanes
    shape = tile_shape(dtype)
    names = {"LANES": lanes, "PANEL": shape.panel, "TILE_ROWS": shape.rows, "INFINITY": math.inf}
    names |= {name: getattr(threads, name) for name in threads.CONTROL_NAMES}

    def at(pointer, index):
        return Pointer(pointer.array, pointer.start + index)

    def put(pointer, index, value):
        pointer.array[pointer.start + index : pointer.start + index + lanes] = value

    def vector(pointer, index):
        return pointer.array[pointer.start + index : pointer.start + index + lanes].copy()

    def select(condition, yes, no):
        # A number beside a condition, a vector or a number of the dtype takes that one's shape and type.
        return np.where(condition, yes, no) if np.ndim(condition) or np.ndim(yes) else (yes if condition else no)

    names |= {
        "F": number, "float64": np.float64, "int64": int, "select": select, "least": min, "at": at,
        "vector": vector, "put": put, "spread": lambda x: np.full(lanes, x, dtype),
        "stack": lambda count: Pointer(np.zeros(count, dtype)),
        "stack_int64": lambda count: Pointer(np.zeros(count, np.int64)),
        "lanes_from": lambda i: (i + np.arange(lanes)).astype(dtype), "first_lanes": lambda n: np.arange(lanes) < n,
        "sum_lanes": lambda v: v.sum(dtype=dtype), "max_lanes": np.max, "min_lanes": np.min,
        "abs": np.abs, "floor": np.floor, "sqrt": np.sqrt, "maximum": np.maximum, "minimum": np.minimum,
        "relu": lambda x: np.maximum(x, number(0)), "step": lambda x: np.heaviside(x, number(0)), "sign": np.sign,
        "load": lambda control, place: int(control[place]),
        "store": lambda control, place, value: control.__setitem__(place, value),
    }  # fmt: skip
    for kind in ("F", "float32", "float64", "int64", "int32", "uint8"):
        names[f"{kind}_at"] = Pointer
    return names


def run_both(text, dtype, arrays, number=(7, 3), scalar=(0.5,)):
    """(result, arrays) of the compiled text, and of Python's execution of it."""
    compiled = [np.array(a) for a in arrays]
    plain = [np.array(a) for a in arrays]
    entry = compile_source(text, dtype).entry
    address = np.array([a.ctypes.data for a in compiled], dtype=np.int64)
    numbers, scalars = np.array([*number, 0]), np.array([*scalar, 0.0])
    control = np.zeros(threads.CONTROL_WORDS, dtype=np.int64)
    result = entry(0, 1, *(a.ctypes.data for a in (address, numbers, scalars, control)))
    names = python_names(dtype, plain)
    exec(text, names)
    control_words = [0] * threads.CONTROL_WORDS
    with np.errstate(all="ignore"):
        expected = names["epoch"](0, 1, plain, [*number, 0], np.array([*scalar, 0.0]), control_words)
    return (result, compiled), (0 if expected is None else int(expected), plain)


def agree(text, dtype, arrays, number=(7, 3), scalar=(0.5,)):
    (result, compiled), (expected, plain) = run_both(text, dtype, arrays, number, scalar)
    assert result == expected
    for place, (got, wanted) in enumerate(zip(compiled, plain, strict=True)):
        np.testing.assert_array_equal(got, wanted, err_msg=f"array {place} of\n{text}")


def body(*lines):
    """An epoch with x, y (of the dtype) and n, m (whole numbers), around the lines."""
    begin = [
        "x = F_at(address[0])",
        "y = F_at(address[1])",
        "k = int64_at(address[2])",
        "n = number[0]",
        "m = number[1]",
    ]
    inside = textwrap.indent(textwrap.dedent("\n".join(lines)).strip("\n"), "    ")
    return HEAD + textwrap.indent("\n".join(begin), "    ") + "\n" + inside + "\n    return 0\n"


def arrays_of(dtype, seed=0, size=64):
    """x and y of small whole numbers and halves, so that every sum is exact, in whatever order; k of whole numbers."""
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(-16, 17, size).astype(dtype) / 2 for _ in range(2))
    return [x, y, rng.integers(0, 100, size)]


# Each a text for `body`, run with n = 7 and m = 3.
STATEMENTS = {
    "store": "y[3] = x[4]",
    "store a whole number": "y[3] = n",
    "add in memory": "y[n] += x[m]\ny[n] -= x[0]\ny[n] *= x[1]\ny[n] /= F(4)",
    "add to whole numbers in memory": "k[1] += n\nk[1] -= 2\nk[1] *= k[2]\nk[1] //= m\nk[3] %= 7",
    "names": "a = x[0]\na += x[1]\na *= a\na -= F(3)\na /= F(2)\ny[0] = a",
    "names of whole numbers": "a = n\na += m\na *= 5\na -= 1\nk[0] = a\na //= 4\nk[1] = a\na %= 3\nk[2] = a",
    "names of conditions": "c = x[0] > x[1]\nif c:\n    y[0] = F(1)\nc = not c\nif c:\n    y[0] = F(2)",
    "pointers with names": "p = at(x, n)\nq = at(p, m)\ny[0] = q[0] + p[1]\nq[2] = F(5)",
    "pass": "pass",
    "text": "'a note'\ny[0] = F(2)",
    "range of one": "for i in range(n):\n    y[i] = x[i]",
    "range of two": "for i in range(m, n):\n    y[i] = x[i]",
    "range of three": "for i in range(m, 60, n):\n    y[i] = x[i]",
    "range of nothing": "for i in range(n, m):\n    y[i] = F(9)\nfor i in range(0):\n    y[i] = F(9)",
    "below 0": "for i in range(-3, 3):\n    y[i + 3] = i",
    "loop in loop": "for i in range(n):\n    for j in range(i, n):\n        y[i] += x[j] * x[i]",
    "the counter may be changed": "for i in range(n):\n    i += 2\n    y[i] = x[i]",
    "the counter stays": "for i in range(n):\n    pass\nk[0] = i",
    "the end of a range is computed once": "e = n\nfor i in range(e):\n    e += 1\n    y[i] = x[i]\nk[0] = e",
    "while": "i = 0\nwhile i < n:\n    y[i] = x[i]\n    i += 2",
    "while nothing": "while n < 0:\n    y[0] = F(9)",
    "while in while": "i = 0\nwhile i < n:\n    j = 0\n    while j < i:\n        y[i] += x[j]\n        j += 1\n    "
    "i += 1",
    "return from a while": "while n > 0:\n    y[0] = x[0]\n    if n > 1:\n        return 5\n    return 6",
    "a name across turns": "a = F(0)\nfor i in range(n):\n    a = a / F(2) + x[i]\ny[0] = a",
    "if": "for i in range(n):\n    if x[i] > F(0):\n        y[i] = F(1)",
    "else": "for i in range(n):\n    if x[i] > F(0):\n        y[i] = F(1)\n    else:\n        y[i] = F(2)",
    "elif": """
        for i in range(n):
            if x[i] > F(2):
                y[i] = F(1)
            elif x[i] < F(-2):
                y[i] = F(2)
            else:
                y[i] = F(3)
        """,
    "a name from either branch": "if n > m:\n    a = x[0]\nelse:\n    a = x[1]\ny[0] = a",
    "return early": "for i in range(n):\n    y[i] = x[i]\n    if i == m:\n        return i + 1",
    "return from both": "if n > m:\n    y[0] = F(1)\n    return 5\nelse:\n    y[0] = F(2)\n    return 6",
    "room on the stack": """
        a = stack(2 * LANES)
        for i in range(2 * LANES):
            a[i] = x[i] + F(1)
        b = stack_int64(4)
        b[3] = n * m
        put(y, 0, vector(a, LANES))
        k[0] = b[3]
        """,
    "room on the stack is taken once": """
        for i in range(100000):
            a = stack(PANEL)
            a[0] = i
            y[0] = a[0]
        """,
    "words": "store(control, PROGRESS, n + 1)\nk[0] = load(control, PROGRESS)\nk[1] = load(control, STOP)",
    "constants": "k[0] = PANEL\nk[1] = TILE_ROWS\nk[2] = LANES\nk[3] = STOP\nif x[0] < F(INFINITY):\n    k[4] = 1",
}

VALUES = {
    "plus": ("x[0] + x[1]", float),
    "minus": ("x[0] - x[1]", float),
    "times": ("x[0] * x[1]", float),
    "divided": ("x[0] / F(8)", float),
    "negative": ("-x[0]", float),
    "number and whole number": ("x[0] * n + 2 - m * x[1]", float),
    "negative whole numbers": ("-n + -3 * m - -4", int),
    "whole numbers": ("n * m + n // m - n % m", int),
    "powers of 2": ("(n * 64 + m) // 64 % 4", int),
    "less": ("x[0] < x[1]", bool),
    "less or equal": ("x[0] <= x[0]", bool),
    "more": ("n > m", bool),
    "more or equal": ("m >= n", bool),
    "equal": ("n == m + 4", bool),
    "not equal": ("x[0] != x[1]", bool),
    "number beside whole number": ("x[0] < n", bool),
    "below zero": ("-n < m", bool),
    "not": ("not n > m", bool),
    "and": ("n > m and x[0] > x[1] and m > 0", bool),
    "or": ("n < m or x[0] > x[1] or m < 0", bool),
    "and, or, not": ("not (n < m or x[0] > x[1]) and m > 2", bool),
    "true": ("True", bool),
    "false": ("n > m and False", bool),
    "equal conditions": ("(n > m) == (x[0] > x[0])", bool),
    "select": ("select(x[0] > x[1], x[2], x[3])", float),
    "select with whole numbers": ("select(n > m, n, m)", int),
    "select of mixed": ("select(n > m, x[0], 0)", float),
    "least": ("least(n, m) + least(-n, 0)", int),
    "casts": ("F(n) / F(2)", float),
    "cast of a condition": ("F(n > m)", float),
    "cast to a whole number": ("int64(x[0] * F(4)) + int64(F(-2.5)) + int64(n > m)", int),
    "casts of float64": ("F(float64(x[0]) * 0.5)", float),
    "functions": ("maximum(abs(x[0]), x[1]) + floor(x[2]) + sqrt(F(16))", float),
    "functions of a number and a whole number": ("maximum(x[0], 0)", float),
    "scalar": ("F(scalar[0])", float),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lines", STATEMENTS.values(), ids=STATEMENTS)
def test_statements(lines, dtype):
    for seed in range(2):
        agree(body(textwrap.dedent(lines)), dtype, arrays_of(dtype, seed), (7, 3), (0.5,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("value", "kind"), VALUES.values(), ids=VALUES)
def test_values(value, kind, dtype):
    store = {float: f"y[0] = {value}", int: f"k[0] = {value}", bool: f"if {value}:\n    k[0] = 1000"}[kind]
    for seed in range(3):
        agree(body(store), dtype, arrays_of(dtype, seed), (7, 3), (0.5,))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "value",
    [
        "v + w",
        "v * 2 - w / F(4)",
        "1 - v",
        "-v",
        "v * x[0] + n",
        "spread(x[1]) - v",
        "spread(3)",
        "lanes_from(n) * v",
        "select(v > w, v, w)",
        "select(v > 0, v * 2, 0)",
        "select(v > 0, 1, 2)",
        "select(v > 0, x[3], n)",
        "select(first_lanes(3), v, w)",
        "select(v != w, 1 * v, 0)",
        "select(n > m, v, w)",
        "select(v <= w, x[3], x[4]) + 0 * v",
        "maximum(v, w) + minimum(v, x[2]) + abs(v)",
        "maximum(0, v) + relu(w) + step(v) + sign(w)",
        "floor(v * F(0.5))",
    ],
)
def test_vectors(value, dtype):
    text = body("v = vector(x, n)", "w = vector(y, m)", f"put(y, 1, {value})")
    for seed in range(2):
        agree(text, dtype, arrays_of(dtype, seed), (7, 3))


@pytest.mark.parametrize(
    ("condition", "plain"),
    [
        ("v > F(1) and w > F(0)", lambda v, w, n, m: (v > 1) & (w > 0)),
        ("v > F(1) or not w > F(0)", lambda v, w, n, m: (v > 1) | ~(w > 0)),
        ("n > m and v > 0", lambda v, w, n, m: (n > m) & (v > 0)),
        ("v > 0 or n > m", lambda v, w, n, m: (v > 0) | (n > m)),
        ("first_lanes(m) and (v > 0 or w > 0) and not v == w",
         lambda v, w, n, m: (np.arange(v.size) < m) & ((v > 0) | (w > 0)) & (v != w)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", DTYPES)
def test_conditions_of_vectors(dtype, condition, plain):
    """Lane by lane, which Python's own and, or, not cannot do."""
    text = body("v = vector(x, 0)", "w = vector(y, 0)", f"put(y, LANES, select({condition}, v, -1))")
    lanes = tile_shape(dtype).lanes
    for n, m in ((7, 3), (2, 3)):
        x, y, k = arrays_of(dtype, n)
        (_, (_, got, _)), _ = run_compiled(text, dtype, [x, y, k], (n, m))
        wanted = np.where(plain(x[:lanes], y[:lanes], n, m), x[:lanes], -1)
        assert np.array_equal(got[lanes : 2 * lanes], wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_in_names_and_across_lanes(dtype):
    text = body(
        """
        total = spread(0)
        for i in range(0, 48, LANES):
            total += vector(x, i) * vector(y, i)
            total = maximum(total, -100)
        put(y, 48, total)
        y[0] = sum_lanes(total)
        y[1] = max_lanes(total)
        y[2] = min_lanes(total)
        """
    )
    agree(text, dtype, arrays_of(dtype))


@pytest.mark.parametrize("count", [-1, 0, 1, 3, 10**10])
def test_the_first_lanes(count):
    text = body("put(y, 0, select(first_lanes(n), 1, 0))")
    agree(text, "float32", arrays_of("float32"), (count, 0))


def test_a_sum_across_lanes_has_one_order():
    """Halves, quarters, …: the sum of the reversed vector has other partners, and so it may have other bits."""
    text = body("put(y, 0, spread(sum_lanes(vector(x, 0))))")
    x, y, k = arrays_of("float32")
    rng = np.random.default_rng(0)
    lanes = tile_shape("float32").lanes
    for _ in range(20):
        x[:lanes] = rng.standard_normal(lanes)
        (_, (_, got, _)), _ = run_both(text, "float32", [x, y, k])
        parts = x[:lanes].copy()
        while parts.size > 1:
            parts = parts[: parts.size // 2] + parts[parts.size // 2 :]
        assert got[0] == parts[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_across_lanes(dtype):
    text = body("y[0] = max_lanes(vector(x, 0))\ny[1] = min_lanes(vector(x, 0))")
    lanes = tile_shape(dtype).lanes
    for place in range(lanes):
        x, y, k = arrays_of(dtype)
        x[place] = np.nan
        (_, (_, got, _)), _ = run_both(text, dtype, [x, y, k])
        assert np.isnan(got[:2]).all()


# whole numbers in memory


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
def test_whole_numbers_of_every_width(kind):
    """In 8 bits, 200 + 100 would be 44, and 200 less than 100."""
    text = f"""{HEAD}
    u = {kind}_at(address[0])
    k = int64_at(address[1])
    y = F_at(address[2])
    k[0] = u[0] + u[1]
    if u[0] > u[1]:
        k[1] = 1
    k[2] = -u[0]
    a = u[0]
    a += 1000
    k[3] = a
    y[0] = F(u[0]) * F(0.5)
    y[1] = u[1]
    y[2] = y[3] * u[0]
    u[2] = u[0] + u[1]
    u[3] += 90
    k[4] = k[u[4]]
    return u[0]
"""
    u = np.array([200, 100, 0, 200, 3], dtype=kind)
    agree(text, "float32", [u, np.arange(8), np.arange(8.0, dtype=np.float32)])


def test_float32_in_a_step_of_float64():
    lines = ["x = float32_at(address[0])", "y = F_at(address[1])", "y[0] = F(x[0])", "x[1] = x[0]", "return 0"]
    text = HEAD + textwrap.indent("\n".join(lines), "    ")
    agree(text, "float64", [np.array([0.1, 0], np.float32), np.zeros(1)])


def test_constants_are_rounded_to_the_dtype():
    text = body("y[0] = F(0.1)\ny[1] = F(1e-45)\ny[2] = F(16777217)\ny[3] = F(-1e30) * F(1e30)")
    (_, (_, got, _)), (_, (_, wanted, _)) = run_both(text, "float32", arrays_of("float32"))
    assert np.array_equal(got, wanted)


# functions

FUNCTIONS = """
def scale(x, factor, n):
    for i in range(n):
        x[i] = x[i] * factor

def sum_of(x, n):
    total = F(0)
    for i in range(n):
        total += x[i]
    return int64(total)

def first_over(x, limit, n):
    for i in range(n):
        if x[i] > limit:
            return i
    return -1

def nothing(n):
    if n > 3:
        return
    n_is_small(n)

def n_is_small(n):
    pass

def factorial(n):
    if n < 2:
        return 1
    return n * factorial(n - 1)

"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_call_functions(dtype):
    text = FUNCTIONS + body(
        """
        scale(x, 2, n)
        scale(at(x, n), F(0.5), m)
        scale(k, m, n)
        k[20] = sum_of(x, n) * 2
        k[21] = sum_of(k, n)
        k[22] = first_over(x, F(3), n) + first_over(k, 1000000, n)
        k[23] = factorial(n) + factorial(m)
        nothing(n)
        nothing(m)
        """
    )
    agree(text, dtype, arrays_of(dtype), (7, 3))


def test_a_function_is_translated_once_for_each_kind_of_arguments():
    calls = "scale(x, 2, n)\nscale(x, 3, n)\nscale(x, F(2), n)\nscale(k, 2, n)"
    text = str(optimized_module(FUNCTIONS + body(calls), "float32"))
    # Named by the text's function, so that a profiler shows it.
    assert len(set(re.findall(r'define internal .*@"?(scale\.\d+)', text))) == 3


def test_a_function_that_returns_a_number_returns_one_at_its_end():
    """Python returns None, which no kernel has: 0 stands for it."""
    text = "def f(n):\n    if n > 3:\n        return 7\n\n" + body("k[0] = f(n)\nk[1] = f(m)")
    (_, (_, _, k)), _ = run_compiled(text, "float32", arrays_of("float32"), (7, 3))
    assert k[0] == 7 and k[1] == 0


def run_compiled(text, dtype, arrays, number=()):
    arrays = [np.array(a) for a in arrays]
    address, numbers = np.array([a.ctypes.data for a in arrays], dtype=np.int64), np.array([*number, 0])
    entry = compile_source(text, dtype).entry
    return (entry(0, 1, address.ctypes.data, numbers.ctypes.data, None, None), arrays), entry


def test_the_end_of_epoch_is_0():
    text = HEAD + "    if number[0] > 3:\n        return 7\n"
    assert run_compiled(text, "float32", [], (5,))[0][0] == 7
    assert run_compiled(text, "float32", [], (1,))[0][0] == 0


def test_the_clock_moves():
    text = body("a = clock()\nfor i in range(1000):\n    y[0] = y[0] / F(3) + x[0]\nk[0] = clock() - a")
    (_, (_, _, k)), _ = run_compiled(text, "float32", arrays_of("float32"))
    assert 0 < k[0] < 10**9


def test_memory_beyond_a_vector_is_not_touched():
    lanes = tile_shape("float32").lanes
    memory = np.full(2 * lanes + 2, 7, np.float32)
    text = HEAD + "    x = F_at(address[0])\n    put(x, 1, vector(x, LANES + 1) * 0)\n    return 0\n"
    run = run_compiled(text, "float32", [memory])[0][1][0]
    assert np.array_equal(run, [7, *[0] * lanes, *[7] * (lanes + 1)])


# any text

# Whole numbers stay below 2⁴⁰ and halves of small ones exact: the same bits in any order of operations.
NAMES = ["a", "b", "c"]
leaf = st.sampled_from(["n", "m", "a", "b", "c", "i", "j", "0", "1", "2", "7"])


def combined(children):
    return st.builds("({} {} {})".format, children, st.sampled_from(["+", "-", "*"]), children)


whole = st.recursive(leaf, combined, max_leaves=5)
# // and % of what is surely not negative.
safe = st.builds("((({0}) * ({0})) {1} {2})".format, leaf, st.sampled_from(["//", "%"]), st.sampled_from("123457"))
value = st.one_of(whole, safe, st.builds("least({}, {})".format, whole, whole), st.builds("k[{} % 16]".format, safe))
relation = st.builds("{} {} {}".format, value, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), value)
condition = st.recursive(
    relation,
    lambda c: st.one_of(
        st.builds("({} and {})".format, c, c), st.builds("({} or {})".format, c, c), st.builds("(not {})".format, c)
    ),
    max_leaves=4,
)
# Kept small, so that products of products stay far from 2⁶³, where Python goes on and a machine does not.
assignment = st.one_of(
    st.builds("{0} = {1}\n{0} = {0} * {0} % 1009 - 500".format, st.sampled_from(NAMES), value),
    st.builds("{} += {}".format, st.sampled_from(NAMES), st.sampled_from(["1", "n", "3"])),
    st.builds("k[{} % 16] = {} % 97".format, safe, safe),
    st.builds("y[{} % 16] = x[{} % 16] + y[{} % 16]".format, safe, safe, safe),
    st.builds("y[{} % 16] = select({}, x[{} % 16], y[0])".format, safe, condition, safe),
)


def nested(blocks):
    def inside(head, *parts):
        return head + ":\n" + textwrap.indent("\n".join(parts), "    ")

    ends = st.sampled_from(["0", "1", "2", "3", "n", "i"])
    loops = st.builds("for {} in range({}, {}, {})".format, st.sampled_from("ij"), ends, ends, st.sampled_from("12"))
    return st.one_of(
        st.builds(inside, loops, blocks, blocks),
        st.builds(lambda c, yes: inside(f"if {c}", yes), condition, blocks),
        st.builds(lambda c, yes, no: inside(f"if {c}", yes) + "\n" + inside("else", no), condition, blocks, blocks),
        st.builds("{}\n{}".format, blocks, blocks),
    )


programs = st.recursive(assignment, nested, max_leaves=10)


@settings(max_examples=60)
@given(programs, st.integers(0, 100), st.sampled_from(DTYPES))
def test_any_text_means_what_python_makes_of_it(program, seed, dtype):
    before = "a = 1\nb = n\nc = -m\ni = 2\nj = 0"
    after = "k[16] = a\nk[17] = b\nk[18] = c\nk[19] = i\nk[20] = j"
    text = body(before, program, after)
    agree(text, dtype, arrays_of(dtype, seed), (seed % 11, seed % 7))


number = st.recursive(
    st.sampled_from(["v", "w", "x[0]", "x[1]", "1", "2", "F(0.5)", "n", "spread(m)", "lanes_from(m)"]),
    lambda c: st.one_of(
        st.builds("({} {} {})".format, c, st.sampled_from(["+", "-", "*"]), c),
        st.builds("(-{})".format, c),
        st.builds("({} / F({}))".format, c, st.sampled_from("24")),
        st.builds("select({} {} {}, {}, {})".format, c, st.sampled_from(["<", ">=", "=="]), c, c, c),
        st.builds("maximum(F(0) + {}, {})".format, c, c),
    ),
    max_leaves=6,
)


@settings(max_examples=60)
@given(number, st.integers(0, 100))
def test_any_value_of_vectors_and_numbers(value, seed):
    """In float64, where six small factors with halves still are exact."""
    text = body("v = vector(x, n)\nw = vector(y, m)", f"put(y, 8, v * 0 + {value})")
    agree(text, "float64", arrays_of("float64", seed), (seed % 11, seed % 7))


# errors

WRONG = {
    # line of `body`'s lines, text, what the message says
    "syntax": (1, "y[0] = (", "never closed"),
    "else of while": (2, "a = 1\nwhile a < 3:\n    a += 1\nelse:\n    pass", "While is no statement"),
    "vector of conditions for a loop": (1, "while vector(x, 0) > 0:\n    pass", "decides nothing"),
    "break": (2, "for i in range(n):\n    break", "Break is no statement"),
    "continue": (2, "for i in range(n):\n    continue", "Continue is no statement"),
    "else of for": (1, "for i in range(n):\n    pass\nelse:\n    pass", "For is no statement"),
    "for over something": (1, "for i in x:\n    pass", "For is no statement"),
    "function in function": (1, "def f():\n    pass", "FunctionDef is no statement"),
    "two targets": (1, "a, b = n, m", "Assign is no statement"),
    "chain of targets": (1, "a = b = n", "Assign is no statement"),
    "annotation": (1, "a: int = n", "AnnAssign is no statement"),
    "import": (1, "import os", "Import is no statement"),
    "raise": (1, "raise ValueError", "Raise is no statement"),
    "range of none": (1, "for i in range():\n    pass", "1 to 3 arguments"),
    "range of four": (1, "for i in range(1, 2, 3, 4):\n    pass", "1 to 3 arguments"),
    "range of numbers": (1, "for i in range(x[0]):\n    pass", "float where a whole number is wanted"),
    "range downwards": (1, "for i in range(n, 0, -1):\n    pass", "counts upwards"),
    "range on the spot": (1, "for i in range(0, n, 0):\n    pass", "counts upwards"),
    "unknown name": (1, "y[0] = z", "z has no value here"),
    "name read too early": (1, "a += 1", "a has no value here"),
    "unknown function": (2, "a = 1\ny[0] = gamma(x[0])", "gamma is no function"),
    "method": (1, "y[0] = x.sum()", "a call names a function"),
    "keyword": (1, "y[0] = exp(x=x[0])", "a call names a function"),
    "no value": (1, "a = barrier(control, threads)", "has no value"),
    "number in a name of whole numbers": (2, "a = 1\na = x[0]", "float where i64 is wanted"),
    "vector in a name of numbers": (2, "a = x[0]\na = vector(x, 0)", "where float is wanted"),
    "vector in memory for a number": (1, "x[0] = vector(x, 0)", "where float is wanted"),
    "argument": (1, "thread = 3", "the argument thread is assigned to"),
    "float32 and float64": (1, "y[0] = x[0] * 0.5", "float meets double"),
    "float64 in memory for float32": (1, "y[0] = 0.5", "double where float is wanted"),
    "float64 in a function": (1, "y[0] = maximum(x[0], 0.5)", "float meets double"),
    "division of whole numbers": (1, "k[0] = n / m", "Div of i64"),
    "division by 0": (1, "k[0] = 7 // 0", "division by 0"),
    "remainder of numbers": (1, "y[0] = x[0] % x[1]", "Mod of float"),
    "power": (1, "y[0] = x[0] ** 2", "Pow of"),
    "shift": (1, "k[0] = n << 2", "LShift of i64"),
    "sum of pointers": (1, "k[0] = x + y", "Add of float"),
    "sum of conditions": (1, "k[0] = (n > m) + (n > 1)", "Add of i1"),
    "order of conditions": (1, "if (n > m) < (n > 1):\n    pass", "Lt of i1"),
    "identity": (1, "if n is m:\n    pass", "Is of i64"),
    "chain of comparisons": (1, "if 0 < n < m:\n    pass", "Compare is no value"),
    "number as a condition": (1, "if n:\n    pass", "i64 where a condition is wanted"),
    "not of a number": (1, "if not n:\n    pass", "i64 where a condition is wanted"),
    "and of a number": (1, "if n > m and n:\n    pass", "i64 where a condition is wanted"),
    "vector as a condition": (1, "if vector(x, 0) > 0:\n    pass", "use select"),
    "value of if": (1, "a = n if n > m else m", "IfExp is no value"),
    "list": (1, "a = [1, 2]", "List is no value"),
    "lambda": (1, "a = lambda: 1", "Lambda is no value"),
    "string": (1, "a = 'text'", "Constant is no value"),
    "index of a number": (1, "n[0] = 1", "is no pointer"),
    "number as an index": (1, "y[x[0]] = x[0]", "float where a whole number is wanted"),
    "slice": (1, "y[0:2] = x[0]", "Slice is no value"),
    "result that is no whole number": (1, "return x[0]", "float where i64 is wanted"),
    "no result": (1, "return", "Return is no statement"),
    "never reached": (2, "return 1\nk[0] = 1", "cannot be reached"),
    "negative pointer": (1, "k[0] = -x", "has no negative"),
    "too few arguments of a builtin": (1, "put(y, 0)", "put: "),
    "too many arguments of a cast": (1, "y[0] = F(n, m)", "F: "),
    "too many arguments of a function": (1, "y[0] = exp(x[0], x[1])", "exp: "),
    "stack of a size not known": (1, "a = stack(n)", "stack: a constant count is wanted"),
    "cast of a vector": (1, "y[0] = float64(vector(x, 0))", "float64: a number is wanted"),
    "function of a whole number": (1, "y[0] = exp(n)", "exp: a number of float32 is wanted"),
    "vector of another kind": (1, "put(y, 0, vector(k, 0))", "vector: a pointer to float is wanted"),
    "tile of too few": (1, "tile(x, 1)", "tile: "),
    "select without a condition": (1, "y[0] = select(n, x[0], x[1])", "select: "),
    "spread of a pointer": (1, "put(y, 0, spread(x))", "float"),
    "at of a number": (1, "a = at(n, m)", "at: "),
    "load of a number": (1, "k[0] = load(n, STOP)", "load: "),
    "store of a number": (1, "store(control, STOP, x[0])", "store: "),
    "lanes of numbers": (1, "put(y, 0, lanes_from(x[0]))", "lanes_from: "),
    "least of numbers": (1, "y[0] = least(x[0], x[1])", "least: "),
    "pointer from a number": (1, "a = F_at(x[0])", "F_at: "),
    "sum across a number": (1, "y[0] = sum_lanes(x[0])", "sum_lanes: "),
}


@pytest.mark.parametrize(("line", "lines", "message"), WRONG.values(), ids=WRONG)
def test_errors_name_the_line(line, lines, message):
    text = body(lines)
    before = text.splitlines().index("    m = number[1]") + 1
    with pytest.raises(CompileError, match=rf"line {before + line}\b.*{re.escape(message)}"):
        compile_source(text, "float32")


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "x = 1\n\n" + HEAD + "    return 0\n", "a module has functions only"),
        (1, "import numpy\n\n" + HEAD + "    return 0\n", "a module has functions only"),
        (2, "@kernel\ndef f():\n    pass\n\n" + HEAD + "    return 0\n", "no decorator"),
        (1, "def f(a, b=1):\n    pass\n\n" + HEAD + "    return 0\n", "plain arguments"),
        (1, "def f(*a):\n    pass\n\n" + HEAD + "    return 0\n", "plain arguments"),
        (3, "def f():\n    pass\ndef f():\n    pass\n\n" + HEAD + "    return 0\n", "f is defined twice"),
        (1, "def epoch(a):\n    return 0\n", "epoch takes 6 arguments"),
        (5, "def f(a):\n    pass\n\n" + HEAD + "    f(1, 2)\n    return 0\n", "f takes 1 arguments, not 2"),
        (2, "def f(a):\n    a[0] = 1\n\n" + HEAD + "    f(thread)\n    return 0\n", "is no pointer"),
    ],
)
def test_errors_of_modules_name_the_line(line, text, message):
    with pytest.raises(CompileError, match=rf"line {line}: .*{re.escape(message)}"):
        compile_source(text, "float32")


def test_a_module_without_epoch():
    with pytest.raises(CompileError, match="no function 'epoch'"):
        compile_source("def f():\n    pass\n", "float32")


def test_a_text_with_a_note_at_its_head():
    text = '"""A note."""\n' + HEAD + "    return 3\n"
    assert compile_source(text, "float32").entry(0, 1, None, None, None, None) == 3
