"""Draws the images of this folder: circles, squares and triangles of 16 × 16 pixels, on noise.

python examples/shapes/draw.py
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE, COUNT, SCALE = 16, 40, 4  # drawn four times as large, so that edges become smooth


def shape(name: str, random: np.random.Generator) -> Image.Image:
    """One image: the shape is bright, its size and place are drawn."""
    image = Image.new("L", (SIDE * SCALE, SIDE * SCALE), 0)
    radius = int(random.integers(4, 7)) * SCALE
    x, y = (int(v) * SCALE for v in random.integers(7, 10, 2))
    box = (x - radius, y - radius, x + radius, y + radius)
    draw = ImageDraw.Draw(image)
    if name == "circle":
        draw.ellipse(box, fill=200)
    elif name == "square":
        draw.rectangle(box, fill=200)
    else:
        draw.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=200)
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.int64)
    return Image.fromarray((small + random.integers(0, 50, small.shape)).astype(np.uint8))


if __name__ == "__main__":
    for number, name in enumerate(("circle", "square", "triangle")):
        folder = Path(__file__).parent / name
        folder.mkdir(exist_ok=True)
        for k in range(COUNT):
            shape(name, np.random.default_rng([number, k])).save(folder / f"{k:02}.png", optimize=True)
