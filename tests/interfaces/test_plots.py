"""Pictures: they are drawn, in a size that fits, in words that can be drawn."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from chainrule.errors import FileError
from chainrule.interfaces import plots
from chainrule.messages import set_language
from chainrule.training.watch import History


def history(epochs: int = 3, **series: float) -> History:
    made = History()
    for epoch in range(epochs):
        made.add(epoch, {name: value / (epoch + 1) for name, value in series.items()}, 0.1)
    return made


def pixels(path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), dtype=int)


def width(path) -> int:
    return pixels(path).shape[1]


def has_colour(path, colour: str) -> bool:
    wanted = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    return bool((np.abs(pixels(path) - wanted).sum(axis=2) < 12).any())


def test_one_panel_a_quantity(tmp_path):
    plots.save_curves(history(loss=1.0), tmp_path / "one.png")
    plots.save_curves(history(loss=1.0, accuracy=0.5), tmp_path / "two.png")
    one, two = (width(tmp_path / name) for name in ("one.png", "two.png"))
    assert two == pytest.approx(2 * one, abs=2)


def test_training_validation_and_test_are_all_there(tmp_path):
    plots.save_curves(history(loss=1.0, val_loss=1.2), tmp_path / "with.png", test={"loss": 0.6})
    plots.save_curves(history(loss=1.0), tmp_path / "without.png")
    assert has_colour(tmp_path / "with.png", plots.TRAINING)
    assert has_colour(tmp_path / "with.png", plots.VALIDATION)
    assert not has_colour(tmp_path / "without.png", plots.VALIDATION)


@pytest.mark.parametrize("epochs", [1, 2, 400])
def test_any_number_of_epochs(tmp_path, epochs):
    plots.save_curves(history(epochs, loss=1.0, accuracy=0.5), tmp_path / "curves.png")
    assert has_colour(tmp_path / "curves.png", plots.TRAINING)


def test_korean_where_a_font_can_draw_it_else_english(tmp_path, monkeypatch):
    set_language("ko")
    try:
        monkeypatch.setattr(plots, "_korean_font", lambda: None)
        assert plots._label("loss") == "loss"
        plots.save_curves(history(loss=1.0), tmp_path / "curves.png")  # a missing glyph would be a warning, so an error
        # STIX comes with matplotlib: a font that is there on every machine, in place of a Korean one.
        monkeypatch.setattr(plots, "_korean_font", lambda: "STIXGeneral")
        assert plots._label("loss") == "손실"
        figures = []
        monkeypatch.setattr(plots, "_write", lambda figure, path: figures.append(figure))
        plots.save_curves(history(loss=1.0), tmp_path / "curves.png")
        plots.save_digits(np.zeros((1, 784), np.uint8), tmp_path / "digits.png", titles=["영"])
        texts = [text for figure in figures for axes in figure.axes for text in (axes.title, axes.xaxis.label)]
        assert all(text.get_fontfamily()[0] == "STIXGeneral" for text in texts)
    finally:
        set_language(None)


def test_digits_in_rows_of_ten_and_pairs(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 784)).astype(np.uint8)
    plots.save_digits(images, tmp_path / "digits.png", titles=[str(n) for n in range(12)])
    plots.save_rebuilt(images, images / 255, tmp_path / "pairs.png", (28, 28))
    assert width(tmp_path / "digits.png") == width(tmp_path / "pairs.png")
    plots.save_digits(images[:1], tmp_path / "one.png")


@pytest.mark.parametrize(
    ("shape", "drawn"), [((5, 784), (28, 28)), ((5, 3, 4), (3, 4)), ((5, 7), (1, 7)), ((5,), (1, 1))]
)
def test_the_shape_of_an_image(shape, drawn):
    assert plots.image_shape(np.zeros(shape)) == drawn


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        plots.save_curves(history(loss=1.0), tmp_path / "absent" / "curves.png")


def test_a_validation_that_not_every_epoch_has(tmp_path):
    made = history(loss=1.0)
    made.add(3, {"loss": 0.2, "val_loss": 0.3}, 0.1)
    plots.save_curves(made, tmp_path / "curves.png")
    assert has_colour(tmp_path / "curves.png", plots.VALIDATION)
