from __future__ import annotations

import numpy as np
import pytest

from chainrule.data.sources import fingerprint as module
from chainrule.data.sources import stream
from chainrule.data.sources.fingerprint import Digest, fingerprint_of
from chainrule.data.sparse import as_sparse

X = np.random.default_rng(0).normal(size=(100, 7)).astype(np.float32)


def test_it_is_that_of_the_numbers_wherever_they_lie(tmp_path):
    wanted = fingerprint_of({"x": X})
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "big.npy", X.astype(">f4"))
    np.savez(tmp_path / "x.npz", x=X)
    same = [
        np.asfortranarray(X),
        X.astype(">f4"),
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        np.load(tmp_path / "big.npy", mmap_mode="r"),
        np.concatenate([X, X], axis=1)[:, :7],
    ]
    assert {fingerprint_of({"x": array}) for array in same} == {wanted}
    assert stream(tmp_path / "x.npy").fingerprint() == wanted
    assert stream(tmp_path / "x.npz").fingerprint() == wanted
    assert stream((X,)).fingerprint() == wanted
    both = np.concatenate([X, np.arange(100, dtype=np.float32)[:, None]], axis=1)
    t = np.arange(100, dtype=np.float32)
    assert stream(both, target=-1).fingerprint() == fingerprint_of({"x": X, "t": t})


def test_it_is_64_hexadecimal_digits():
    assert len(fingerprint_of({"x": X})) == 64
    int(fingerprint_of({"x": X}), 16)


def changed():
    other = X.copy()
    other[99, 6] += 1
    return other


DIFFERENT = {
    "another name": {"y": X},
    "another number": {"x": changed()},
    "another dtype": {"x": X.astype(np.float64)},
    "another shape": {"x": X.reshape(50, 14)},
    "another order of the rows": {"x": X[::-1]},
    "one row less": {"x": X[:-1]},
    "one array more": {"x": X, "t": np.arange(100)},
    "signs of zero": {"x": np.where(X == X, -0.0, X).astype(np.float32)},
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_it_tells_other_data(name):
    assert fingerprint_of(DIFFERENT[name]) != fingerprint_of({"x": X})


def test_arrays_do_not_run_into_one_another():
    assert fingerprint_of({"a": X[:, :3], "b": X[:, 3:]}) != fingerprint_of({"a": X[:, :4], "b": X[:, 4:]})
    one, other = Digest(), Digest()
    one.words("ab", "c")
    other.words("a", "bc")
    assert one.text() != other.text()


def test_sparse_rows(tmp_path):
    import scipy.sparse

    table = scipy.sparse.random(50, 40, 0.1, "csr", np.float32, random_state=0)
    rows = as_sparse("x", table)
    assert fingerprint_of({"x": rows}) == fingerprint_of({"x": as_sparse("x", table.copy())})
    assert fingerprint_of({"x": rows[10:20]}) == fingerprint_of({"x": rows[np.arange(10, 20)]})
    assert fingerprint_of({"x": rows[10:20]}) != fingerprint_of({"x": rows[11:21]})


def test_of_large_arrays_blocks_from_the_first_row_to_the_last_go_in(monkeypatch):
    monkeypatch.setattr(module, "WHOLE_BYTES", 4000)
    monkeypatch.setattr(module, "BLOCKS", 10)
    monkeypatch.setattr(module, "BLOCK_BYTES", 80)
    array = np.zeros((1000, 2))  # 16 bytes a row: 10 blocks of 5 rows
    seen = []
    for row in range(1000):
        array[row] = 1
        if fingerprint_of({"x": array}) != fingerprint_of({"x": np.zeros((1000, 2))}):
            seen.append(row)
        array[row] = 0
    assert len(seen) == 50
    assert seen[:5] == [0, 1, 2, 3, 4]
    assert seen[-1] == 999
    assert max(np.diff(seen)) <= 107
    assert fingerprint_of({"x": array[:250]}) != fingerprint_of({"x": array[:251]})


def test_files(tmp_path, monkeypatch):
    def of(content):
        (tmp_path / "file").write_bytes(content)
        digest = Digest()
        digest.file(tmp_path / "file")
        return digest.text()

    assert of(b"abc") == of(b"abc")
    assert len({of(b"abc"), of(b"abd"), of(b"ab"), of(b"")}) == 4
    monkeypatch.setattr(module, "WHOLE_BYTES", 2000)
    assert of(b"a" * 5000) != of(b"a" * 5001)
