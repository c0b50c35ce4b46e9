"""adam, sgd and lbfgs as scikit-learn runs them: the same orders of the rows, rates and rules for when to stop.

Several epochs go through one call of the compiled step. Where the rule stops or changes the rate before the last of
them, the weights go back to where the call began and the epochs before are run again: steps are bit-identical however
often they run.
"""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.errors import SettingError
from chainrule.formula.expr import Expr
from chainrule.interfaces.sklearn.prepared import Prepared
from chainrule.interfaces.sklearn.settings import OWN_RATES, Settings
from chainrule.messages import say
from chainrule.program.instructions import Program
from chainrule.training.loop import Plan
from chainrule.training.network import Network
from chainrule.training.rates import over_steps
from chainrule.training.vocabulary import schedule
from chainrule.training.watch import Silent

Array = np.ndarray[Any, Any]

# Multiplications of one call, forward, backward and for the weights: 5 ms of work pay for looking ahead, which may
# have to be run twice; 100 ms are the longest that nobody prints and Ctrl-C waits.
AHEAD_WORK, CALL_WORK = 1e8, 2e9
AHEAD = 24  # epochs
# Steps of up to some 100 µs stay on one thread. On a machine that others used too (digits, breast cancer),
# two threads took 2.4 times the processor's time of one, waiting for each other, and 2 to 6 times as long.
SMALL_STEP = 5_000_000
CALL_ROWS = 2**21  # rows in one call's orders: 16 MB
SMALLEST_RATE = 1e-6  # "adaptive" ends below it
GRADIENT_RULE = "q <- g\nw <- w - eta*q"  # with eta = 0: the gradients are left in the states q


@dataclass(frozen=True)
class Data:
    """What is learned from: the inputs, and the targets and weights by the names of the text."""

    inputs: Any
    targets: Mapping[str, Array]
    rows: int

    @property
    def arrays(self) -> dict[str, Any]:
        return {"x": self.inputs, **self.targets}


@dataclass
class Course:
    """What a training has come to; partial_fit and warm starts go on with it."""

    rate: float
    steps: int = 0  # updates by the optimizer
    samples: int = 0  # rows seen: scikit-learn's t_
    epochs: int = 0  # of this call of fit
    losses: list[float] = field(default_factory=list)
    best_loss: float | None = None
    scores: list[float] | None = None
    best_score: float | None = None
    unimproved: int = 0  # epochs in a row
    best_weights: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """One training: the text, the network whose weights it begins with, data, settings, what it has come to."""

    prepared: Prepared
    network: Network
    data: Data
    settings: Settings
    course: Course
    watched: Mapping[str, str]  # formulas of one sample that `reported` wants beside the loss E
    reported: Callable[[Mapping[str, float]], float]  # the loss, as scikit-learn reports it, of the watched means
    judge: Callable[[Mapping[str, Array]], float] | None = None  # the score of weights on validation rows

    @cached_property
    def parameters(self) -> int:
        kept = self.network.kept
        return sum(kept[p.name].size for p in self.prepared.system.parameters)

    @property
    def batch(self) -> int:
        return self.settings.rows_of_batch(self.data.rows)

    @property
    def count(self) -> int:
        """Steps of an epoch."""
        return -(-self.data.rows // self.batch)

    def plan(self, seed: int) -> Plan:
        threads = threads_for(self.settings.n_threads, 3 * self.batch * self.parameters)
        return Plan(threads=threads, seed=seed)


def threads_for(asked: int | None, work: int) -> int | None:
    """How many threads for steps of so many multiplications; None: as the engine finds."""
    if asked is not None:
        return asked
    # joblib's workers share the cores already.
    return 1 if work < SMALL_STEP or multiprocessing.parent_process() is not None else None


# --- adam and sgd ----------------------------------------------------------------------------------------------------


def run_epochs(task: Task, random: Any, *, once: bool = False) -> None:
    """Train by adam or sgd until the rule stops; the weights are left in the network.

    `once` is partial_fit: one epoch. Raises: SettingError where the loss leaves the finite numbers.
    """
    settings, course, data = task.settings, task.course, task.data
    course.epochs = 0
    last = 1 if once else settings.max_iter
    # Masks of dropout are drawn by a seed of their own; without dropout the generator gives what scikit-learn's gives.
    seed = int(random.randint(2**31 - 1)) if settings.dropout else 0
    program = task.prepared.training(settings.rule, task.watched)
    rates = _Rates(task, program, last)
    runner = task.prepared.runner(task.network, program, data.arrays, task.plan(seed))
    shuffled = np.arange(data.rows, dtype=np.int64)
    stopped = False
    try:
        while course.epochs < last and not stopped:
            count = _epochs_of_call(task, last - course.epochs)
            exact = course.unimproved + count <= settings.n_iter_no_change + 1
            drawn = None if exact else (random.get_state(), shuffled, runner.state())
            orders = np.empty((count, data.rows), dtype=np.int64)
            for order in orders:
                if settings.shuffle:
                    shuffled = _shuffled(shuffled, random)
                order[:] = shuffled
            table = rates.table(count)
            reports = runner.epochs(orders, task.batch, table, Silent())
            weights = runner.state() if task.judge is not None else {}
            for number, report in enumerate(reports, 1):
                if report.failed_step is not None:
                    raise SettingError(say("sklearn.diverged", epoch=course.epochs + 1))
                stopped, changed = _epoch_ends(task, report.means(), weights)
                if (stopped or changed) and number < count:
                    assert drawn is not None
                    state, shuffled, before = drawn
                    random.set_state(state)
                    for _ in range(number if settings.shuffle else 0):
                        shuffled = _shuffled(shuffled, random)
                    runner.restore(before)
                    first = {n: v[: number * task.count] for n, v in table.items()}
                    runner.epochs(orders[:number], task.batch, first, Silent())
                if stopped or changed:
                    break
    except KeyboardInterrupt:
        warnings.warn(say("sklearn.interrupted"), stacklevel=4)
    task.network.keep(runner.state())
    if not stopped and not once and course.epochs == last:
        _warn_of_limit(last)
    if settings.early_stopping and course.best_weights:
        task.network.keep(course.best_weights)


def _epochs_of_call(task: Task, left: int) -> int:
    """How many epochs may follow each other before anybody must look."""
    settings, course = task.settings, task.course
    if task.judge is not None:
        return 1
    work = 3.0 * task.data.rows * task.parameters
    # So many can pass before the rule could stop.
    sure = settings.n_iter_no_change + 1 - course.unimproved
    count = max(sure, AHEAD if work * AHEAD < AHEAD_WORK else 1)
    return int(max(1, min(count, left, CALL_WORK // max(work, 1), CALL_ROWS // task.data.rows)))


def _shuffled(rows: Array, random: Any) -> Array:
    """The rows in another order, from the same numbers that sklearn.utils.shuffle draws."""
    places = np.arange(len(rows))
    random.shuffle(places)
    return rows[places]


def _epoch_ends(task: Task, means: Mapping[str, float], weights: Mapping[str, Array]) -> tuple[bool, bool]:
    """Note what an epoch came to: (whether to stop, whether the learning rate changed)."""
    settings, course = task.settings, task.course
    course.epochs += 1
    course.steps += task.count
    course.samples += task.data.rows
    course.losses.append(task.reported(means))
    if settings.verbose:
        print(say("sklearn.iteration", number=course.epochs, loss=f"{course.losses[-1]:.8f}"))
    if settings.early_stopping and task.judge is not None:
        _look_at_score(task, weights)
    else:
        course.best_loss = np.inf if course.best_loss is None else course.best_loss
        if task.judge is not None and course.scores is not None:
            course.scores.append(task.judge(weights))
        better = course.losses[-1] <= course.best_loss - settings.tol
        course.unimproved = 0 if better else course.unimproved + 1
        course.best_loss = min(course.best_loss, course.losses[-1])
    if settings.solver == "sgd" and settings.learning_rate == "invscaling":
        course.rate = settings.learning_rate_init / (course.samples + 1) ** settings.power_t
    if course.unimproved <= settings.n_iter_no_change:
        return False, False
    if settings.verbose:
        print(say("sklearn.no_progress", tol=settings.tol, epochs=settings.n_iter_no_change))
    if settings.solver == "sgd" and settings.learning_rate == "adaptive" and course.rate > SMALLEST_RATE:
        course.rate /= 5.0
        course.unimproved = 0
        return False, True
    return True, False


def _look_at_score(task: Task, weights: Mapping[str, Array]) -> None:
    course = task.course
    assert task.judge is not None
    assert course.scores is not None
    assert course.best_score is not None
    score = task.judge(weights)
    course.scores.append(score)
    if task.settings.verbose:
        print(say("sklearn.validation", score=f"{score:.6f}"))
    course.unimproved = course.unimproved + 1 if score < course.best_score + task.settings.tol else 0
    if score > course.best_score:
        course.best_score = score
        course.best_weights = {p.name: weights[p.name].copy() for p in task.prepared.system.parameters}


def values_of(program: Program, given: Mapping[str, float]) -> dict[str, float]:
    """A program's hyper-parameters: those given, and what formulas say of others (delta of "huber")."""
    return {**{name: float(value) for name, value in program.defaults.items()}, **given}


class _Rates:
    """The hyper-parameters of every step."""

    def __init__(self, task: Task, program: Program, epochs: int):
        self.task = task
        self.values = values_of(program, task.settings.hyper)
        self.last = float(epochs * task.count)
        self.formula: Expr | None = None
        self.scalars: dict[str, float] = {}
        rate = task.settings.learning_rate
        if rate not in OWN_RATES:
            self.formula, self.scalars = schedule(rate)

    def table(self, epochs: int) -> dict[str, Array]:
        """One float64 a step for each, for the next so many epochs."""
        settings, course, count = self.task.settings, self.task.course, self.task.count
        steps = epochs * count
        numbers = np.arange(course.steps + 1.0, course.steps + steps + 1)
        table = {n: np.full(steps, v) for n, v in self.values.items()}
        table |= {"step": numbers, "steps": np.full(steps, self.last)}
        if self.formula is not None:
            scalars = {**self.scalars, "steps": self.last, "eta0": settings.learning_rate_init}
            table["eta"] = over_steps(self.formula, numbers, scalars)
        elif settings.solver == "sgd" and settings.learning_rate == "invscaling":
            seen = course.samples + self.task.data.rows * np.arange(epochs)
            rates = settings.learning_rate_init / (seen + 1.0) ** settings.power_t
            rates[0] = course.rate
            table["eta"] = np.repeat(rates, count)
        else:
            table["eta"] = np.full(steps, course.rate if settings.solver == "sgd" else settings.learning_rate_init)
        return table


def _warn_of_limit(iterations: int) -> None:
    from sklearn.exceptions import ConvergenceWarning

    warnings.warn(say("sklearn.max_iter", count=iterations), ConvergenceWarning, stacklevel=5)


# --- lbfgs -----------------------------------------------------------------------------------------------------------


def run_lbfgs(task: Task) -> float:
    """Train by SciPy's L-BFGS-B, with loss and gradients of all rows from the compiled step; the last loss.

    Raises: SettingError where the weights leave the finite numbers.
    """
    from scipy.optimize import minimize

    settings, names = task.settings, [p.name for p in task.prepared.system.parameters]
    program = task.prepared.training(GRADIENT_RULE, task.watched)
    runner = task.prepared.runner(task.network, program, task.data.arrays, task.plan(0))
    shapes = {name: task.network.kept[name].shape for name in names}
    order = np.arange(task.data.rows, dtype=np.int64)
    values = {**values_of(program, settings.hyper), "eta": 0.0, "step": 1.0, "steps": 1.0}
    table = {n: np.full(1, v) for n, v in values.items()}
    state = runner.state()

    def unpacked(numbers: Array) -> dict[str, Array]:
        parts = np.split(numbers, np.cumsum([int(np.prod(shapes[name])) for name in names])[:-1])
        return {name: part.reshape(shapes[name]) for name, part in zip(names, parts, strict=True)}

    def loss_and_gradient(numbers: Array) -> tuple[float, Array]:
        runner.restore({**state, **unpacked(numbers)})
        report = runner.epoch(order, task.data.rows, table, Silent())
        if report.failed_step is not None:
            return np.inf, np.zeros_like(numbers)
        made = runner.state()
        gradient = np.concatenate([made[f"q_{name}"].ravel() for name in names])
        return task.reported(report.means()), gradient.astype(np.float64)

    packed = np.concatenate([task.network.kept[name].ravel() for name in names]).astype(np.float64)
    options = {"maxfun": settings.max_fun, "maxiter": settings.max_iter, "gtol": settings.tol}
    found = minimize(loss_and_gradient, packed, method="L-BFGS-B", jac=True, options=options)
    if not (np.isfinite(found.fun) and np.isfinite(found.x).all()):
        raise SettingError(say("sklearn.diverged", epoch=found.nit))
    task.network.keep({n: a.astype(task.network.dtype) for n, a in unpacked(found.x).items()})
    task.course.epochs = max(1, min(int(found.nit), settings.max_iter))
    if settings.verbose:
        print(say("sklearn.iteration", number=task.course.epochs, loss=f"{found.fun:.8f}"), file=sys.stdout)
    if not found.success:
        _warn_of_limit(task.course.epochs)
    return float(found.fun)
