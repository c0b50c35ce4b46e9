"""chainrule.sklearn beside scikit-learn: scores of cross-validation, paired fold by fold, and times to fit.

    python -m benchmarks.sklearn_quality [--seeds 5] [--table mlp|tabular]      in an environment with scikit-learn

Two tables. `mlp`: the perceptrons with default settings, on scikit-learn's own sets, raw and behind a StandardScaler.
`tabular`: the Tabular estimators beside scikit-learn's perceptron and its HistGradientBoosting, on the same sets and on
two made tables with words, gaps and interactions. Both sides fit the same rows one after the other in one process, so
that what else the machine does meets both; a ratio of times is the median over the folds, and that of the processor's
time (all threads) says most where others use the machine. Every text is compiled once
before; how long that took is given apart.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.machine import machine, versions

RESULTS = Path(__file__).parent / "results" / "sklearn.json"
FOLDS = 5
Data = tuple[Any, Any]
Makers = Mapping[str, Callable[[int], Any]]  # seed → estimator; the first is chainrule's


def shipped() -> dict[str, tuple[bool, Data]]:
    """name: (whether classes are told apart, (X, y))."""
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

    loaders = {"digits": load_digits, "breast_cancer": load_breast_cancer, "wine": load_wine, "diabetes": load_diabetes}
    return {name: (name != "diabetes", load(return_X_y=True)) for name, load in loaders.items()}


def made(rows: int = 1500) -> dict[str, tuple[bool, Data]]:
    """Tables with words of 12 and 60 levels, gaps, and effects of pairs: as object arrays."""
    rng = np.random.default_rng(0)
    place, trade = rng.integers(0, 12, rows), rng.integers(0, 60, rows)
    numbers = rng.normal(size=(rows, 4))
    effect = (
        rng.normal(size=12)[place] + rng.normal(size=60)[trade] * (numbers[:, 0] > 0) + numbers[:, 1] * numbers[:, 2]
    )
    noisy = effect + 0.5 * rng.normal(size=rows)
    table = np.empty((rows, 6), dtype=object)
    table[:, :4] = numbers
    table[:, 4] = [f"place {p}" for p in place]
    table[:, 5] = [f"trade {t}" for t in trade]
    table[rng.uniform(size=table.shape) < 0.05] = None
    return {"made_classes": (True, (table, (noisy > 0).astype(int))), "made_numbers": (False, (table, noisy))}


def perceptrons(classes: bool, scaled: bool) -> Makers:
    """The perceptrons with default settings."""
    from sklearn.neural_network import MLPClassifier as OwnClassifier
    from sklearn.neural_network import MLPRegressor as OwnRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from chainrule.sklearn import MLPClassifier, MLPRegressor

    ours, own = (MLPClassifier, OwnClassifier) if classes else (MLPRegressor, OwnRegressor)

    def wrapped(kind: Any, **options: Any) -> Callable[[int], Any]:
        if scaled:
            return lambda seed: make_pipeline(StandardScaler(), kind(random_state=seed, **options))
        return lambda seed: kind(random_state=seed, **options)

    return {
        "chainrule": wrapped(ours),
        "chainrule float32": wrapped(ours, dtype="float32"),
        "scikit-learn MLP": wrapped(own),
    }


def tables(classes: bool, words: bool) -> Makers:
    """The Tabular estimators, and what a user of scikit-learn would write for the same table."""
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

    from chainrule.sklearn import TabularClassifier, TabularRegressor

    ours, mlp, trees = (
        (TabularClassifier, MLPClassifier, HistGradientBoostingClassifier)
        if classes
        else (TabularRegressor, MLPRegressor, HistGradientBoostingRegressor)
    )

    def floats(X: Any) -> Any:
        return np.array([[np.nan if v is None else v for v in row] for row in X], dtype=np.float64)

    def strings(X: Any) -> Any:
        return np.array([["none" if v is None else v for v in row] for row in X], dtype=object)

    def columns(encoder: Any) -> Any:
        numbers = make_pipeline(FunctionTransformer(floats), SimpleImputer(add_indicator=True), StandardScaler())
        return ColumnTransformer(
            [
                ("numbers", numbers, [0, 1, 2, 3]),
                ("words", make_pipeline(FunctionTransformer(strings), encoder), [4, 5]),
            ],
            sparse_threshold=0.0,
        )

    def own_mlp(seed: int) -> Any:
        first = columns(OneHotEncoder(handle_unknown="ignore")) if words else StandardScaler()
        return make_pipeline(first, mlp(random_state=seed))

    def own_trees(seed: int) -> Any:
        if not words:
            return trees(random_state=seed)
        codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
        plain = ColumnTransformer(
            [("numbers", FunctionTransformer(floats), [0, 1, 2, 3]),
             ("words", make_pipeline(FunctionTransformer(strings), codes), [4, 5])]
        )  # fmt: skip
        return make_pipeline(plain, trees(random_state=seed, categorical_features=[4, 5]))

    return {
        "chainrule": lambda seed: ours(random_state=seed),
        "scikit-learn MLP": own_mlp,
        "HistGradientBoosting": own_trees,
    }


def compare(makers: Makers, classes: bool, data: Data, seeds: int) -> dict[str, Any]:
    """Scores and seconds of each maker on each fold."""
    from sklearn.model_selection import KFold, StratifiedKFold

    X, y = data
    first = next(iter(makers))
    began = time.perf_counter()
    for name, make in makers.items():
        if name.startswith("chainrule"):
            make(0).fit(X, y)
    compiled = time.perf_counter() - began
    scores: dict[str, list[float]] = {name: [] for name in makers}
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    cpu: dict[str, list[float]] = {name: [] for name in makers}
    for seed in range(seeds):
        splitter = (StratifiedKFold if classes else KFold)(FOLDS, shuffle=True, random_state=seed)
        for learn, judge in splitter.split(X, y):
            for name, make in makers.items():
                model = make(seed)
                start, processor = time.perf_counter(), time.process_time()
                model.fit(X[learn], y[learn])
                seconds[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - processor)
                scores[name].append(float(model.score(X[judge], y[judge])))
    found: dict[str, Any] = {"first_fits_seconds": compiled, "sides": {}}
    ours = np.array(scores[first])
    for name in makers:
        theirs = np.array(scores[name])
        difference = ours - theirs
        found["sides"][name] = {
            "score": float(theirs.mean()),
            "seconds_to_fit": float(np.median(seconds[name])),
            "cpu_seconds_to_fit": float(np.median(cpu[name])),
            "ours_minus_theirs": float(difference.mean()),
            "standard_error": float(difference.std(ddof=1) / np.sqrt(len(difference))),
            "times_as_long": float(np.median(np.array(seconds[name]) / np.array(seconds[first]))),
            "times_the_cpu": float(np.median(np.array(cpu[name]) / np.array(cpu[first]))),
        }
    return found


def text(title: str, found: Mapping[str, Any]) -> str:
    """The lines of one set."""
    lines = [title]
    for name, side in found["sides"].items():
        line = f"  {name:22s} {side['score']:8.4f}   {1e3 * side['seconds_to_fit']:8.0f} ms"
        if side["times_as_long"] != 1.0:  # chainrule itself
            line += f" ({side['times_as_long']:.1f} × ours, processor {side['times_the_cpu']:.1f} ×)"
            line += f"   ours − theirs {side['ours_minus_theirs']:+.4f} ± {side['standard_error']:.4f}"
        lines.append(line)
    return "\n".join(lines)


@click.command()
@click.option("--seeds", default=5, show_default=True, help="Cross-validations, each with its own folds.")
@click.option("--table", "wanted", type=click.Choice(("mlp", "tabular")), multiple=True, help="Only this one.")
@click.option("--set", "sets", multiple=True, help="Only this data set.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="The file.")
def main(seeds: int, wanted: Sequence[str], sets: Sequence[str], results: Path) -> None:
    """Compare, print the tables, and keep them with machine and versions; other sets in the file stay."""
    warnings.simplefilter("ignore")
    kept: dict[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    for table in wanted or ("mlp", "tabular"):
        everything = shipped() | (made() if table == "tabular" else {})
        for name, (classes, data) in everything.items():
            if sets and name not in sets:
                continue
            for scaled in (False, True) if table == "mlp" else (False,):
                makers = perceptrons(classes, scaled) if table == "mlp" else tables(classes, name.startswith("made"))
                title = f"{table} {name}" + (" scaled" if scaled else "")
                found = compare(makers, classes, data, seeds)
                found |= {"when": datetime.now(UTC).isoformat(timespec="seconds"), "seeds": seeds, "folds": FOLDS}
                kept[title] = found
                click.echo(text(title, found))
                stamp = {"machine": machine(), "versions": versions()}
                results.parent.mkdir(parents=True, exist_ok=True)
                results.write_text(json.dumps({**kept, **stamp}, indent=1) + "\n")


if __name__ == "__main__":
    main()
