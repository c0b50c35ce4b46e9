"""Chapter 5: from instructions to machine code.

host.py         vector width, registers, cache sizes, cores of this machine
layout.py       where an entry of a tensor lies in memory
expressions.py  formulas → lines of Python
source.py       Program → one module of Python loops, which a person can open and read
tile.py         the microkernel: a tile of a matrix product in registers
scalars.py      exp, log, tanh, …: what each compiles to, and how exact it is
threads.py      a team of threads, its barrier and its control words
target.py       Numba, cut down to typing and lowering
compile.py      text → object code, kept in a cache
native.py       the runner: buffers, arguments, one call an epoch and thread
"""
