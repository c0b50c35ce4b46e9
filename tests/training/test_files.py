"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chainrule.errors import FileError
from chainrule.training.files import write_bytes, written


def test_a_file_takes_the_old_one_s_place_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), written(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["a\0b", "", "/"])
def test_what_is_no_name_of_a_file_is_told(name):
    with pytest.raises(FileError, match="cannot be written"):
        write_bytes(Path(name), b"")


def test_what_is_wrong_with_another_file_is_told_as_it_is(tmp_path):
    """Answers are written while a table is read: it is the table that is damaged."""
    with pytest.raises(FileError, match=r"^b.parquet is damaged$"), written(tmp_path / "a.csv"):
        raise FileError("b.parquet is damaged")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_who_may_read_it_is_as_for_any_file(tmp_path):
    write_bytes(tmp_path / "a", b"")
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
