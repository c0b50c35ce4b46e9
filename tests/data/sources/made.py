"""Rows whose numbers say which row they are, in every kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from chainrule.data.sources import Source, stream

ROWS, WIDTH = 331, 5
GROUP = 17  # rows of a Parquet file's groups

KINDS = ("npy", "npz", "npz packed", "arrays", "blocks", "column", "parquet", "two parquets", "images")


def table(rows: int = ROWS) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """x (N, 5) and t (N,) with t the row's number and x what belongs to it."""
    t = np.arange(rows)
    x = (np.arange(WIDTH) + 10 * t[:, None]).astype(np.float32)
    return x, t


def write_parquet(path: Path, x: Any, t: Any, group: int = GROUP) -> Path:
    columns = {f"c{k}": x[:, k] for k in range(x.shape[1])} | {"y": t}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=group)
    return path


def write_images(folder: Path, rows: int = ROWS) -> Path:
    """Three classes of 4 × 3 images; a pixel pair of each says which it is."""
    for row in range(rows):
        place = folder / "abc"[row % 3]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.full((4, 3), 7, np.uint8)
        pixels[0, :2] = divmod(row, 256)
        Image.fromarray(pixels).save(place / f"{row:05}.png")
    return folder


def make(kind: str, folder: Path, memory: str | int = "8MB") -> Source:
    """A source of that kind over the rows of `table`; images have their own. Files are written once."""
    where = folder / kind
    if not where.exists():
        where.mkdir()
        write(kind, where)
    if kind == "npy":
        return stream((where / "x.npy", where / "t.npy"), memory=memory)
    if kind in ("npz", "npz packed"):
        return stream(where / "a.npz", target="y", memory=memory)
    if kind == "column":
        return stream(where / "all.npy", target=2, memory=memory)
    if kind == "parquet":
        return stream(where / "a.parquet", target="y", memory=memory)
    if kind == "two parquets":
        return stream(str(where), target="y", memory=memory)
    if kind == "images":
        return stream(where, memory=memory)
    x, t = table()
    return stream((x, t), memory=memory, shuffle="blocks" if kind == "blocks" else "auto")


def write(kind: str, folder: Path) -> None:
    """The files of that kind."""
    x, t = table()
    if kind == "npy":
        np.save(folder / "x.npy", x)
        np.save(folder / "t.npy", t)
    elif kind == "npz":
        np.savez(folder / "a.npz", y=t, x=x)
    elif kind == "npz packed":
        np.savez_compressed(folder / "a.npz", x=x, y=t)
    elif kind == "column":
        np.save(folder / "all.npy", np.concatenate([x[:, :2], t[:, None], x[:, 2:]], axis=1))
    elif kind == "parquet":
        write_parquet(folder / "a.parquet", x, t)
    elif kind == "two parquets":
        write_parquet(folder / "1.parquet", x[:100], t[:100])
        write_parquet(folder / "2.parquet", x[100:], t[100:], 50)
    elif kind == "images":
        write_images(folder)


def numbers(source: Source, order: Any, skip: int = 0) -> list[int]:
    """Which rows an epoch gives, in its order; that each is the row that it says is asserted."""
    found: list[int] = []
    for block in source.blocks(order, skip):
        assert set(block) == set(source.fields)
        lengths = {len(array) for array in block.values()}
        assert len(lengths) == 1 and lengths != {0}
        for name, array in block.items():
            field = source.fields[name]
            assert array.shape[1:] == field.shape and array.dtype == field.dtype
        first, last = block.values()
        if first.dtype == np.uint8:
            rows = first[:, 0, 0].astype(int) * 256 + first[:, 0, 1]
            assert (rows % 3 == last).all()
        else:
            rows = last.astype(int)
            assert (first == np.arange(WIDTH) + 10 * rows[:, None]).all()
        found += rows.tolist()
    return found
