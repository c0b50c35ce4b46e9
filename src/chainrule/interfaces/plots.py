"""Pictures of a training, with matplotlib and without a window.

Colours tell the two series apart also for colour-blind readers and in print: blue solid for training, orange dashed for
validation, a dark diamond for the test.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.messages import catalogue, language
from chainrule.training.files import write_bytes

if TYPE_CHECKING:
    from chainrule.training.watch import History

Array = np.ndarray[Any, Any]

TRAINING, VALIDATION, TEST, GRID = "#1f5fa8", "#d9771f", "#333333", "#dddddd"
DOTS_PER_INCH = 150
# Fonts with Hangul that systems bring along; matplotlib's own has none.
KOREAN_FONTS = (
    "Noto Sans KR",
    "Noto Sans CJK KR",
    "NanumGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
)
PER_ROW = 10


def save_curves(history: History, path: str | Path, *, test: Mapping[str, float] | None = None) -> None:
    """Loss and accuracy after each epoch as a PNG; `test` is what the final weights reach on the test data.

    Raises: FileError where the file cannot be written.
    """
    names = [n for n in history.history if not n.startswith("val_") and n != "seconds"]
    figure = _figure(4.6 * len(names), 3.6)
    epochs = [epoch + 1 for epoch in history.epoch]
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), place)
        _curve(axes, epochs, name, history.history, (test or {}).get(name))
    _write(figure, path)


def _curve(
    axes: Any, epochs: Sequence[int], name: str, series: Mapping[str, Sequence[float]], test: float | None
) -> None:
    mark = {"marker": "o", "markersize": 4} if len(epochs) <= 50 else {}
    axes.plot(epochs, series[name], color=TRAINING, linewidth=2, label=_label("training"), **mark)
    if f"val_{name}" in series:
        held_out = series[f"val_{name}"]
        axes.plot(epochs, held_out, color=VALIDATION, linewidth=2, linestyle="--", label=_label("validation"), **mark)
    if test is not None:
        label = f"{_label('test')} {test:.4f}"
        axes.plot(epochs[-1:], [test], color=TEST, linestyle="none", marker="D", markersize=6, label=label)
    axes.set_title(_label(name), fontsize=12)
    axes.set_xlabel(_label("epoch"))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def save_digits(
    images: Array, path: str | Path, *, shape: tuple[int, int] | None = None, titles: Sequence[str] | None = None
) -> None:
    """Images (N, pixels) in rows of ten as a PNG, dark on light, each with its title."""
    _save_rows([images[start : start + PER_ROW] for start in range(0, len(images), PER_ROW)], path, shape, titles)


def save_rebuilt(images: Array, rebuilt: Array, path: str | Path, shape: tuple[int, int] | None = None) -> None:
    """Images above what an autoencoder made of them, ten pairs at most, as a PNG."""
    _save_rows([images[:PER_ROW], rebuilt[:PER_ROW]], path, shape, None)


def image_shape(images: Array) -> tuple[int, int]:
    """(rows, columns) of images (N, rows, columns), or of square ones (N, pixels); else one line of pixels."""
    if images.ndim == 3:
        return (int(images.shape[1]), int(images.shape[2]))
    pixels = int(np.prod(images.shape[1:]))
    side = round(pixels**0.5)
    return (side, side) if side * side == pixels else (1, pixels)


def _save_rows(
    rows: Sequence[Array], path: str | Path, shape: tuple[int, int] | None, titles: Sequence[str] | None
) -> None:
    columns = max(len(row) for row in rows)
    figure = _figure(0.75 * columns, (0.95 if titles else 0.75) * len(rows))
    for line, images in enumerate(rows):
        white = 255.0 if images.dtype == np.uint8 else max(1.0, float(np.max(images)))
        for column, image in enumerate(images):
            axes = figure.add_subplot(len(rows), columns, line * columns + column + 1)
            pixels = np.reshape(image, shape or image_shape(images))
            axes.imshow(pixels, cmap="gray_r", interpolation="nearest", vmin=0, vmax=white)
            axes.set_axis_off()
            if titles:
                axes.set_title(titles[line * PER_ROW + column], fontsize=9)
    _write(figure, path)


def _figure(width: float, height: float) -> Any:
    # Figure itself, not pyplot: no window system is looked for, and no state is left behind.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def _write(figure: Any, path: str | Path) -> None:
    import matplotlib

    font = _font()
    family = {"font.family": [font, "DejaVu Sans"]} if font else {}
    picture = io.BytesIO()
    with matplotlib.rc_context(family):
        figure.savefig(picture, format="png")
    write_bytes(Path(path), picture.getvalue())


def _label(name: str) -> str:
    """A word for the picture: the user's, or English where no font here can draw Hangul."""
    drawn = "ko" if language() == "ko" and _korean_font() else "en"
    words = catalogue(drawn, "interfaces")
    return words.get(f"plot_{name}", name)


def _font() -> str | None:
    return _korean_font() if language() == "ko" else None


@cache
def _korean_font() -> str | None:
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in KOREAN_FONTS if name in there), None)
