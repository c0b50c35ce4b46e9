"""MNIST: its contents, the cache folder, and everything that can go wrong with that folder."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from chainrule.cache import cache_folder
from chainrule.data import whole_files
from chainrule.data.datasets import CacheWarning, Dataset, load_mnist, mnist
from chainrule.errors import FileError

TRAIN_DIGITS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_DIGITS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
REPORT = "from chainrule.data.datasets import load_mnist; d = load_mnist(); print(int(d.train.images.sum(dtype='i8')))"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A folder with the four files, unpacked once for this module; nothing changes it."""
    folder = tmp_path_factory.mktemp("mnist")
    load_mnist(folder)
    return folder


@pytest.fixture
def folder(unpacked, tmp_path):
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(unpacked, tmp_path / "mnist"))


def is_mnist(data: Dataset) -> bool:
    """The published numbers of each digit, and the sums of the pixels of the files of the published SHA-256."""
    pixels = [int(split.images.sum(dtype=np.int64)) for split in (data.train, data.test)]
    digits = [np.bincount(split.labels).tolist() for split in (data.train, data.test)]
    return pixels == [1_567_298_545, 264_923_200] and digits == [TRAIN_DIGITS, TEST_DIGITS]


def is_mapped(array: np.ndarray) -> bool:
    return isinstance(array, np.memmap)


def in_child(script: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# the data


def test_the_digits_are_all_there(unpacked):
    data = load_mnist(unpacked)
    assert (data.name, data.image_shape, data.classes) == ("mnist", (28, 28), 10)
    assert data.train.images.shape == (60_000, 784)
    assert data.test.images.shape == (10_000, 784)
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert is_mnist(data)
    # 0.1307 and 0.3081 are the mean and deviation that texts print.
    assert round(float(data.train.images.mean()) / 255, 4) == 0.1307
    assert round(float(data.train.images.std()) / 255, 4) == 0.3081


def test_the_arrays_are_bytes_mapped_from_the_folder_and_read_only(unpacked):
    data = load_mnist(unpacked)
    for array in (data.train.images, data.train.labels, data.test.images, data.test.labels):
        assert array.dtype == np.uint8
        assert is_mapped(array)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_files_are_the_published_ones(unpacked):
    lines = (mnist.FILES / "SHA256SUMS").read_text().splitlines()
    assert len(lines) == 4
    for digest, name in map(str.split, lines):
        assert hashlib.sha256((unpacked / name).read_bytes()).hexdigest() == digest


# the cache folder


def test_a_second_load_unpacks_nothing(unpacked, monkeypatch):
    monkeypatch.setattr(mnist, "_unpack", lambda name: pytest.fail(f"{name} was unpacked again"))
    assert is_mnist(load_mnist(unpacked))


def test_the_folder_holds_whole_files_that_others_may_read(unpacked):
    umask = os.umask(0)
    os.umask(umask)
    assert sorted(p.name for p in unpacked.iterdir()) == sorted(mnist.SHAPES)
    assert {p.stat().st_mode & 0o777 for p in unpacked.iterdir()} == {0o666 & ~umask}


def test_the_environment_names_the_folder(unpacked, tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    shutil.copytree(unpacked, tmp_path / "mnist")
    images = load_mnist().train.images
    assert is_mapped(images)
    assert Path(images.filename) == tmp_path / "mnist" / "train-images-idx3-ubyte"
    monkeypatch.setenv("CHAINRULE_CACHE", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("CHAINRULE_CACHE")
    assert "chainrule" in str(cache_folder())


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1_000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        lambda path: os.truncate(path, 5_000),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.unlink(),
    ],
    ids=["flipped", "truncated", "empty", "longer", "missing"],
)
def test_a_damaged_file_is_replaced(folder, name, damage):
    damage(folder / name)
    data = load_mnist(folder)
    assert is_mnist(data)
    assert is_mapped(data.train.images)
    assert mnist._is_whole(folder / name, name)


def test_a_folder_that_needs_parents_is_made(tmp_path):
    folder = tmp_path / "a" / "b" / "c"
    assert is_mapped(mnist._mapped("t10k-labels-idx1-ubyte", folder))
    assert len(list(folder.iterdir())) == 1


# a cache folder that cannot be used


def load_with_warning(folder: Path, reason: str) -> Dataset:
    """The data, after exactly one warning, which names the folder and points at this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_mnist(folder)
    assert [w.category for w in caught] == [CacheWarning]
    message = str(caught[0].message)
    assert message == (
        f"the cache folder {folder} cannot be used ({reason}), so MNIST is unpacked into memory: "
        "set CHAINRULE_CACHE to a folder that can be written and has 60 MB free"
    )
    assert caught[0].filename == __file__
    return data


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_folder_falls_back_to_memory(tmp_path, monkeypatch, code):
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(whole_files.os, "fsync", refuse)
    data = load_with_warning(tmp_path, os.strerror(code))
    assert is_mnist(data)
    assert not is_mapped(data.train.images)
    with pytest.raises(ValueError, match="read-only"):
        data.train.images[0] = 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert is_mnist(load_with_warning(tmp_path / "file" / "mnist", os.strerror(errno.ENOTDIR)))
    assert is_mnist(load_with_warning(tmp_path / "file", os.strerror(errno.EEXIST)))


def test_only_what_cannot_be_kept_is_in_memory(folder):
    """A folder stands in the place of one file: the other three are mapped."""
    (folder / "t10k-labels-idx1-ubyte").unlink()
    (folder / "t10k-labels-idx1-ubyte").mkdir()
    data = load_with_warning(folder, os.strerror(errno.EISDIR))
    assert is_mnist(data)
    assert is_mapped(data.train.images)
    assert not is_mapped(data.test.labels)
    assert len(list(folder.iterdir())) == 4


def test_a_folder_that_takes_no_large_file(tmp_path):
    """The system's own refusal, part-way through a file: a process that may write no file above 1 MB."""
    script = """
import resource, warnings
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
from chainrule.data.datasets import load_mnist
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    data = load_mnist()
print([w.category.__name__ for w in caught], type(data.train.images).__name__, type(data.train.labels).__name__)
print(int(data.train.images.sum(dtype="i8")))
"""
    child = in_child(script, CHAINRULE_CACHE=str(tmp_path))
    out, err = child.communicate(timeout=60)
    assert (out.splitlines(), err) == (["['CacheWarning'] ndarray memmap", "1567298545"], "")
    assert sorted(p.name for p in (tmp_path / "mnist").iterdir()) == [
        "t10k-labels-idx1-ubyte",
        "train-labels-idx1-ubyte",
    ]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="no permission stops root")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    assert is_mnist(load_with_warning(tmp_path / "mnist", os.strerror(errno.EACCES)))


def test_several_processes_at_once_leave_four_whole_files(tmp_path):
    children = [in_child(REPORT, CHAINRULE_CACHE=str(tmp_path)) for _ in range(4)]
    reports = [child.communicate(timeout=120) for child in children]
    assert reports == [("1567298545\n", "")] * 4
    assert sorted(p.name for p in (tmp_path / "mnist").iterdir()) == sorted(mnist.SHAPES)
    assert all(mnist._is_whole(tmp_path / "mnist" / name, name) for name in mnist.SHAPES)


# a damaged package


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's files, to be damaged."""
    files = Path(shutil.copytree(str(mnist.FILES), tmp_path / "package"))
    monkeypatch.setattr(mnist, "FILES", files)
    mnist._checksums.cache_clear()
    yield files
    mnist._checksums.cache_clear()


def swap_the_labels(files: Path) -> None:
    shutil.copy(files / "t10k-labels-idx1-ubyte.xz", files / "train-labels-idx1-ubyte.xz")


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda files: (files / "train-images-idx3-ubyte.xz").unlink(), "train-images-idx3-ubyte.xz"),
        (lambda files: os.truncate(files / "train-images-idx3-ubyte.xz", 5_000), "train-images-idx3-ubyte.xz"),
        (lambda files: flip_a_bit(files / "train-labels-idx1-ubyte.xz"), "train-labels-idx1-ubyte.xz"),
        (swap_the_labels, "train-labels-idx1-ubyte.xz"),
        (lambda files: (files / "SHA256SUMS").unlink(), "SHA256SUMS"),
        (lambda files: (files / "SHA256SUMS").write_text("nonsense"), "SHA256SUMS"),
        (lambda files: (files / "SHA256SUMS").write_text(""), "SHA256SUMS"),
    ],
    ids=["missing", "truncated", "flipped", "swapped", "no_sums", "bad_sums", "empty_sums"],
)
def test_a_damaged_package_is_said_so(package, tmp_path, damage, name):
    damage(package)
    with pytest.raises(FileError) as caught:
        load_mnist(tmp_path / "cache")
    assert str(caught.value) == f"{name} in the chainrule package is damaged: install chainrule again"
