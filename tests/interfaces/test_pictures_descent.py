"""Descent on functions: the points are those that the rules give by hand, and the words say what happened."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import FormulaError, SettingError
from chainrule.messages import set_language

WELLS = "x**4/4 - x**3/3 - x**2 + 0.5*x"


def texts(figure) -> str:
    panels = [axes.get_title() for axes in figure.axes]
    return "\n".join(panels)


def test_points_of_a_parabola_are_those_of_the_formula():
    # w ← w − η 2w = (1 − 2η) w
    path = cr.pictures.descent_path("x**2", 3.0, learning_rate=0.1, steps=6)
    assert path == pytest.approx(3 * 0.8 ** np.arange(7))


def test_momentum_by_hand():
    # v = −0.2, w = 0.8; v = −0.18 − 0.16 = −0.34, w = 0.46; v = −0.306 − 0.092 = −0.398, w = 0.062
    path = cr.pictures.descent_path("x**2", 1.0, learning_rate=0.1, optimizer="momentum", steps=3)
    assert path == pytest.approx([1, 0.8, 0.46, 0.062])


def test_two_variables_move_each_by_their_own_slope():
    path = cr.pictures.descent_path("x**2 + 8*y**2", (2, 1), learning_rate=0.05, steps=5)
    k = np.arange(6)
    assert path == pytest.approx(np.stack([2 * 0.9**k, 0.2**k], axis=1))


def test_every_rule_of_the_library_goes_down_a_parabola():
    for name in cr.library.UPDATES:
        path = cr.pictures.descent_path("x**2", 1.0, learning_rate=0.01, optimizer=name, steps=20)
        assert 0 <= path[-1] ** 2 < 1, name


def test_a_path_that_leaves_ends_where_numbers_end():
    path = cr.pictures.descent_path("x**4", 10.0, learning_rate=1.0, steps=50)
    assert len(path) < 51
    assert np.all(np.isfinite(path))


def test_momentum_leaves_the_local_minimum_and_plain_descent_does_not():
    minima = [float(r.real) for r in np.roots([1, -1, -2, 0.5])]
    local, lowest = min(minima), max(minima)
    plain, rolling = (
        cr.pictures.descent_path(WELLS, -2.0, learning_rate=0.05, optimizer=rule, steps=400)
        for rule in ("gradient_descent", "momentum")
    )
    assert plain[-1] == pytest.approx(local, abs=1e-3)
    assert rolling[-1] == pytest.approx(lowest, abs=1e-3)


def test_three_learning_rates_without_being_asked():
    figure = cr.pictures.descent("x**2", 2.0)
    small, good, large = texts(figure).split("\n")[1::2]
    assert "still on its way" in small
    assert "at the minimum" in good
    assert "moves away" in large


def test_learning_rates_are_named_by_what_became_of_them():
    """The curvature at the start of a quartic says little of the valley: the rates are found by trying."""
    small, good, large = (axes.get_title().split("\n") for axes in cr.pictures.descent(WELLS, -2.0).axes)
    assert "too small" in small[0] and "on its way" in small[1]
    assert "good" in good[0] and "minimum" in good[1]
    assert "too large" in large[0] and "moves away" in large[1]


def test_flat_ground_is_no_minimum():
    title = cr.pictures.descent("exp(x)", 2.0, learning_rates=1.0).axes[0].get_title()
    assert "flat ground" in title


def test_the_drawn_stops_are_the_path():
    figure = cr.pictures.descent("x**2", 2.0, learning_rates=0.2, steps=7)
    stops = next(line for line in figure.axes[0].lines if line.get_marker() == "o")
    path = cr.pictures.descent_path("x**2", 2.0, learning_rate=0.2, steps=7)
    assert stops.get_xdata() == pytest.approx(path)
    assert stops.get_ydata() == pytest.approx(path**2)


def test_with_and_without_momentum_side_by_side():
    figure = cr.pictures.descent(
        WELLS, -2.0, optimizers=("gradient_descent", "momentum"), learning_rates=0.05, steps=300
    )
    plain, rolling = texts(figure).split("\n")[1::2]
    assert "local minimum" in plain
    assert "at the minimum" in rolling


def test_a_lower_minimum_next_door_is_in_view():
    figure = cr.pictures.descent(WELLS, -2.0, learning_rates=0.02, steps=300)
    low, high = figure.axes[0].get_xlim()
    assert low < -2 and high > max(np.roots([1, -1, -2, 0.5]).real)
    assert "local minimum" in texts(figure)


def test_korean_words(monkeypatch):
    from chainrule.interfaces import plots

    monkeypatch.setattr(plots, "_korean_font", lambda: "NanumGothic")
    set_language("ko")
    try:
        assert "걸음" in texts(cr.pictures.descent("x**2", 2.0))
    finally:
        set_language(None)


@pytest.mark.parametrize(
    ("formula", "start", "kind"),
    [
        ("2", 1.0, FormulaError),
        ("x*y*z", (1.0, 1, 1), FormulaError),
        ("x**", 1.0, FormulaError),
        ("x**2", (1.0, 2.0), SettingError),
        ("x**2", "left", SettingError),
        ("x**2", np.nan, SettingError),
        ("log(x)", -1.0, SettingError),
    ],
)
def test_what_cannot_be_descended_is_one_clear_line(formula, start, kind):
    with pytest.raises(kind):
        cr.pictures.descent(formula, start)


def test_bad_settings():
    for wrong in ({"steps": 0}, {"learning_rates": -1.0}, {"optimizers": "adamm"}, {"learning_rates": [0.1] * 9}):
        with pytest.raises(SettingError):
            cr.pictures.descent("x**2", 1.0, **wrong)
