"""`chainrule show FILE --as kernel`: the text that is compiled, with the way from an equation to the microkernel.

Three files: an equation stands over its loop here, the loop calls the microkernel, whose file the line above it names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.datasets import Split
from chainrule.errors import SettingError
from chainrule.interfaces.datasets import arrays_for, find
from chainrule.interfaces.scaling import with_scaling
from chainrule.interfaces.show import open_network, training_step
from chainrule.kernels.host import tile_shape
from chainrule.kernels.native import module_for, source_array
from chainrule.kernels.scalars import FUNCTIONS
from chainrule.kernels.schedule import Group
from chainrule.kernels.source import Module, write_module
from chainrule.kernels.sparse import walk_panels
from chainrule.kernels.walks import Function
from chainrule.messages import say
from chainrule.program.instructions import Program
from chainrule.training.network import Network, formula

ROWS = 2048  # of a data set: they decide, as all of them do, whether an input is sparse
# The file of each name; every other name that the lines call is in kernels/builtins.py.
FILES = {
    "tile": "tile.py",
    **dict.fromkeys(("walk_list", "walk_both"), "sparse.py"),
    **dict.fromkeys(("barrier", "offer", "take"), "threads.py"),
    **dict.fromkeys(FUNCTIONS, "scalars.py"),
}
ELSEWHERE = "builtins.py"
WORDS = {"range", "if", "in", "not", "and", "or", "for", "while", "return"}  # Python's own before a bracket


def kernel_of(path: Path, optimizer: str | None, *, of: str | None, data: str | None) -> str:
    """The module of a training step, or the functions whose equations contain a quantity.

    With a data set it is what `chainrule train` compiles for it: the pixels scaled, and lists of non-zeros where the
    images are sparse enough. Without one, inputs are arrays of the network's own dtype.
    """
    network = _network(path, data)
    program, module = _module(network, optimizer, data)
    return kernel_text(program, module, network.dtype, of)


def kernel_text(program: Program, module: Module, dtype: str, of: str | None = None) -> str:
    """The text, with a guide before it. Raises: SettingError for a quantity that no equation has."""
    chosen = list(module.functions) if of is None else _with_quantity(program, module, of)
    body = module.text
    for function in chosen:
        body = body.replace(function.text, _annotated(function), 1)
    if of is not None:
        body = "\n\n".join(_annotated(f) for f in chosen) + "\n"
    own = set(re.findall(r"^def (\w+)", module.text, re.MULTILINE))
    return "\n".join([*_guide(body, dtype, own), "", body])


def _network(path: Path, data: str | None) -> Network:
    """The file's network; for a data set, with the scaling that `chainrule train` adds."""
    network = open_network(path)
    scaled = with_scaling(network.formulas) if data is not None and path.suffix != ".safetensors" else None
    return formula(scaled.text, dtype=network.dtype) if scaled and scaled.names else network


def _module(network: Network, optimizer: str | None, data: str | None) -> tuple[Program, Module]:
    if data is None:
        program = training_step(network, optimizer)
        dtypes = {t.name: "int64" if t.role == "label" else network.dtype for t in program.inputs}
        return program, write_module(program, dtypes)
    images = find(data).train
    some = Split(images.images[:ROWS], images.labels[:ROWS])
    arrays: Mapping[str, Any] = network.bind((arrays_for(network.system, some),), {}, ("input", "target", "label"))
    program = network.training_program(optimizer, network.metrics(arrays))[0]
    dtype = np.dtype(network.dtype)
    return program, module_for(program, {t.name: source_array(arrays[t.name], dtype) for t in program.inputs})


def _with_quantity(program: Program, module: Module, name: str) -> list[Function]:
    found = [f for f in module.functions if name in _quantities(program, f.group)]
    if not found:
        known = dict.fromkeys(n for f in module.functions for n in _quantities(program, f.group))
        raise SettingError(say("interfaces.no_quantity", name=name, known=", ".join(known)))
    return found


def _quantities(program: Program, group: Group) -> list[str]:
    """The tensors of a group's equations."""
    touched = group.reads | group.writes
    return [name for name in program.tensors if name in touched]


def _annotated(function: Function) -> str:
    """A function with a line above it that says what kind it is, and where its microkernel is."""
    return f"# {say(f'interfaces.kernel_{function.kind}')}\n{function.text}"


def _guide(body: str, dtype: str, own: set[str]) -> Sequence[str]:
    """Comments: what the names in capitals are here, and in which file each called name is built."""
    shape = tile_shape(dtype)
    values = {
        "TILE_ROWS": shape.rows, "LANES": shape.lanes, "PANEL": shape.panel,
        "WALK_PANELS": walk_panels(shape), "BOTH_PANELS": walk_panels(shape, 2),
    }  # fmt: skip
    constants = ", ".join(f"{name} = {value}" for name, value in values.items() if re.search(rf"\b{name}\b", body))
    lines = [say("interfaces.kernel_head")]
    if constants:
        lines.append(say("interfaces.kernel_here", constants=constants))
    code = "\n".join(line.partition("#")[0] for line in body.splitlines())
    called = sorted(set(re.findall(r"\b([a-zA-Z]\w*)\(", code)) - WORDS - own)
    lines.append(f"{say('interfaces.kernel_names')}:")
    for file in dict.fromkeys([*FILES.values(), ELSEWHERE]):
        names = [n for n in called if FILES.get(n, ELSEWHERE) == file]
        if names:
            lines.append(f"    kernels/{file:<12} {' '.join(names)}")
    return [f"# {line}" for line in lines]
