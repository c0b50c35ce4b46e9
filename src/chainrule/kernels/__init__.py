"""Chapter 5: from instructions to machine code.

schedule.py     Program → groups of instructions, and who does which part
layout.py       where an entry of a tensor lies in memory
expressions.py  formulas → lines of Python
walks.py        groups → functions: maps, sums, and what ends every walk
products.py     groups → functions: products in tiles, or along lists of non-zeros
lookups.py      groups → functions: rows of a table that class numbers choose
gathers.py      functions that bring a batch from the data set
results.py      functions that add up loss and metrics, or copy a prediction out
source.py       all of it as one module, a text that a person can open and read

translate.py    that text → LLVM instructions
builtins.py     the names that it may call
tile.py         the microkernel: a tile of a matrix product in registers
sparse.py       its sibling for lists of non-zeros
scalars.py      exp, log, tanh, …: what each compiles to, and how exact it is
threads.py      a team of threads, its barrier and its control words
host.py         vector width, registers, cache sizes, cores of this machine

compile.py      text → object code, kept in a cache
lists.py        rows of a data set as lists of their non-zeros
native.py       the runner: buffers, arguments, one call an epoch and thread
predictor.py    its sibling for predictions

peak.py         what the machine can do at best, measured
work.py         operations and bytes of a group, counted from its formulas
profile.py      where the time of a step goes, and its share of the floor
"""
