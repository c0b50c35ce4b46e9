"""Losses by Keras's names: E of one sample in the target t and the prediction p.

>>> CategoricalCrossentropy(label_smoothing=0.1).formula
'-sum[k]((t[k]*(1 - 0.1) + 0.1/size(k))*log(p[k]))'
>>> round(float(MeanSquaredError()([[0.0, 1.0]], [[1.0, 1.0]])), 3)
0.5

`Formula` is a loss of one's own, and so is a text where Keras takes a name: "E = mean[k]((t[k] - p[k])**4)".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import SettingError
from chainrule.interfaces.keras.config import Configured, documented
from chainrule.interfaces.keras.rows import is_formula, keras_row, resolve
from chainrule.interfaces.keras.writer import closing
from chainrule.library import LOSSES
from chainrule.library.layers import written
from chainrule.messages import say

TOKEN = re.compile(r"(?<![\w.])([^\W\d]\w*)(?:\[([^\[\]]*)\])?")
REDUCTIONS = ("sum", "mean", "max", "min", "logsumexp", "softmax", "log_softmax")
HERE = "sum_over_batch_size"  # the mean over the samples
SHARES = "sum[k](t[k]) = 1"  # what a loss says of its targets where they are one-hot rows


@dataclass(frozen=True)
class Spot:
    """Where a loss stands in a model: the names of prediction and target, their indices before the last, the last."""

    output: str
    target: str
    lead: tuple[str, ...]
    last: tuple[str, ...]


class Loss(Configured):
    """A formula in p[k] and t[k], or the label y. Called on numbers it gives the mean over the samples."""

    formula = "0"
    target = "target t[k]"
    more: tuple[str, ...] = ()  # further lines that a formula of one's own brings
    name = "loss"

    def _take(self, row: str, reduction: str | None, name: str | None, **settings: float) -> None:
        if reduction != HERE:
            raise SettingError(
                say("keras.option_not_here", layer=type(self).__name__, name="reduction", came=reduction, default=HERE)
            )
        found = keras_row(LOSSES, row)
        text = found.formula.split("=", 1)[1].strip()
        for key, value in {**found.defaults, **settings}.items():
            text = re.sub(rf"(?<![\w.]){key}(?!\w)", written(value), text)
        self.formula, self.target, self.name = text, found.target, name or row

    def _smooth(self, smoothing: float, wrong: str) -> None:
        """Targets drawn towards even shares."""
        if smoothing:
            amount = written(smoothing)
            self.formula = self.formula.replace("t[k]", f"(t[k]*(1 - {amount}) + {wrong.format(amount)})")

    def _from_sums(self, activation: str) -> None:
        """The prediction is the sum before the activation, as behind from_logits=True."""
        self.formula = self.formula.replace("p[k]", activation)

    @property
    def labels(self) -> bool:
        """Whether the target is a class number."""
        return self.target.startswith("label")

    def prepare(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """What Keras does to targets before it computes: nothing, but for the hinge losses."""
        return y

    def declaration(self, spot: Spot, what: str) -> str:
        """The line that declares the target. Raises: SettingError for classes where there are none."""
        if not spot.last and (self.labels or SHARES in self.target):
            raise SettingError(say("keras.one_output", loss=self.name, output=what))
        if self.labels:
            if len(spot.last) != 1 or spot.lead:
                raise SettingError(say("keras.label_output", loss=self.name, output=what))
            return f"label {spot.target} in {spot.last[0]}"
        _, *facts = re.split(r",\s*(?![^\[(]*[\])])", self.target, maxsplit=1)
        own = [self._filled(fact, spot) for fact in facts if not spot.lead and spot.last]
        return ", ".join([f"target {self._element(spot.target, spot)}", *own])

    def expression(self, spot: Spot) -> str:
        """E of one sample in the model's names."""
        text = self._filled(self.formula, spot)
        if text.startswith("(") and closing(text, 0) == len(text) - 1:
            text = text[1:-1]  # of a mean over one output
        if spot.lead and not self.labels:
            return f"mean[{', '.join(spot.lead)}]({text})"
        return text

    def _element(self, name: str, spot: Spot) -> str:
        inside = ", ".join((*spot.lead, *spot.last))
        return f"{name}[{inside}]" if inside else name

    def _filled(self, text: str, spot: Spot) -> str:
        def put(match: re.Match[str]) -> str:
            name, inside = match[1], match[2]
            if inside is None:
                return {"y": spot.target if self.labels else "y", "k": ", ".join(spot.last)}.get(name, name)
            slots = [s.strip() for s in inside.split(",")]
            names: list[str] = []
            for slot in slots:
                names += spot.last if slot == "k" else [f"{spot.last[0]}_{slot}"] if spot.last else []
            if name in REDUCTIONS:
                if not names and "softmax" in name:
                    raise SettingError(say("keras.softmax_of_one", layer=self.name))
                return f"{name}[{', '.join(names)}]" if names else ""
            own = {"p": spot.output, "t": spot.target}.get(name, name)
            names = [*spot.lead, *names] if name in ("p", "t") else names
            return f"{own}[{', '.join(names)}]" if names else own

        sizes = "*".join(f"size({i})" for i in spot.last) or "1"
        return TOKEN.sub(put, text.replace("size(k)", f"({sizes})" if len(spot.last) > 1 else sizes))

    def values(self, y_true: Any, y_pred: Any) -> np.ndarray[Any, Any]:
        """The loss of each sample."""
        from chainrule.training.network import formula

        p = np.asarray(y_pred, dtype=np.float64)
        t = np.asarray(y_true)
        if self.labels:
            t = (np.arange(p.shape[-1]) == t.reshape(len(p), 1)).astype(np.float64)
        t = self.prepare(t.astype(np.float64))
        text = self.formula.replace("[k == y]", "t[k]")
        net = formula("\n".join(["input p[k], t[k]", *self.more, f"q = {text}"]), dtype="float64")
        return net.predict({"p": p.reshape(len(p), -1), "t": t.reshape(len(p), -1)})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} E = {self.formula}>"

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """The mean over the samples, each times its weight."""
        values = self.values(y_true, y_pred)
        return float(np.mean(values if sample_weight is None else values * np.asarray(sample_weight).reshape(-1)))


class Formula(Loss):
    """A loss of one's own: "E = …" in p[k] and t[k]; lines before it may declare `label y in k` or numbers."""

    def __init__(self, formula: str, name: str = "loss"):
        lines = [line.strip() for line in formula.splitlines() if line.strip() and not line.strip().startswith("#")]
        declared = [line for line in lines if re.match(r"(target|label)\s", line)]
        equations = [line for line in lines if re.match(r"E\s*=", line)]
        self.target = declared[0] if declared else "label y in k" if re.search(r"\by\b", formula) else "target t[k]"
        if len(equations) > 1 or (not equations and len(lines) - len(declared) != 1):
            raise SettingError(say("keras.loss_formula", came=formula.strip().splitlines()[0][:60]))
        for foreign in re.findall(r"\b(y_true|y_pred)\b", formula):
            raise SettingError(say("keras.loss_names", came=foreign))
        last = equations[0].split("=", 1)[1] if equations else next(line for line in lines if line not in declared)
        self.formula, self.name = last.strip(), name
        self.more = tuple(line for line in lines if line not in (*declared, *equations) and equations)


class MeanSquaredError(Loss):
    """mean[k]((t[k] - p[k])**2)"""

    def __init__(self, reduction: str | None = HERE, name: str = "mean_squared_error", dtype: Any = None):
        self._take("mean_squared_error", reduction, name)


class MeanAbsoluteError(Loss):
    """mean[k](abs(t[k] - p[k]))"""

    def __init__(self, reduction: str | None = HERE, name: str = "mean_absolute_error", dtype: Any = None):
        self._take("mean_absolute_error", reduction, name)


class MeanAbsolutePercentageError(Loss):
    """100 times the mean of |t - p|/|t|."""

    def __init__(self, reduction: str | None = HERE, name: str = "mean_absolute_percentage_error", dtype: Any = None):
        self._take("mean_absolute_percentage_error", reduction, name)


class MeanSquaredLogarithmicError(Loss):
    """The squared difference of log(1 + t) and log(1 + p)."""

    def __init__(self, reduction: str | None = HERE, name: str = "mean_squared_logarithmic_error", dtype: Any = None):
        self._take("mean_squared_logarithmic_error", reduction, name)


class BinaryCrossentropy(Loss):
    """-mean[k](t[k]*log(p[k]) + (1 - t[k])*log(1 - p[k]))"""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = HERE,
        name: str = "binary_crossentropy",
        dtype: Any = None,
    ):
        self._take("binary_crossentropy", reduction, name)
        self._smooth(label_smoothing, "{}/2")
        if from_logits:
            self._from_sums("sigmoid(p[k])")


class BinaryFocalCrossentropy(Loss):
    """Binary cross entropy in which what is right already counts less."""

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = HERE,
        name: str = "binary_focal_crossentropy",
        dtype: Any = None,
    ):
        row = "balanced_binary_focal_cross_entropy" if apply_class_balancing else "binary_focal_cross_entropy"
        self._take(row, reduction, name, gamma=gamma, **({"alpha": alpha} if apply_class_balancing else {}))
        self._smooth(label_smoothing, "{}/2")
        if from_logits:
            self._from_sums("sigmoid(p[k])")


class CategoricalCrossentropy(Loss):
    """-sum[k](t[k]*log(p[k]))"""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = HERE,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
    ):
        self._take("categorical_crossentropy", reduction, name)
        self._smooth(label_smoothing, "{}/size(k)")
        if from_logits:
            self._from_sums("softmax[k](p[k])")


class CategoricalFocalCrossentropy(Loss):
    """Categorical cross entropy in which what is right already counts less."""

    def __init__(
        self,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = HERE,
        name: str = "categorical_focal_crossentropy",
        dtype: Any = None,
    ):
        self._take("categorical_focal_cross_entropy", reduction, name, alpha=alpha, gamma=gamma)
        self._smooth(label_smoothing, "{}/size(k)")
        if from_logits:
            self._from_sums("softmax[k](p[k])")


class CategoricalGeneralizedCrossEntropy(Loss):
    """(1 - p_y^q)/q: between cross entropy and absolute error."""

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = HERE,
        name: str = "categorical_generalized_cross_entropy",
        dtype: Any = None,
    ):
        self._take("categorical_generalized_cross_entropy", reduction, name, q=q)


class SparseCategoricalCrossentropy(Loss):
    """-sum[k]([k == y]*log(p[k]))"""

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = HERE,
        axis: int = -1,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
    ):
        if ignore_class is not None:
            came, kind = ignore_class, type(self).__name__
            raise SettingError(say("keras.option_not_here", layer=kind, name="ignore_class", came=came, default=None))
        self._take("sparse_categorical_crossentropy", reduction, name)
        if from_logits:
            self._from_sums("softmax[k](p[k])")


class KLDivergence(Loss):
    """sum[k](t[k]*log(t[k]/p[k]))"""

    def __init__(self, reduction: str | None = HERE, name: str = "kl_divergence", dtype: Any = None):
        self._take("kl_divergence", reduction, name)


class Poisson(Loss):
    """mean[k](p[k] - t[k]*log(p[k] + 1e-7))"""

    def __init__(self, reduction: str | None = HERE, name: str = "poisson", dtype: Any = None):
        self._take("poisson", reduction, name)


class CosineSimilarity(Loss):
    """Minus the cosine between t and p."""

    def __init__(
        self, axis: int = -1, reduction: str | None = HERE, name: str = "cosine_similarity", dtype: Any = None
    ):
        self._take("cosine_similarity", reduction, name)


class Huber(Loss):
    """A parabola up to delta, then a straight line."""

    def __init__(self, delta: float = 1.0, reduction: str | None = HERE, name: str = "huber_loss", dtype: Any = None):
        self._take("huber", reduction, name, delta=delta)


class LogCosh(Loss):
    """mean[k](log(cosh(p[k] - t[k])))"""

    def __init__(self, reduction: str | None = HERE, name: str = "log_cosh", dtype: Any = None):
        self._take("log_cosh", reduction, name)


class _Signs(Loss):
    """Targets are -1 and 1; where they are 0 and 1, they are turned into those, as in Keras."""

    def prepare(self, y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return 2.0 * y - 1.0 if bool(np.isin(y, (0, 1)).all()) else y


class Hinge(_Signs):
    """mean[k](max(0, 1 - t[k]*p[k]))"""

    def __init__(self, reduction: str | None = HERE, name: str = "hinge", dtype: Any = None):
        self._take("hinge", reduction, name)


class SquaredHinge(_Signs):
    """mean[k](max(0, 1 - t[k]*p[k])**2)"""

    def __init__(self, reduction: str | None = HERE, name: str = "squared_hinge", dtype: Any = None):
        self._take("squared_hinge", reduction, name)


class CategoricalHinge(Loss):
    """The largest wrong output against the right one."""

    def __init__(self, reduction: str | None = HERE, name: str = "categorical_hinge", dtype: Any = None):
        self._take("categorical_hinge", reduction, name)


KINDS: dict[str, type[Loss]] = {
    kind.__name__: kind
    for kind in (
        MeanSquaredError,
        MeanAbsoluteError,
        MeanAbsolutePercentageError,
        MeanSquaredLogarithmicError,
        BinaryCrossentropy,
        BinaryFocalCrossentropy,
        CategoricalCrossentropy,
        CategoricalFocalCrossentropy,
        CategoricalGeneralizedCrossEntropy,
        SparseCategoricalCrossentropy,
        KLDivergence,
        Poisson,
        CosineSimilarity,
        Huber,
        LogCosh,
        Hinge,
        SquaredHinge,
        CategoricalHinge,
        Formula,
    )
}
for _kind in KINDS.values():
    if _kind is not Formula:
        documented(_kind, _kind().formula)
SHORT: Mapping[str, type[Loss]] = {
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "msle": MeanSquaredLogarithmicError,
    "kld": KLDivergence,
    "logcosh": LogCosh,
}


class _Row(Loss):
    """A row of the library that Keras has no class for."""

    def __init__(self, name: str):
        self._take(name, HERE, name)


def get(identifier: Any) -> Loss | None:
    """A loss: itself, its name as Keras or the library has it, or a formula. Raises: SettingError."""
    if isinstance(identifier, LossFunction):
        identifier = identifier.__name__
    if isinstance(identifier, str):
        if is_formula(identifier):
            return Formula(identifier)
        plain = identifier.lower().replace("_", "")
        kinds = {name.lower(): kind for name, kind in {**KINDS, **SHORT}.items() if name != "Formula"}
        return kinds[plain]() if plain in kinds else _Row(identifier)
    if isinstance(identifier, dict) and identifier.get("class_name") == "_Row":
        return _Row(**identifier["config"])
    found: Loss | None = resolve(identifier, KINDS, Loss, "loss")
    return found


class LossFunction:
    """keras.losses.mean_squared_error and its kin: the loss of each sample, as an array."""

    def __init__(self, name: str):
        self.__name__ = name

    def __call__(self, y_true: Any, y_pred: Any, **settings: Any) -> np.ndarray[Any, Any]:
        loss = get(self.__name__)
        assert loss is not None
        return (type(loss)(**settings) if settings else loss).values(y_true, y_pred)


FUNCTIONS: Sequence[str] = (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_generalized_cross_entropy",
    "categorical_hinge",
    "cosine_similarity",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "sparse_categorical_crossentropy",
    "squared_hinge",
)


def __getattr__(name: str) -> LossFunction:
    if name in FUNCTIONS:
        return LossFunction(name)
    raise AttributeError(f"module 'chainrule.losses' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *FUNCTIONS})
