"""python -m tests.fuzz [TARGET …] [--cases N] [--seed S] [--engine auto|mutator|atheris] [--keep FOLDER]

Each target runs in a process of its own, with limits on memory and time; where that dies or finds something, the input
is written to FOLDER (build/fuzz/<target>), and the next process goes on behind it.
"""

from __future__ import annotations

import argparse
import atexit
import hashlib
import importlib.util
import mmap
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.mutate import LONGEST
from tests.fuzz.seeds import ROOT

MOST_FINDINGS = 20  # of one target; then it ends
FOUND, FINISHED = 77, 0
RECORD = 12 + LONGEST  # in the file "progress": how many cases are done, and the one that is tried
COMMAND = [sys.executable, "-m", "tests.fuzz"]


def main() -> int:
    options = _options()
    from tests.fuzz.targets import TARGETS

    if not options.targets:
        print("\n".join(f"{t.name:16}{t.cases:>10} cases" for t in TARGETS.values()))
        return 0
    names = list(TARGETS) if options.targets == ["all"] else options.targets
    return max(_supervised(n, options.cases or TARGETS[n].cases, options) for n in names)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--cases", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("auto", "mutator", "atheris"), default="mutator")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        sys.exit(work(options.targets[0], options.cases, options))
    if options.engine == "auto":
        options.engine = "atheris" if importlib.util.find_spec("atheris") else "mutator"
    return options


# --- the process that watches -----------------------------------------------------------------------------------------


def _supervised(name: str, cases: int, options: argparse.Namespace) -> int:
    """Run all cases, in as many processes as it takes; 1 where something was found."""
    folder = options.keep / name
    folder.mkdir(parents=True, exist_ok=True)
    done, found, begun = 0, 0, time.monotonic()
    while done < cases and found < MOST_FINDINGS:
        progress = folder / "progress"
        progress.write_bytes(done.to_bytes(8, "little") + bytes(RECORD - 8))
        command = [*COMMAND, name, "--worker", str(done), "--cases", str(cases)]
        command += ["--seed", str(options.seed), "--engine", options.engine, "--keep", str(options.keep)]
        code = subprocess.run(command, check=False).returncode
        record = progress.read_bytes()
        done = int.from_bytes(record[:8], "little")
        if code == FINISHED:
            break
        found += 1
        if code != FOUND:  # it died at this input
            _keep(folder, record[12 : 12 + int.from_bytes(record[8:12], "little")], f"died with {code}")
        done += 1
    seconds = time.monotonic() - begun
    print(f"{name}: {done} cases in {seconds:.0f} s ({options.engine}), {found} findings", flush=True)
    return int(found > 0)


def _keep(folder: Path, data: bytes, why: str) -> None:
    path = folder / hashlib.sha256(data).hexdigest()[:16]
    path.write_bytes(data)
    print(f"{path}: {why}".encode(errors="replace").decode(), flush=True)


# --- the process that is watched --------------------------------------------------------------------------------------


def work(name: str, cases: int, options: argparse.Namespace) -> int:
    if options.engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["chainrule"], enable_loader_override=False):
            from tests.fuzz.targets import TARGETS

            _import_all()
    from tests.fuzz.guard import Broken, Guard, limit_memory
    from tests.fuzz.mutate import case
    from tests.fuzz.targets import TARGETS

    target, folder = TARGETS[name], options.keep / name
    seeds, guard = target.seeds(), Guard()
    atexit.register(guard.close)  # a tick while Python ends would end it with SIGPROF
    for seed in seeds:  # what is imported late is imported here
        try:
            target.run(seed)
        except Exception:  # a seed may be bad
            pass
    limit_memory()
    with open(folder / "progress", "r+b") as file:
        record = mmap.mmap(file.fileno(), RECORD)  # what is written to it survives this process

    def once(data: bytes) -> None:
        record[8 : 12 + len(data)] = len(data).to_bytes(4, "little") + data
        try:
            guard.check(target.run, data)
        except Broken as broken:
            _keep(folder, data, str(broken))
            traceback.print_exception(broken.__cause__ or broken, limit=-4)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(FOUND)
        record[:8] = (int.from_bytes(record[:8], "little") + 1).to_bytes(8, "little")

    if options.engine == "mutator":
        for number in range(options.worker, cases):
            once(case(seeds, target.tokens, number, options.seed))
        return FINISHED
    _guided(once, seeds, target.tokens, folder, cases - options.worker, options.seed + options.worker)
    return FINISHED


def _import_all() -> None:
    """Every module, so that it is instrumented."""
    import pkgutil

    import chainrule

    for module in pkgutil.walk_packages(chainrule.__path__, "chainrule."):
        if not module.name.startswith(("chainrule.interfaces.pictures", "chainrule.kernels")):
            importlib.import_module(module.name)


def _guided(once: object, seeds: list[bytes], tokens: tuple[bytes, ...], folder: Path, cases: int, seed: int) -> None:
    """Mutations that libFuzzer chooses by the code that they reach; it ends the process."""
    import atheris

    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for data in seeds:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    arguments = [f"-runs={cases}", f"-seed={seed % 2**31 + 1}", "-max_len=4096", "-timeout=60", "-rss_limit_mb=0"]
    arguments += [f"-artifact_prefix={folder}/", "-print_final_stats=0", "-verbosity=0"]
    if tokens:  # an empty dictionary is an error
        words = folder / "tokens.txt"
        words.write_text("".join('"' + "".join(f"\\x{b:02x}" for b in token) + '"\n' for token in tokens))
        arguments.append(f"-dict={words}")
    arguments.append(str(corpus))
    atheris.Setup([sys.argv[0], *arguments], once)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
