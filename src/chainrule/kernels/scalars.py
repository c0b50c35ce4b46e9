"""What each scalar function compiles to, in float32 and float64.

LLVM has no vectorized exp, log or tanh, so here they are, as polynomials and bit tricks without a branch. Each is
written once, as ordinary arithmetic on `Lane`s, whose operators build LLVM instructions on one number or on a vector;
a `Format` has what differs between float32 and float64.

Instructions carry no fast-math flag: `reassoc` would undo x - n·ln2 in two parts and log1p's correction. So what is
written is what runs, in that order.

All of them: NaN in, NaN out; overflow gives infinity, underflow 0, by way of the denormal numbers where the caller's
mode keeps them (a compiled step's does not: builtins.py, flush_tiny). The error bounds in the docstrings are in units
in the last place (ulp) of the result's own format, the larger of float32 (44 million numbers from all over its range,
against float64) and float64 (over a million, against 80-bit numbers; erf 140,000, against mpmath; sin and cos up to
10⁴). What has none is exact, but for power. tests/kernels/test_scalars.py holds each function to its docstring.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

from llvmlite import ir


@dataclass(frozen=True)
class Format:
    """A floating-point format and the polynomials fitted for it (lowest power first; Chebyshev fits by mpmath).

    exp:       (eʳ - 1 - r) / r²                on |r| ≤ ln2 / 2
    log:       (2·atanh(s) - 2s) / s³ in s²     on |s| ≤ (√2 - 1) / (√2 + 1)
    log_wide:  the same                         on |s| ≤ 1/3, for logarithms of 1 to 2
    erf_small: erf(x) / x - 1 in x²             on |x| ≤ 1
    erf_large: -log(1 - erf(x)) in x - 2        on 1 ≤ x ≤ erf_one, errors weighted by 1 - erf(x)
    """

    bits: int
    mantissa: int
    exp_low: float  # below it exp is 0 …
    exp_high: float  # … and above it infinity; both a little outside, so that the arithmetic itself decides
    ln2_high: float  # ln 2, with enough zeros at its end that n·ln2_high is exact …
    ln2_low: float  # … and the rest
    erf_one: float  # from here on erf is 1
    exp: tuple[float, ...]
    log: tuple[float, ...]
    log_wide: tuple[float, ...]
    erf_small: tuple[float, ...]
    erf_large: tuple[float, ...]

    @property
    def bias(self) -> int:
        """What is added to an exponent before it is stored."""
        return int(2 ** (self.bits - self.mantissa - 2)) - 1

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2.0 - 2.0**-self.mantissa) * 2.0**self.bias

    @property
    def magic(self) -> float:
        """Adding it to a small number rounds that to a whole one, which the sum's last bits then hold."""
        return float(3 * 2 ** (self.mantissa - 1))


FORMATS = {
    "float32": Format(
        bits=32,
        mantissa=23,
        exp_low=-104.0,
        exp_high=89.0,
        ln2_high=0.693359375,
        ln2_low=-2.1219444005469057e-04,
        erf_one=4.0,
        exp=(
            0.5, 0.1666666716337204, 0.041666459292173386, 0.00833331048488617, 0.0013934089802205563,
            0.0001989148004213348,
        ),
        log=(0.6666666865348816, 0.40000125765800476, 0.28550398349761963, 0.23341943323612213),
        log_wide=(
            0.6666666865348816, 0.3999970555305481, 0.285923570394516, 0.2170657515525818, 0.23224329948425293,
        ),
        erf_small=(
            0.12837916612625122, -0.3761262595653534, 0.11283594369888306, -0.02685421146452427, 0.005189087241888046,
            -0.000801686430349946, 7.875874871388078e-05,
        ),
        erf_large=(
            5.364941120147705, 4.418159484863281, 0.923753023147583, 0.016487300395965576, -0.0035436165053397417,
            0.0007127499557100236, -0.00018557478324510157,
        ),
    ),
    "float64": Format(
        bits=64,
        mantissa=52,
        exp_low=-746.0,
        exp_high=710.0,
        ln2_high=6.93147180369123816490e-01,
        ln2_low=1.90821492927058770002e-10,
        erf_one=6.0,
        exp=(
            0.5, 0.16666666666666666, 0.04166666666666668, 0.008333333333333333, 0.0013888888888878683,
            0.00019841269841263038, 2.480158733747999e-05, 2.7557319247910414e-06, 2.7557262173897823e-07,
            2.505207035766202e-08, 2.09185446071548e-09, 1.608689914294255e-10,
        ),
        log=(
            0.666666666666667, 0.3999999999989322, 0.28571428628810996, 0.22222210674238516, 0.18182922513515942,
            0.15330617306743305, 0.1463003136412286,
        ),
        log_wide=(
            0.6666666666666666, 0.39999999999999525, 0.285714285716001, 0.2222222219823677, 0.18181819897962714,
            0.1538454396486055, 0.13335178631449257, 0.11734279061303197, 0.10845178394880015, 0.07492143795550767,
            0.1563057780092285,
        ),
        erf_small=(
            0.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792, 0.0052239776248180145,
            -0.000854832698083379, 0.0001205533111164271, -1.4925595266831182e-05, 1.6461000484121368e-06,
            -1.6350312701054695e-07, 1.4659775274047436e-08, -1.1372848856791674e-09, 5.957176147748911e-11,
        ),
        erf_large=(
            5.364941264616636, 4.418160805994413, 0.9237508418239431, 0.016465118137394548, -0.003570756347809821,
            0.0007323993779424936, -0.0001353093308964082, 2.0706470575209497e-05, -1.95218656321146e-06,
            -2.0372697047288863e-07, 1.7317132366106082e-07, -5.7696504600541355e-08, 1.3990239727255e-08,
            -2.6094362463655724e-09, 2.5678266852568484e-10, 7.152748478218095e-11, -3.6603838575331846e-11,
            4.8620964416657894e-12,
        ),
    ),
}  # fmt: skip


class Lane:
    """A number, or a vector of them, while a function is being built: its operators append LLVM instructions."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value, format: Format):
        self.builder, self.value, self.format = builder, value, format

    def of(self, number: Lane | float) -> Lane:
        """A constant as a Lane; a Lane as it is."""
        if isinstance(number, Lane):
            return number
        return Lane(self.builder, _constant(self.value.type, number), self.format)

    def integer(self, number: int) -> ir.Constant:
        """A constant whole number of the format's width, for each lane."""
        return _constant(_of_shape(self.value.type, ir.IntType(self.format.bits)), number)

    def _operate(self, name: str, left: Lane | float, right: Lane | float) -> Lane:
        operate = getattr(self.builder, name)
        return Lane(self.builder, operate(self.of(left).value, self.of(right).value), self.format)

    def __add__(self, other: Lane | float) -> Lane:
        return self._operate("fadd", self, other)

    def __sub__(self, other: Lane | float) -> Lane:
        return self._operate("fsub", self, other)

    def __rsub__(self, other: float) -> Lane:
        return self._operate("fsub", other, self)

    def __mul__(self, other: Lane | float) -> Lane:
        return self._operate("fmul", self, other)

    def __truediv__(self, other: Lane | float) -> Lane:
        return self._operate("fdiv", self, other)

    def __rtruediv__(self, other: float) -> Lane:
        return self._operate("fdiv", other, self)

    def __neg__(self) -> Lane:
        return Lane(self.builder, self.builder.fneg(self.value), self.format)

    def __lt__(self, other: Lane | float) -> ir.Value:
        return self._compare("<", other)

    def __gt__(self, other: Lane | float) -> ir.Value:
        return self._compare(">", other)

    def __le__(self, other: Lane | float) -> ir.Value:
        return self._compare("<=", other)

    def _compare(self, relation: str, other: Lane | float) -> ir.Value:
        """False where either is NaN."""
        return self.builder.fcmp_ordered(relation, self.value, self.of(other).value)

    def is_nan(self) -> ir.Value:
        return self.builder.fcmp_unordered("uno", self.value, self.value)

    def where(self, condition: ir.Value, otherwise: Lane | float) -> Lane:
        """This where the condition holds, `otherwise` elsewhere; both are computed."""
        return Lane(self.builder, self.builder.select(condition, self.value, self.of(otherwise).value), self.format)

    def times_plus(self, factor: Lane | float, term: Lane | float) -> Lane:
        """self·factor + term, rounded once where the machine has fused multiply-add."""
        return self._call("llvm.fmuladd", self.of(factor), self.of(term))

    def polynomial(self, coefficients: tuple[float, ...]) -> Lane:
        """Σ_k coefficients[k]·selfᵏ, by Horner's rule."""
        total = self.of(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            total = total.times_plus(self, coefficient)
        return total

    def magnitude(self) -> Lane:
        return self._call("llvm.fabs")

    def with_sign_of(self, other: Lane) -> Lane:
        return self._call("llvm.copysign", other)

    def _call(self, name: str, *others: Lane) -> Lane:
        kind = self.value.type
        shape = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
        function = declare(self.builder.module, f"{name}.{shape}f{self.format.bits}", kind, [kind] * (1 + len(others)))
        return Lane(self.builder, self.builder.call(function, [self.value, *(o.value for o in others)]), self.format)

    # bits

    def to_bits(self) -> ir.Value:
        return self.builder.bitcast(self.value, _of_shape(self.value.type, ir.IntType(self.format.bits)))

    def from_bits(self, bits: ir.Value) -> Lane:
        return Lane(self.builder, self.builder.bitcast(bits, self.value.type), self.format)

    def bits_of(self, number: float) -> int:
        """The bits of a constant, as an integer."""
        code = "<f" if self.format.bits == 32 else "<d"
        return int.from_bytes(struct.pack(code, number), "little")


def _of_shape(kind: ir.Type, element: ir.Type) -> ir.Type:
    """`element`, as often as `kind` has lanes."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def _constant(kind: ir.Type, number: float) -> ir.Constant:
    return kind([number] * kind.count) if isinstance(kind, ir.VectorType) else kind(number)


def declare(module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    """An LLVM intrinsic; llvmlite's own declare_intrinsic cannot name those of vectors."""
    found = module.globals.get(name)
    return found or ir.Function(module, ir.FunctionType(result, arguments), name)


def _reduce_exp(x: Lane) -> tuple[Lane, Lane]:
    """(t, r) with x = n·ln2 + r, |r| ≤ ln2/2; n is in the last bits of t."""
    f = x.format
    t = x.times_plus(1 / math.log(2), f.magic)
    n = t - f.magic
    r = n.times_plus(-f.ln2_low, n.times_plus(-f.ln2_high, x))
    return t, r


def _scale_bits(x: Lane, t: Lane, add: int) -> ir.Value:
    """n + add as an integer, for n in the last bits of t."""
    return x.builder.sub(t.to_bits(), x.integer((x.bits_of(x.format.magic) - add) % 2**x.format.bits))


def exp(x: Lane) -> Lane:
    """eˣ = 2ⁿ·eʳ. Denormal results are rounded once; overflow gives infinity. Within 1.0 ulp."""
    f, b = x.format, x.builder
    limited = x.of(f.exp_high).where(x > f.exp_high, x)
    limited = x.of(f.exp_low).where(limited < f.exp_low, limited)
    t, r = _reduce_exp(limited)
    power = (r * r).times_plus(r.polynomial(f.exp), r) + 1.0
    # 2ⁿ in two factors: 2¹²⁸ and 2⁻¹⁵⁰ are no float32, their halves are.
    both = _scale_bits(x, t, 2 * f.bias)
    half = b.lshr(both, x.integer(1))
    shift = x.integer(f.mantissa)
    first, second = (x.from_bits(b.shl(part, shift)) for part in (half, b.sub(both, half)))
    return power * first * second


def expm1(x: Lane) -> Lane:
    """eˣ - 1 = 2ⁿ·(eʳ - 1) + (2ⁿ - 1), without cancellation near 0. Within 2.0 ulp; below the
    smallest normal number within two of the smallest."""
    f, b = x.format, x.builder
    lowest = -2.0 * f.mantissa  # e to that is far below half a unit of 1
    limited = x.of(f.exp_high).where(x > f.exp_high, x)
    limited = x.of(lowest).where(limited < lowest, limited)
    t, r = _reduce_exp(limited)
    small = (r * r).times_plus(r.polynomial(f.exp), r)
    # Half of it, then twice that: 2¹²⁸ is no float32.
    scale = x.from_bits(b.shl(_scale_bits(x, t, f.bias - 1), x.integer(f.mantissa)))
    return small.times_plus(scale, scale - 0.5) * 2.0


def _split(x: Lane) -> tuple[Lane, Lane]:
    """(k, m) with x = 2ᵏ·m and √½ ≤ m < √2, for a positive normal x."""
    f, b = x.format, x.builder
    root = x.bits_of(math.sqrt(0.5))
    shifted = b.add(x.to_bits(), x.integer(x.bits_of(1.0) - root))
    # The exponent as a number: put behind the bits of 2^mantissa, it stands at that number's units.
    behind = b.or_(b.lshr(shifted, x.integer(f.mantissa)), x.integer(x.bits_of(2.0**f.mantissa)))
    k = x.from_bits(behind) - (2.0**f.mantissa + f.bias)
    m = x.from_bits(b.add(b.and_(shifted, x.integer(2**f.mantissa - 1)), x.integer(root)))
    return k, m


def _log(k: Lane, f: Lane, correction: Lane | float) -> Lane:
    """k·ln2 + log(1 + f) + correction, as fdlibm does: with s = f/(2 + f), log(1 + f) = f - f²/2 + s·(f²/2 + R(s²))."""
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    rest = s * z.times_plus(z.polynomial(f.format.log), half_square)
    low = rest + k.times_plus(f.format.ln2_low, correction)
    return k.times_plus(f.format.ln2_high, f - (half_square - low))


def log(x: Lane) -> Lane:
    """Natural logarithm; log 0 = -∞, of a negative number NaN; denormals count. Within 0.9 ulp."""
    f = x.format
    smallest = 2.0 ** (1 - f.bias)
    tiny = x < smallest
    k, m = _split((x * 2.0**f.mantissa).where(tiny, x))
    result = _log((k - float(f.mantissa)).where(tiny, k), m - 1.0, 0.0)
    return _log_ends(x, result)


def log1p(x: Lane) -> Lane:
    """log(1 + x): what 1 + x loses in rounding is added back. log1p(-1) = -∞, below NaN. Within 0.9 ulp."""
    u = x + 1.0
    k, m = _split(u)
    # For x > 1 the part of 1 + x that was lost is 1 - (u - x), else x - (u - 1): the larger is subtracted first.
    lost = (1.0 - (u - x)).where(x > 1.0, x - (u - 1.0)) / u
    unscaled = x.builder.fcmp_ordered("==", k.value, k.of(0.0).value)
    result = _log(k, x.where(unscaled, m - 1.0), x.of(0.0).where(unscaled, lost))
    return _log_ends(u, result)


def _log_ends(x: Lane, result: Lane) -> Lane:
    """The logarithm of x at 0, ∞, NaN and below 0, `result` elsewhere."""
    ended = x.where(x > x.format.largest, result)
    ended = x.of(-math.inf).where(x <= 0.0, ended)
    ended = x.of(math.nan).where(x < 0.0, ended)
    return x.where(x.is_nan(), ended)


def sqrt(x: Lane) -> Lane:
    """The machine's own, correctly rounded: within 0.5 ulp."""
    return x._call("llvm.sqrt")


def absolute(x: Lane) -> Lane:
    """|x|, exact."""
    return x.magnitude()


def sign(x: Lane) -> Lane:
    """-1, 0 or 1."""
    return x.of(1.0).where(x > 0.0, x.of(-1.0).where(x < 0.0, x))


def step(x: Lane) -> Lane:
    """1 where x > 0, else 0."""
    return x.of(1.0).where(x > 0.0, x.of(0.0).where(x <= 0.0, x))


def relu(x: Lane) -> Lane:
    """x where x > 0, else 0; written so that NaN stays NaN."""
    return x.of(0.0).where(x < 0.0, x)


def tanh(x: Lane) -> Lane:
    """-e/(e + 2) with e = expm1(-2|x|), and the sign of x. Within 2.6 ulp."""
    e = expm1(x.magnitude() * -2.0)
    return (-e / (e + 2.0)).with_sign_of(x)


def sigmoid(x: Lane) -> Lane:
    """1/(1 + e⁻ˣ), from e to the power -|x|, which cannot overflow. Within 2.5 ulp."""
    e = exp(-x.magnitude())
    return x.of(1.0).where(x > 0.0, e) / (e + 1.0)


def softplus(x: Lane) -> Lane:
    """log(1 + eˣ) = max(x, 0) + log(1 + e), e to the power -|x|, which needs no splitting. Within 2.0 ulp."""
    e = exp(-x.magnitude())
    s = e / (e + 2.0)
    z = s * s
    half_square = e * e * 0.5
    rest = s * z.times_plus(z.polynomial(x.format.log_wide), half_square)
    return (e - (half_square - rest)) + x.where(x > 0.0, 0.0)


def erf(x: Lane) -> Lane:
    """x·P(x²) up to 1, then 1 - e^(-Q(x)), where Q fits -log(1 - erf). Within 1.4 ulp."""
    f = x.format
    size = x.magnitude()
    square = x * x
    small = x.times_plus(square.polynomial(f.erf_small), x)
    limited = x.of(f.erf_one).where(size > f.erf_one, size)
    large = (1.0 - exp(-(limited - 2.0).polynomial(f.erf_large))).with_sign_of(x)
    return small.where(size < 1.0, large)


def sin(x: Lane) -> Lane:
    """The C library's, not vectorized. Within 1.0 ulp (glibc)."""
    return x._call("llvm.sin")


def cos(x: Lane) -> Lane:
    """The C library's, not vectorized. Within 1.0 ulp (glibc)."""
    return x._call("llvm.cos")


def floor(x: Lane) -> Lane:
    """The largest whole number that is not larger."""
    return x._call("llvm.floor")


def maximum(x: Lane, y: Lane) -> Lane:
    """The larger; NaN where either is."""
    return x.where(x > y, x.where(x.is_nan(), y))


def minimum(x: Lane, y: Lane) -> Lane:
    """The smaller; NaN where either is."""
    return x.where(x < y, x.where(x.is_nan(), y))


def power(x: Lane, y: Lane) -> Lane:
    """x to the power y for any y: the C library's, not vectorized; its error was not measured."""
    return x._call("llvm.pow", y)


FUNCTIONS: dict[str, Callable[..., Lane]] = {
    "exp": exp,
    "log": log,
    "log1p": log1p,
    "expm1": expm1,
    "sqrt": sqrt,
    "abs": absolute,
    "sign": sign,
    "step": step,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "relu": relu,
    "erf": erf,
    "sin": sin,
    "cos": cos,
    "floor": floor,
    "maximum": maximum,
    "minimum": minimum,
    "power": power,
}
