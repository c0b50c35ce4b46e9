"""The tables as tables: names, sources, hyper-parameters, the lookup and its errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pytest

from chainrule.errors import SettingError
from chainrule.formula.functions import FUNCTIONS
from chainrule.library import (
    ACTIVATIONS,
    INITIALIZERS,
    LOSSES,
    METRICS,
    OPTION_ALIASES,
    PARAMETER_RULES,
    SCHEDULES,
    UPDATES,
    Initializer,
    Row,
    find,
)
from chainrule.messages import LANGUAGES, catalogue, set_language

TABLES: dict[str, Mapping[str, Row]] = {
    "activations": ACTIVATIONS,
    "initializers": INITIALIZERS,
    "losses": LOSSES,
    "metrics": METRICS,
    "parameter_rules": PARAMETER_RULES,
    "schedules": SCHEDULES,
    "updates": UPDATES,
}
ROWS = [pytest.param(row, id=f"{name}-{row.name}") for name, rows in TABLES.items() for row in rows.values()]

NOTATION = {*FUNCTIONS, "sum", "mean", "max", "min", "softmax", "log_softmax", "where", "sqrt", "size", "pi", "norm"}
NAMED = {"E", "k", "l", "i"}
GIVEN = {
    "activation": {"a"},
    "loss": {"t", "p", "y"},
    "metric": {"t", "p", "y"},
    "schedule": {"step", "steps", "eta0"},
    "update": {"w", "g", "step", "t", "y", "x", "b"},
    "initializer": {"fan_in", "fan_out"},
}


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    set_language("en")
    yield
    set_language(None)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_a_source(row: Row) -> None:
    assert re.search(r"\d{4}|Keras 3", row.source)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_named_after_a_framework_says_so(row: Row) -> None:
    """Nobody reads keras_adam without learning whose formula it is."""
    for prefix, framework in (("keras_", "Keras"), ("torch_", "PyTorch")):
        if any(name.startswith(prefix) for name in (row.name, *row.aliases)):
            assert framework in row.source + row.differs


@pytest.mark.parametrize("row", ROWS)
def test_the_defaults_are_exactly_the_hyper_parameters(row: Row) -> None:
    text = " ".join(row.bounds) if isinstance(row, Initializer) else getattr(row, "formula")  # a union
    text += "\n" + getattr(row, "value", "")
    assigned = {m[1] for m in re.finditer(r"^([^\W\d]\w*)(?:\[\w+\])? (?:<-|=) ", text, re.MULTILINE)}
    hyper = set(re.findall(r"(?<![\w.])[^\W\d]\w*", text)) - assigned - GIVEN[row.kind] - NOTATION - NAMED
    assert hyper == set(row.defaults)


@pytest.mark.parametrize("name", TABLES)
def test_no_two_rows_answer_to_one_name(name: str) -> None:
    spellings = [s.replace("_", "") for row in TABLES[name].values() for s in (row.name, *row.aliases)]
    assert len(spellings) == len(set(spellings))
    assert all(key == row.name for key, row in TABLES[name].items())


def test_the_learning_rate_is_always_eta() -> None:
    assert all("eta" in row.defaults for row in [*UPDATES.values(), *PARAMETER_RULES.values()])
    assert OPTION_ALIASES["learning_rate"] == "eta"


def test_what_the_project_promises_is_there() -> None:
    activations = (
        "linear step sigmoid tanh relu leaky_relu elu selu gelu swish softplus softsign softmax mish celu relu6"
    )
    assert set(activations.split()) <= set(ACTIVATIONS)
    assert {"gradient_descent", "momentum", "momentum_look_ahead", "nesterov", "adagrad", "rmsprop"} <= set(UPDATES)
    assert {"adam", "adamw"} <= set(UPDATES)
    assert {"zeros", "uniform", "normal", "glorot_uniform", "he_normal"} <= set(INITIALIZERS)


@pytest.mark.parametrize(
    ("table", "spelling", "name"),
    [
        ("activations", "SiLU", "swish"),
        ("activations", "Leaky-ReLU", "leaky_relu"),
        ("losses", "MSE", "mean_squared_error"),
        ("losses", "categorical_crossentropy", "categorical_cross_entropy"),
        ("losses", "kl divergence", "kl_divergence"),
        ("losses", "keras_categorical_crossentropy", "categorical_cross_entropy"),
        ("losses", "keras_mae", "averaged_absolute_error"),
        ("losses", "mean_absolute_percentage_error", "mean_absolute_percentage_error"),
        ("updates", "keras_adam", "keras_adam"),
        ("updates", "torch_adam", "adam"),
        ("activations", "hard_silu", "hard_swish"),
        ("activations", "LogSigmoid", "log_sigmoid"),
        ("initializers", "keras_he_normal", "keras_he_normal"),
        ("metrics", "F1", "f1"),
        ("metrics", "sparse_top_k_categorical_accuracy", "label_top_k_accuracy"),
        ("updates", "SGD", "gradient_descent"),
        ("updates", "RMSprop", "rmsprop"),
        ("initializers", "XavierUniform", "glorot_uniform"),
        ("initializers", "kaiming_normal", "he_normal"),
        ("schedules", "cosine annealing", "cosine"),
        ("metrics", "acc", "accuracy"),
        ("parameter_rules", "perceptron", "perceptron_rule"),
    ],
)
def test_find_forgives_spelling(table: str, spelling: str, name: str) -> None:
    assert find(TABLES[table], spelling).name == name


def test_an_unknown_name_gets_the_nearest_one_and_the_list() -> None:
    with pytest.raises(SettingError) as caught:
        find(ACTIVATIONS, "sigmod")
    assert str(caught.value) == (
        f"unknown activation 'sigmod', did you mean 'sigmoid'? Choose one of {', '.join(ACTIVATIONS)}"
    )


def test_a_near_alias_suggests_the_row_it_belongs_to() -> None:
    with pytest.raises(SettingError, match="did you mean 'glorot_uniform'"):
        find(INITIALIZERS, "xavier_unifrom")


def test_a_name_far_from_all_gets_the_list() -> None:
    with pytest.raises(SettingError) as caught:
        find(PARAMETER_RULES, "qqq")
    assert str(caught.value) == "unknown update rule 'qqq': choose one of perceptron_rule"


def test_in_korean() -> None:
    set_language("ko")
    with pytest.raises(SettingError, match="알 수 없는 갱신 규칙: 'adan'"):
        find(UPDATES, "adan")


def test_both_languages_say_the_same() -> None:
    english, korean = (catalogue(language, "library") for language in LANGUAGES)
    placeholders = {key: set(re.findall(r"{\w+}", text)) for key, text in english.items()}
    assert placeholders == {key: set(re.findall(r"{\w+}", text)) for key, text in korean.items()}
    assert {row.kind for rows in TABLES.values() for row in rows.values()} <= set(english)
