"""Fuzzing: whatever a reader is given, it reads it or raises one of chainrule's own errors.

    python -m tests.fuzz                            the targets
    python -m tests.fuzz model formula --cases 50000        a seeded mutator
    python -m tests.fuzz model --cases 1000000 --engine atheris      guided by coverage, where atheris is installed

targets.py has a function for each reader, seeds.py what its mutations begin from, guard.py the oracle: only errors of
chainrule's own, no hang, no memory beyond a budget, nothing executed, nothing written; and what is accepted survives
being printed or saved and read again. Every input that ever broke one is in findings/<target>/, and is tried again by
each test run.
"""
