"""Pictures of a training, and what all pictures share: palette, fonts, files. matplotlib, without a window.

Colours tell the two series apart also for colour-blind readers and in print: blue solid for training, orange dashed for
validation, a dark diamond for the test. What has a sign goes from orange (negative) over white to blue (positive).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import SettingError
from chainrule.messages import catalogue, language, say
from chainrule.training.files import write_bytes

if TYPE_CHECKING:
    from chainrule.training.watch import History

Array = np.ndarray[Any, Any]

TRAINING, VALIDATION, TEST, GRID = "#1f5fa8", "#d9771f", "#333333", "#dddddd"
POSITIVE, NEGATIVE, INK, FAINT = TRAINING, VALIDATION, "#1c2430", "#9aa3af"
DOTS_PER_INCH = 150
GIF_DOTS_PER_INCH = 100  # frames add up
FORMATS = ("svg", "png", "pdf")
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
    names = [
        n
        for n in history.history
        if not n.startswith("val_") and n != "seconds" and np.ndim(history.history[n][-1]) == 0
    ]
    with fonts():
        figure = new_figure(4.6 * len(names), 3.6)
        for place, name in enumerate(names, start=1):
            axes = figure.add_subplot(1, len(names), place)
            _curve(axes, history, name, (test or {}).get(name))
        _write(figure, path)


def _curve(axes: Any, history: History, name: str, test: float | None) -> None:
    def points(of: str) -> tuple[list[int], list[float]]:
        """A validation may come with some epochs only."""
        known = [(n + 1, row[of]) for n, row in zip(history.epoch, history.rows, strict=True) if of in row]
        return [n for n, _ in known], [value for _, value in known]

    epochs = [n + 1 for n in history.epoch]
    mark = {"marker": "o", "markersize": 4} if len(epochs) <= 50 else {}
    axes.plot(*points(name), color=TRAINING, linewidth=2, label=_label("training"), **mark)
    if f"val_{name}" in history.history:
        held_out = points(f"val_{name}")
        axes.plot(*held_out, color=VALIDATION, linewidth=2, linestyle="--", label=_label("validation"), **mark)
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
    images: Array, path: str | Path, *, shape: tuple[int, ...] | None = None, titles: Sequence[str] | None = None
) -> None:
    """Images (N, pixels) in rows of ten as a PNG, dark on light, each with its title."""
    _save_rows([images[start : start + PER_ROW] for start in range(0, len(images), PER_ROW)], path, shape, titles)


def save_rebuilt(images: Array, rebuilt: Array, path: str | Path, shape: tuple[int, ...] | None = None) -> None:
    """Images above what an autoencoder made of them, ten pairs at most, as a PNG."""
    _save_rows([images[:PER_ROW], rebuilt[:PER_ROW]], path, shape, None)


def image_shape(images: Array) -> tuple[int, ...]:
    """(rows, columns) of images (N, rows, columns), or of square ones (N, pixels); else one line of pixels."""
    if images.ndim == 4:
        return tuple(map(int, images.shape[1:]))
    if images.ndim == 3:
        return (int(images.shape[1]), int(images.shape[2]))
    pixels = int(np.prod(images.shape[1:]))
    side = round(pixels**0.5)
    return (side, side) if side * side == pixels else (1, pixels)


def _save_rows(
    rows: Sequence[Array], path: str | Path, shape: tuple[int, ...] | None, titles: Sequence[str] | None
) -> None:
    columns = max(len(row) for row in rows)
    with fonts():
        figure = new_figure(0.75 * columns, (0.95 if titles else 0.75) * len(rows))
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


# --- what all pictures share ------------------------------------------------------------------------------------------


def new_figure(width: float, height: float, layout: str | None = "constrained") -> Any:
    """A figure of so many inches that belongs to no window: not pyplot's, whose state would stay behind."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DOTS_PER_INCH, facecolor="white", layout=layout)


@contextmanager
def fonts() -> Iterator[None]:
    """Texts made or drawn inside have letters of the user's language; the same picture is the same SVG each time."""
    import matplotlib

    korean = _korean_font()
    # In English the Korean font is there for names such as 키[i]: what the first lacks is taken from the second.
    families = [korean, "DejaVu Sans"] if language() == "ko" else ["DejaVu Sans", korean]
    settings: dict[str, Any] = {"svg.hashsalt": "chainrule", "font.family": [f for f in families if f is not None]}
    with matplotlib.rc_context(settings):
        yield


def save_figure(figure: Any, path: str | Path) -> None:
    """Write a picture in the format that the file's name ends with: .svg, .png or .pdf.

    Raises: SettingError for another ending, FileError where the file cannot be written.
    """
    suffix = check_suffix(path, FORMATS)
    write_bytes(Path(path), picture_bytes(figure, suffix))


def picture_bytes(figure: Any, form: str, dots: int = DOTS_PER_INCH) -> bytes:
    """The picture as a file's content; `form` is one of FORMATS, `dots` are those of an inch."""
    picture = io.BytesIO()
    # A file made twice is the same file: no time stands in it.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form)
    with fonts():
        figure.savefig(picture, format=form, metadata=metadata, dpi=dots)
    return picture.getvalue()


def check_suffix(path: str | Path, known: Sequence[str]) -> str:
    """The ending of a file's name, without its dot. Raises: SettingError where it is none of `known`."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in known:
        raise SettingError(say("pictures.suffix", path=path, known=", ".join(f".{s}" for s in known)))
    return suffix


def save_gif(figures: Sequence[Any], path: str | Path, *, milliseconds: int = 1200) -> None:
    """Write figures of one size as a GIF that repeats; the last one stays twice as long.

    Raises: SettingError for a name that does not end in .gif, FileError where the file cannot be written.
    """
    from PIL import Image

    check_suffix(path, ("gif",))
    frames = []
    for figure in figures:
        with Image.open(io.BytesIO(picture_bytes(figure, "png", GIF_DOTS_PER_INCH))) as image:
            # Dots between two of 128 colours would flicker from frame to frame.
            frames.append(image.convert("RGB").quantize(128, dither=Image.Dither.NONE))
    picture = io.BytesIO()
    durations = [milliseconds] * (len(frames) - 1) + [2 * milliseconds]
    frames[0].save(picture, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, disposal=1)
    write_bytes(Path(path), picture.getvalue())


@cache
def diverging() -> Any:
    """The colours of what has a sign: orange, white in the middle, blue; both ends equally dark, also in print."""
    from matplotlib.colors import LinearSegmentedColormap

    ends = ["#8a4200", NEGATIVE, "#f6c79a", "#ffffff", "#a9c8ea", POSITIVE, "#0d3566"]
    return LinearSegmentedColormap.from_list("orange_blue", ends)


@cache
def rising() -> Any:
    """The colours of what has no sign: white to blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blues", ["#ffffff", "#d3e4f5", "#7fb0de", POSITIVE])


def word(key: str, **values: object) -> str:
    """A text of a picture: in the user's language, or in English where no font here can draw Hangul."""
    chapter, _, name = key.partition(".")
    return catalogue(_drawn_language(), chapter)[name].format(**values)


def _drawn_language() -> str:
    return "ko" if language() == "ko" and _korean_font() else "en"


def _write(figure: Any, path: str | Path) -> None:
    write_bytes(Path(path), picture_bytes(figure, "png"))


def _label(name: str) -> str:
    return catalogue(_drawn_language(), "interfaces").get(f"plot_{name}", name)


@cache
def _korean_font() -> str | None:
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in KOREAN_FONTS if name in there), None)
