"""How fast chainrule is, beside its peers and beside the machine's own limits. `make bench`, `make bench CASE=A`.

    cases      what is measured: one row per case, with its goals
    data       the data sets and first weights that all sides share
    sides/     each library, written as its own documentation would write it
    floor      what the machine can do at best: multiply-adds, reads, copies
    machine    processor, cores, caches, versions
    flops      what a network needs at least, counted from its formulas
    worker     a child process: one side of one case, timed when asked
    runner     asks the children in turn, round after round
    program    a whole program of one side: start, import, load, train, test, save
    time_to_98 the record, a program of its own; its rules are in docs/time-to-98.md
    processes  times these two, from start to exit
    report     medians, ratios, shares: text and JSON
    picture    the ratios as bars
    growth     the second table: how cost grows. `make bench-growth`
    record_oracles  no timing: what the peers compute, written down for the tests; oracles/ has its parts

README.md says how the numbers are made and what they do not say.
"""
