"""A published data set as arrays: from the cache folder, where it is downloaded to, or from a folder of files."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from chainrule.cache import cache_folder
from chainrule.data.datasets.dataset import Array, Dataset, Split
from chainrule.data.datasets.download import Watch, fetch, is_right, sha256_of
from chainrule.data.datasets.published import Download, Published
from chainrule.data.readers import read_rows
from chainrule.data.whole_files import replacing
from chainrule.errors import FileError
from chainrule.messages import say

SUMS = "SHA256SUMS"
MAX_MEMBER_BYTES = 300_000_000  # EMNIST's largest member that we need has 188 MB unpacked, and 45 packed
MEMBERS_MEGABYTES = 100  # of all that is kept of an archive, packed
COPY_BYTES = 2**20


def load_published(
    published: Published, data_dir: str | os.PathLike[str] | None = None, watch: Watch | None = None
) -> Dataset:
    """The data set; its files are downloaded once into the cache folder, or looked for in `data_dir` and nowhere else.

    Raises: FileError where a file cannot be had, is not the published one, or cannot be kept.
    """
    with _files(published, data_dir, watch) as folder:
        train_images, train_labels, test_images, test_labels = (read_rows(folder / m) for m in published.members)
    train = _split(published, train_images, train_labels, published.train)
    test = _split(published, test_images, test_labels, published.test)
    side, names = published.side, published.class_names
    return Dataset(published.name, train, test, (side, side), len(names), names)


def is_there(published: Published) -> bool:
    """Whether the cache folder has the data set's files, by their names; their sums are looked at by loading."""
    folder = cache_folder() / published.folder
    return all((folder / member).is_file() for member in published.members)


def _split(published: Published, images: Array, labels: Array, count: int) -> Split:
    """Raises: FileError where the files do not hold what is published."""
    side, classes = published.side, len(published.class_names)
    right = (
        images.shape == (count, side, side) and labels.shape == (count,) and images.dtype == labels.dtype == np.uint8
    )
    numbers = labels - np.uint8(published.first_label) if right else labels
    if not right or int(numbers.max(initial=0)) >= classes:
        raise FileError(say("datasets.odd_content", name=published.name, page=published.page))
    images = np.ascontiguousarray(images.transpose(0, 2, 1)) if published.transposed else images
    images, numbers = images.reshape(count, -1), np.ascontiguousarray(numbers)
    images.flags.writeable = numbers.flags.writeable = False  # as MNIST's, which are mapped from a file
    return Split(images, numbers)


@contextlib.contextmanager
def _files(published: Published, data_dir: str | os.PathLike[str] | None, watch: Watch | None) -> Iterator[Path]:
    """A folder that holds the data set's members, checked."""
    if data_dir is None:
        folder = cache_folder() / published.folder
        if published.archived:
            _fetch_members(published, folder, watch)
        else:
            for file in published.downloads:
                fetch(file, published.name, published.page, folder, watch)
        yield folder
        return
    given = Path(data_dir)
    for file in published.downloads:
        _check_given(published, file, given)
    if not published.archived:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="chainrule-") as scratch:
        with _as_file_error(Path(scratch)):
            _unzip(given / published.downloads[0].name, published, published.members, Path(scratch))
        yield Path(scratch)


def _check_given(published: Published, file: Download, folder: Path) -> None:
    path = folder / file.name
    try:
        if is_right(path, file):
            return
        if not path.exists():
            raise FileError(
                say("datasets.not_there", folder=folder, file=file.name, name=published.name, page=published.page)
            )
        came = sha256_of(path)
    except FileError:
        raise
    except OSError as error:
        raise FileError(say("data.cannot_read", path=path, reason=error.strerror or error)) from None
    raise FileError(
        say("datasets.wrong_file", path=path, name=published.name, came=came, wanted=file.sha256, page=published.page)
    )


# --- archives ---------------------------------------------------------------------------------------------------------


def _fetch_members(published: Published, folder: Path, watch: Watch | None) -> None:
    """The members in the folder, as the archive had them; the archive itself, 562 MB, is not kept.

    The sums of the members are taken when they come out of an archive of the published sum.
    """
    if _are_right(folder, published.members):
        return
    archive = fetch(published.downloads[0], published.name, published.page, folder, watch)
    with _as_file_error(folder):
        sums = _unzip(archive, published, published.archived, folder)
        with replacing(folder / SUMS) as file:
            file.write("".join(f"{sums[member]}  {member}\n" for member in published.archived).encode())
        archive.unlink(missing_ok=True)


@contextlib.contextmanager
def _as_file_error(folder: Path) -> Iterator[None]:
    """Raises: FileError where the folder cannot take the members."""
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise FileError(say("datasets.cannot_keep", path=folder, reason=reason, megabytes=MEMBERS_MEGABYTES)) from None


def _are_right(folder: Path, members: Sequence[str]) -> bool:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, name in (line.split() for line in lines)}
        return all(sha256_of(folder / member) == sums[member] for member in members)
    except (OSError, ValueError, KeyError):
        return False


def _unzip(archive: Path, published: Published, members: Sequence[str], folder: Path) -> dict[str, str]:
    """Copy the members, wherever in the archive they lie, and no other; their sums. Raises: FileError, OSError."""
    sums: dict[str, str] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            places = {info.filename.rpartition("/")[2]: info for info in opened.infolist()}
            for member in members:
                info = places[member]
                if info.file_size > MAX_MEMBER_BYTES:
                    raise KeyError(member)
                with opened.open(info) as packed:
                    _copy(packed, folder / member, info.file_size)
                sums[member] = sha256_of(folder / member)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError):
        raise FileError(say("datasets.odd_content", name=published.name, page=published.page)) from None
    return sums


def _copy(packed: IO[bytes], path: Path, size: int) -> None:
    """All of a member, and no more than the archive declares."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        while size > 0 and (piece := packed.read(min(COPY_BYTES, size))):
            file.write(piece)
            size -= len(piece)
