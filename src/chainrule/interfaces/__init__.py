"""Chapter 7: ways in.

cli.py         the commands, their options and exit codes; thin
bilingual.py   click in the user's language
build.py       formula texts made for the user: a network from rows of the library, pixels scaled to 0-1
keras/         models and layers by Keras's names: a graph of layers becomes one formula text
datasets.py    data sets by name, and their arrays for what a network declares
train.py       `chainrule train`
runs.py        the folder that a training leaves
records.py     its run.json: what made the run
resume.py      `chainrule train --resume`
reproduce.py   `chainrule reproduce`
signals.py     SIGTERM and SIGHUP while a command runs
predict.py     `chainrule predict` and `chainrule evaluate`
show.py        `chainrule show` and `chainrule derive`
kernel.py      `chainrule show --as kernel`
bench.py       `chainrule bench`
plots.py       pictures of a training, and what all pictures share (matplotlib)
pictures/      pictures of a network: `chainrule.pictures`
plot.py        `chainrule plot`
"""
