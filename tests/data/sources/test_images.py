from __future__ import annotations

import os
import random

import numpy as np
import pytest
from PIL import Image

from chainrule.data.sources import Order, stream
from chainrule.data.sources.images import find_images, look_of
from chainrule.errors import ChainruleError, DataError, FileError, SettingError


def put(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels), mode).save(path) if mode is None else Image.fromarray(pixels).convert(
        mode
    ).save(path)


def grey(value, shape=(4, 3)):
    return np.full(shape, value, np.uint8)


def all_of(source):
    (block,) = source.blocks(None)
    return block


def test_classes_and_files_are_sorted_by_name(tmp_path):
    put(tmp_path / "zebra" / "2.png", grey(4))
    put(tmp_path / "zebra" / "1.PNG", grey(3))
    put(tmp_path / "ant" / "b.bmp", grey(2))
    put(tmp_path / "ant" / "a.png", grey(1))
    (tmp_path / "empty").mkdir()
    put(tmp_path / ".hidden" / "a.png", grey(9))
    (tmp_path / "ant" / "notes.txt").write_text("not an image")
    (tmp_path / "ant" / "folder.png").mkdir()
    os.mkfifo(tmp_path / "ant" / "pipe.png")
    put(tmp_path / "loose.png", grey(9))
    source = stream(tmp_path)
    block = all_of(source)
    assert source.classes == ("ant", "zebra")
    assert block["images"][:, 0, 0].tolist() == [1, 2, 3, 4]
    assert block["labels"].tolist() == [0, 0, 1, 1]
    assert {n: (f.shape, str(f.dtype)) for n, f in source.fields.items()} == {
        "images": ((4, 3), "uint8"),
        "labels": ((), "int64"),
    }
    np.testing.assert_array_equal(source.everything()["images"], block["images"])


def test_colours_are_those_of_the_images(tmp_path):
    red = np.zeros((4, 3, 3), np.uint8)
    red[..., 0] = 200
    put(tmp_path / "a" / "1.png", red)
    put(tmp_path / "a" / "2.png", grey(7))
    block = all_of(stream(tmp_path))
    assert block["images"].shape == (2, 4, 3, 3)
    assert block["images"][0, 0, 0].tolist() == [200, 0, 0]
    assert block["images"][1, 0, 0].tolist() == [7, 7, 7]
    assert all_of(stream(tmp_path, grey=True))["images"][0, 0, 0] == round(200 * 0.299)
    put(tmp_path / "g" / "1.png", grey(7))
    assert all_of(stream(tmp_path, grey=False))["images"].shape == (3, 4, 3, 3)


def test_sixteen_bits_and_palettes_and_transparency(tmp_path):
    Image.fromarray(np.full((4, 3), 65_535, np.uint16)).save(put_folder(tmp_path) / "1.png")
    Image.fromarray(grey(80)).convert("P").save(tmp_path / "a" / "2.png", transparency=b"\x00\x80")
    Image.fromarray(np.full((4, 3, 4), [50, 50, 50, 0], np.uint8)).save(tmp_path / "a" / "3.png")
    assert all_of(stream(tmp_path, grey=True))["images"][:, 1, 1].tolist() == [255, 80, 50]


def put_folder(folder):
    (folder / "a").mkdir()
    return folder / "a"


def test_another_size_is_refused_or_resized(tmp_path):
    put(tmp_path / "a" / "1.png", grey(10))
    put(tmp_path / "b" / "2.png", grey(20, (8, 9)))
    with pytest.raises(DataError) as error:
        all_of(stream(tmp_path))
    assert all(part in str(error.value) for part in (str(tmp_path / "b" / "2.png"), "8×9", "4×3", "image_size="))
    block = all_of(stream(tmp_path, image_size=(6, 5)))
    assert block["images"].shape == (2, 6, 5)
    assert block["images"][:, 3, 2].tolist() == [10, 20]


def test_resizing_is_pillows(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20), np.uint8)
    put(tmp_path / "a" / "1.png", pixels)
    found = all_of(stream(tmp_path, image_size=(7, 11)))["images"][0]
    np.testing.assert_array_equal(found, np.asarray(Image.fromarray(pixels).resize((11, 7), Image.Resampling.BILINEAR)))


def test_a_file_that_is_no_image_is_named(tmp_path):
    put(tmp_path / "a" / "1.png", grey(1))
    bad = tmp_path / "a" / "2.png"
    for content in (b"", b"hello", (tmp_path / "a" / "1.png").read_bytes()[:50]):
        bad.write_bytes(content)
        with pytest.raises(FileError) as error:
            all_of(stream(tmp_path, grey=True))
        assert str(bad) in str(error.value)
        assert "\n" not in str(error.value)


def test_too_many_pixels_are_not_unpacked(tmp_path, monkeypatch):
    from chainrule.data.sources import images

    put(tmp_path / "a" / "1.png", grey(1, (100, 101)))
    monkeypatch.setattr(images, "MAX_PIXELS", 100 * 100)
    with pytest.raises(FileError, match="pixels"):
        stream(tmp_path)


def test_a_bomb_is_refused_by_its_header(tmp_path):
    import zlib

    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    size = (20_000).to_bytes(4, "big")
    content = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + size + b"\x08\0\0\0\0") + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    (put_folder(tmp_path) / "1.png").write_bytes(content)
    with pytest.raises(FileError, match="pixels"):
        stream(tmp_path)


def test_damage_brings_our_own_errors_only(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20, 3), np.uint8)
    drawn = random.Random(0)
    for suffix in ("png", "jpg", "bmp"):
        path = tmp_path / suffix / "a" / f"1.{suffix}"
        put(path, pixels)
        whole = path.read_bytes()
        cases = [whole[: len(whole) * k // 20] for k in range(20)]
        for _ in range(150):
            changed = bytearray(whole)
            changed[drawn.randrange(len(whole))] ^= 1 << drawn.randrange(8)
            cases.append(bytes(changed))
        for case in cases:
            path.write_bytes(case)
            try:
                all_of(stream(tmp_path / suffix))
            except ChainruleError as error:
                assert "\n" not in str(error)


def test_folders_without_images(tmp_path):
    with pytest.raises(FileError, match=r"no file|no folder"):
        stream(tmp_path / "none")
    with pytest.raises(FileError, match="no folder"):
        find_images(tmp_path / "none")
    with pytest.raises(DataError, match="no folders with images"):
        stream(tmp_path)


@pytest.mark.parametrize("size", [(0, 3), (3,), (3, 4, 5), (2.5, 3), (3, 10**6), "28x28", 28])
def test_a_wrong_size(tmp_path, size):
    put(tmp_path / "a" / "1.png", grey(1))
    with pytest.raises(SettingError, match="image_size"):
        stream(tmp_path, image_size=size)


def test_the_fingerprint_is_of_names_classes_and_bytes(tmp_path):
    def fingerprint(folder):
        return stream(folder).fingerprint()

    for folder in ("one", "same"):
        put(tmp_path / folder / "a" / "1.png", grey(1))
        put(tmp_path / folder / "b" / "2.png", grey(2))
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "same")
    put(tmp_path / "same" / "b" / "2.png", grey(3))
    assert fingerprint(tmp_path / "one") != fingerprint(tmp_path / "same")
    put(tmp_path / "same" / "b" / "2.png", grey(2))
    os.rename(tmp_path / "same" / "b", tmp_path / "same" / "c")
    assert fingerprint(tmp_path / "one") != fingerprint(tmp_path / "same")


def test_some_of_the_files(tmp_path):
    for k in range(6):
        put(tmp_path / "ab"[k % 2] / f"{k}.png", grey(k))
    files = find_images(tmp_path)
    from chainrule.data.sources.images import ImageSource

    part = ImageSource(files.part([5, 0]), look_of(files))
    assert all_of(part)["images"][:, 0, 0].tolist() == [5, 0]
    assert all_of(part)["labels"].tolist() == [1, 0]
    assert part.classes == ("a", "b")


def test_an_image_that_is_gone(tmp_path):
    put(tmp_path / "a" / "1.png", grey(1))
    put(tmp_path / "a" / "2.png", grey(1))
    source = stream(tmp_path)
    (tmp_path / "a" / "2.png").unlink()
    with pytest.raises(FileError, match=r"2\.png"):
        list(source.blocks(Order(0, 0)))
