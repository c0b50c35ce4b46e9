"""`chainrule show MODEL --as numpy --out reader.py`: a program that predicts with NumPy alone, its weights beside it.

The program reads .npy, .npz and .csv; that of a model which was trained on a table takes the rows of such a table as
they are: numbers, words, ISO dates and gaps.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.data.columns import Layout
from chainrule.data.tables import MISSING
from chainrule.errors import FormulaError, SettingError
from chainrule.formula.system import Tensor
from chainrule.interfaces.tabular import layout_of
from chainrule.messages import say
from chainrule.program.lower import lower_prediction
from chainrule.program.write_predictor import PredictorText, predictor_text
from chainrule.training.files import write_bytes
from chainrule.training.network import Network

Array = np.ndarray[Any, Any]

AS_ROWS = '''\
def as_rows(values, shape, dtype):
    """Rows of this shape: one alone is one row, an image is read row by row."""
    array = np.asarray(values, dtype=dtype)
    if array.shape == shape:
        return array[None]
    if array.ndim == 0 or array[:1].size != min(len(array), 1) * int(np.prod(shape)):
        raise ValueError(f"a row has the shape {shape}, and what came has {array.shape}")
    return array.reshape(len(array), *shape)'''

FINITE = '''\
def finite(text, column):
    """A number as it is written, such as 12, -0.5, or 3e-4."""
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value) or "_" in text:
        raise SystemExit(f"column {column}: {text!r} is no number such as 12.5: correct it, or leave it empty")
    return value'''

NUMBER = '''\
def number(row, column, kind):
    """A cell as a number: NaN where it is missing."""
    text = row[column].strip()
    if text in MISSING:
        return math.nan
    return finite(text, column)'''

NUMBER_OR_DATE = '''\
def number(row, column, kind):
    """A cell as a number: NaN where it is missing; of a date (2024-03-31) its day, month, weekday or hour."""
    text = row[column].strip()
    if text in MISSING:
        return math.nan
    if kind == "number":
        return finite(text, column)
    date = datetime.fromisoformat(text).replace(tzinfo=None)
    days = (date - datetime(1970, 1, 1)).total_seconds() / 86400
    return {"day": days, "month": date.month, "weekday": date.weekday(), "hour": days % 1 * 24}[kind]'''

CATEGORY = '''\
def category(row, column, words):
    """The place of a cell's word; one that is not known has the place behind the last."""
    text = row[column].strip()
    text = "" if text in MISSING else text
    return words.index(text) if text in words else len(words)'''


def write_predictor(network: Network, model: Path, out: Path) -> list[Path]:
    """Write the program and its weights; the files. Raises: SettingError, FormulaError, FileError."""
    if out.suffix != ".py" or not out.stem:
        raise SettingError(say("formats.predictor_suffix", path=out))
    if network.system.output is None:
        raise FormulaError(say("training.no_output"))
    weights, _ = out.with_suffix(".npz"), network.kept  # which raises where sizes are unknown
    source = _Source(network, layout_of(network, model), out.name)
    text = source.text()
    write_bytes(weights, _npz({t.name: network.kept[t.name] for _, t in source.told.kept}))
    write_bytes(out, text.encode())
    return [out, weights]


def _npz(arrays: dict[str, Array]) -> bytes:
    """What numpy.load reads without pickles. numpy.savez itself has no arrays named "file"."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as file:
                np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


class _Source:
    def __init__(self, network: Network, layout: Layout | None, name: str):
        self.network, self.layout = network, layout
        self.name = name.replace("\\", "").replace('"', "")
        program = lower_prediction(network.system)
        self.program = program
        self.told: PredictorText = predictor_text(
            program, network.sizes, network.hyper_values(program, {}), network.dtype
        )

    def text(self) -> str:
        """The whole program."""
        body = [*self._weights(), *self.told.head, AS_ROWS, self._predict(), *self._table(), self._read(), self._main()]
        code = "\n\n\n".join(body)
        imports = ["csv", *(["math"] if "math." in code else []), "sys"]
        lines = [f"import {name}" for name in imports]
        lines += ["from datetime import datetime"] if "datetime(" in code else []
        return "\n".join([self._docstring(), "", *lines, *self._path(), "", "import numpy as np", "", code, ""])

    # --- the head

    def _path(self) -> list[str]:
        return ["from pathlib import Path"] if self.told.kept else []

    def _docstring(self) -> str:
        quoted = self.network.formulas.replace("\\", "\\\\").replace('"""', "'''").strip("\n")
        lines = [f"Predicts {self.told.output} with NumPy alone, by the formulas of a model:", ""]
        lines += [f"    {line}".rstrip() for line in quoted.splitlines()]
        lines += ["", "It was written by chainrule. Import predict from it, or run it:", ""]
        for name, what in self._usage():
            lines.append(f"    python {self.name} {name:<24}{what}".rstrip())
        return '"""' + "\n".join(lines) + '\n"""'

    def _usage(self) -> list[tuple[str, str]]:
        if self.layout is not None:
            first = [("table.csv", "the rows of a table with the columns of the training, under a line of names")]
        elif self._is_plain():
            first = [("rows.csv", "rows of numbers"), ("rows.npy", "or an array of NumPy's")]
        else:
            first = []
        named = ", ".join(f"{t.name} ({self._shape_text(t)})" for _, t in self.told.inputs)
        npz = [("rows.npz", f"arrays by name: {named}")]
        return [*first, *npz, (f"{(first or npz)[0][0]} out.csv", "write what is else printed; .npy too")]

    def _weights(self) -> list[str]:
        if not self.told.kept:
            return []
        lines = ['with np.load(Path(__file__).with_suffix(".npz"), allow_pickle=False) as WEIGHTS:']
        for name, tensor in self.told.kept:
            shape = ", ".join(str(self.network.sizes[i]) for i in tensor.indices)
            lines.append(f'    {name} = WEIGHTS["{tensor.name}"]  # ({shape})')
        return ["\n".join(lines)]

    # --- predict

    def _predict(self) -> str:
        names = ", ".join(name for name, _ in self.told.inputs)
        shapes = ", ".join(f"{name} ({self._shape_text(t)})" for name, t in self.told.inputs)
        output = self.program.tensors[str(self.program.output)]
        lines = [f"def predict({names}):", f'    """{shapes} → {self.told.output} ({self._shape_text(output)})."""']
        for name, tensor in self.told.inputs:
            lines += [f"    {line}" for line in self._checked(name, tensor)]
        lines.append("")
        lines += [f"    {line}" if line else "" for text in self.told.body for line in text.split("\n")]
        return "\n".join([*lines, f"    return {self.told.output}"])

    def _checked(self, name: str, tensor: Tensor) -> list[str]:
        shape = tuple(self.network.sizes[i] for i in self._own(tensor))
        if tensor.classes is None:
            return [f"{name} = as_rows({name}, {shape}, {self.told.float})"]
        count = self.network.sizes[tensor.classes]
        return [
            f"{name} = as_rows({name}, {shape}, int)",
            f"if {name}.size and ({name}.min() < 0 or {name}.max() >= {count}):",
            f'    raise ValueError("{name} counts from 0 to {count - 1}")',
        ]

    def _own(self, tensor: Tensor) -> list[str]:
        return [i for i in tensor.indices if i != self.program.samples]

    def _shape_text(self, tensor: Tensor) -> str:
        sizes = ["N" if i == self.program.samples else str(self.network.sizes[i]) for i in tensor.indices]
        return ", ".join(sizes)

    # --- tables

    def _table(self) -> list[str]:
        layout = self.layout
        if layout is None:
            return []
        lists = []
        if layout.numbers:
            rows = [_tuple(repr(f.column), repr(f.kind), repr(f.fill), str(f.marked)) for f in layout.numbers]
            lists.append(_list("NUMBERS", "column, kind, what stands for a missing one, whether that is marked", rows))
        if layout.categories:
            rows = [_tuple(repr(f.column), repr(list(f.words))) for f in layout.categories]
            lists.append(_list("CATEGORIES", 'column, words; "" is a missing one', rows))
        if layout.target.task == "classification":
            lists.append(f"CLASSES = {list(layout.target.words)!r}")
        lists.append(f"MISSING = {sorted(MISSING)!r}")
        dated = any(f.kind != "number" for f in layout.numbers)
        parsers = [FINITE, NUMBER_OR_DATE if dated else NUMBER] if layout.numbers else []
        parsers += [CATEGORY] if layout.categories else []
        return ["\n".join(lists), *parsers, self._encode(layout)]

    def _encode(self, layout: Layout) -> str:
        """What turns rows of a table into the arguments of predict."""
        lines = ["def encode(rows):", '    """Rows of a table, a dictionary each, as what predict takes."""']
        lines += ["    if not rows:", '        raise SystemExit("there are no rows below the line of names")']
        if layout.numbers:
            lines += [
                "    found = np.array([[number(row, name, kind) for name, kind, _, _ in NUMBERS] for row in rows])",
                "    missing = np.isnan(found)",
                "    filled = np.where(missing, [fill for _, _, fill, _ in NUMBERS], found)",
            ]
            if layout.marked:
                lines.append("    numbers = np.hstack([filled, missing[:, [marked for *_, marked in NUMBERS]]])")
            else:
                lines.append("    numbers = filled")
        if layout.categories:
            lines.append(
                "    codes = np.array([[category(row, name, words) for name, words in CATEGORIES] for row in rows])"
            )
        return "\n".join([*lines, f"    return [{', '.join(self._arguments(layout))}]"])

    def _arguments(self, layout: Layout) -> list[str]:
        """As interfaces/tabular.py fills the inputs: by name, or numbers and categories, or all as one vector."""
        inputs = [t for _, t in self.told.inputs]
        places = {f.name: k for k, f in enumerate(layout.numbers)}
        declared = self.network.system.of_role("input")
        if all(len(t.indices) == 1 and t.classes is None and t.name in places for t in declared):
            return [f"numbers[:, {places[t.name]}]" for t in inputs]
        chosen = [t.name for t in declared if t.classes is not None]
        if chosen:
            return [f"codes[:, {chosen.index(t.name)}]" if t.name in chosen else "numbers" for t in inputs]
        blocks = ["numbers"] if layout.numbers else []
        blocks += [f"codes[:, [{k}]] == np.arange({len(f.words)})" for k, f in enumerate(layout.categories)]
        return [f"np.hstack([{', '.join(blocks)}])" if len(blocks) > 1 else blocks[0]]

    # --- running it

    def _is_plain(self) -> bool:
        """Whether a table of numbers holds what goes in."""
        return len(self.told.inputs) == 1

    def _read(self) -> str:
        names = ", ".join(f'"{t.name}"' for _, t in self.told.inputs)
        names = f"[{names}]"
        lines = ["def read(path):", '    """The arguments of predict from a file."""', '    if path.endswith(".npz"):']
        lines += ["        with np.load(path, allow_pickle=False) as file:"]
        lines += [f"            return [file[name] for name in {names}]"]
        if self.layout is not None:
            lines += ['    with open(path, newline="", encoding="utf-8-sig") as file:']
            lists = [
                n for n, some in (("NUMBERS", self.layout.numbers), ("CATEGORIES", self.layout.categories)) if some
            ]
            lines += ["        rows = csv.DictReader(file)"]
            lines += [
                f"        for name, *_ in {' + '.join(lists)}:",
                "            if name not in (rows.fieldnames or []):",
            ]
            lines += ['                raise SystemExit(f"{path} has no column {name}")']
            lines += [
                "        if len(set(rows.fieldnames)) < len(rows.fieldnames):",
                '            raise SystemExit(f"{path} has two columns of one name")',
                "        table = list(rows)",
                "        for place, row in enumerate(table, 1):",
                "            if None in row or None in row.values():",
                '                raise SystemExit(f"{path}, row {place}: there are not as many values as columns")',
                "        return encode(table)",
            ]
        elif self._is_plain():
            lines += ['    if path.endswith(".npy"):', "        return [np.load(path, allow_pickle=False)]"]
            lines += ['    with open(path, newline="", encoding="utf-8-sig") as file:']
            lines += ["        return [[[float(cell) for cell in row] for row in csv.reader(file) if row]]"]
        else:
            lines += [f'    raise SystemExit("several inputs come in a .npz file with the arrays {self._listed()}")']
        return "\n".join(lines)

    def _listed(self) -> str:
        return ", ".join(t.name for _, t in self.told.inputs)

    def _main(self) -> str:
        lines = ["def main(path, out=None):", '    """Predict the rows of a file: printed, or written to another."""']
        lines += ["    output = np.asarray(predict(*read(path)))"]
        lines += ['    if out is not None and out.endswith(".npy"):', "        return np.save(out, output)"]
        lines += ["    numbers = output.reshape(len(output), -1) if output.ndim else output.reshape(1, 1)"]
        classes = self.layout is not None and self.layout.target.task == "classification"
        if classes:
            lines += ["    if numbers.shape[1] == 1:", "        numbers = np.hstack([1 - numbers, numbers])"]
            lines += ['    rows = [["prediction", *CLASSES]]']
            lines += ["    rows += [[CLASSES[row.argmax()], *map(str, row)] for row in numbers]"]
        else:
            lines += ["    rows = [[str(number) for number in row] for row in numbers]"]
        lines += ["    if out is None:", "        csv.writer(sys.stdout).writerows(rows)", "        return None"]
        lines += ['    with open(out, "w", newline="", encoding="utf-8") as file:']
        lines += ["        csv.writer(file).writerows(rows)"]
        lines += ["", "", 'if __name__ == "__main__":', "    if len(sys.argv) not in (2, 3):"]
        lines += ["        raise SystemExit(__doc__)", "    main(*sys.argv[1:])"]
        return "\n".join(lines)


def _tuple(*items: str) -> str:
    return f"({', '.join(items)})"


def _list(name: str, comment: str, rows: list[str]) -> str:
    return "\n".join([f"{name} = [  # {comment}", *(f"    {row}," for row in rows), "]"])
