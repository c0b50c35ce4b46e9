"""A minute's worth of fuzzing over each reader, every past finding again, and the oracle itself."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainrule.errors import DataError
from tests.fuzz.guard import SECONDS, Broken, Guard
from tests.fuzz.mutate import LONGEST, case
from tests.fuzz.seeds import ROOT
from tests.fuzz.targets import TARGETS

FINDINGS = sorted(path for path in (Path(__file__).parent / "findings").rglob("*") if path.is_file())
NEEDS = {"parquet": "pyarrow", "parquet_stream": "pyarrow", "csv": "pyarrow", "hdf5": "h5py"}


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    made = Guard()
    yield made
    made.close()


def skip_without(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run(name, guard):
    """Other cases than those of `make soak`, which begins with number 0 of seed 0."""
    skip_without(name)
    target = TARGETS[name]
    seeds = target.seeds()
    for data in seeds:  # a seed may be bad, but never badly; and what is imported late is imported now
        try:
            target.run(data)
        except Exception as error:
            assert type(error).__module__ == "chainrule.errors", error
    for number in range(target.quick):
        data = case(seeds, target.tokens, number, seed=1)
        try:
            guard.check(target.run, data)
        except Broken as broken:
            pytest.fail(f"{broken}\ncase {number}: {data!r}")


@pytest.mark.parametrize("path", FINDINGS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_a_past_finding(path, guard):
    skip_without(path.parent.name)
    target = TARGETS[path.parent.name]
    for _ in range(2):  # the first time imports
        try:
            target.run(path.read_bytes())
        except Exception as error:
            assert type(error).__module__ == "chainrule.errors", error
    guard.check(target.run, path.read_bytes())


@pytest.mark.soak
@pytest.mark.parametrize("name", TARGETS)
def test_a_long_run(name, tmp_path):
    """At least a million cases for each parser of our own, 20,000 for those behind libraries.

    With atheris a tenth as many again are chosen by the code that they reach. CASES=… sets another number.
    """
    skip_without(name)
    cases = int(os.environ.get("CASES", TARGETS[name].cases))
    command = [sys.executable, "-m", "tests.fuzz", name, "--keep", str(tmp_path), "--cases"]
    done = subprocess.run([*command, str(cases)], cwd=ROOT, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout + done.stderr
    if importlib.util.find_spec("atheris"):
        guided = [*command, str(max(cases // 10, 1000)), "--engine", "atheris"]
        done = subprocess.run(guided, cwd=ROOT, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout + done.stderr


# --- the oracle and the mutator themselves ----------------------------------------------------------------------------


def test_the_oracle_lets_own_errors_pass_and_others_not(guard):
    def raises(error: Exception) -> None:
        raise error

    assert guard.check(lambda _: None, b"") is True
    assert guard.check(lambda _: raises(DataError("row 3 is empty")), b"") is False
    for error in (
        ValueError("x"),
        MemoryError(),
        RecursionError(),
        DataError(""),
        DataError("\x1b[2J"),
        DataError("\udc80"),
    ):
        with pytest.raises(Broken):
            guard.check(lambda _, error=error: raises(error), b"")


def test_the_oracle_hears_what_is_executed_and_written(guard, tmp_path):
    for act in (
        lambda _: eval("1 + 1"),
        lambda _: exec("x = 1"),
        lambda _: os.system("true"),
        lambda _: subprocess.run(["true"], check=False),
        lambda _: (tmp_path / "file").write_text("x"),
        lambda _: os.remove(tmp_path / "file"),
    ):
        with pytest.raises(Broken):
            guard.check(act, b"")


def test_the_oracle_ends_a_hang_that_hides_behind_except(guard):
    def hang(_: bytes) -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:
                pass

    begun = time.process_time()
    with pytest.raises(Broken, match="still at it"):
        guard.check(hang, b"")
    assert time.process_time() - begun < 5 * SECONDS


def test_a_case_is_the_same_each_time():
    for target in (TARGETS["formula"], TARGETS["json"]):
        seeds = target.seeds()
        cases = [case(seeds, target.tokens, number) for number in range(300)]
        assert cases == [case(seeds, target.tokens, number) for number in range(300)]
        assert len(set(cases)) > 250
        assert max(map(len, cases)) <= LONGEST


def test_the_driver_reports_a_finding_and_goes_on(tmp_path):
    """A target that is broken on purpose, in processes that die."""
    broken = tmp_path / "broken.py"
    broken.write_text(
        "import os, sys\n"
        "from tests.fuzz import targets, __main__ as driver\n"
        "def run(data):\n"
        "    if b'Z' in data: raise ValueError('Z')\n"
        "    if b'Q' in data: os.kill(os.getpid(), 9)\n"
        "targets.TARGETS['broken'] = targets.Target('broken', run, lambda: [b'a'], (b'Z', b'Q', b'b', b'c', b'd'))\n"
        "driver.COMMAND = [sys.executable, __file__]\n"
        "sys.exit(driver.main())\n"
    )
    command = [sys.executable, str(broken), "broken", "--cases", "60", "--keep", str(tmp_path / "kept")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "ValueError: Z" in done.stdout and "died with -9" in done.stdout, done.stdout
    assert "findings" in done.stdout.splitlines()[-1]
    kept = [p.read_bytes() for p in (tmp_path / "kept" / "broken").iterdir() if len(p.name) == 16]
    assert kept and all(b"Z" in data or b"Q" in data for data in kept)
