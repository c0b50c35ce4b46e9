"""The prediction Program of a network → an ONNX file.

It starts from the lowered program, not from layers, so that whatever formulas say goes by construction: a Contract is
a Gemm or a MatMul, a Reduce a ReduceSum, ReduceMax or ReduceMin, a sum over class numbers a Gather, a Map its operators
one by one; softmax, which lowering takes apart, is put together again. The axis of the samples is "N"; inputs and the
output have the names of the formulas; formulas, sizes and what an interface kept beside them (names of classes and
columns) are in the metadata.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import FormulaError, SettingError, ShapeError
from chainrule.formula.expr import (
    Element,
    Expr,
    Mul,
    Size,
    add,
    base_index,
    walk,
)
from chainrule.formula.system import Tensor
from chainrule.messages import say
from chainrule.program.instructions import ACCUMULATOR, Contract, Instruction, Map, Program, Reduce
from chainrule.program.interpret import scalar_values
from chainrule.program.lower import lower_prediction
from chainrule.training.files import write_bytes
from chainrule.training.formats.onnx_forms import Forms
from chainrule.training.formats.onnx_graph import Graph, Value
from chainrule.training.formats.onnx_values import MAX_BYTES, Values

if TYPE_CHECKING:
    from chainrule.training.network import Network

OPSET = 18  # the first in which ReduceMax takes its axes as ReduceSum does; ONNX Runtime 1.14 of 2023 reads it
IR_VERSION = 8  # the one that came with opset 18: the newest, which onnx writes by itself, old runtimes refuse
BATCH = "N"
OUTPUTS_NOTE = "outputs"  # in a network's notes: the tensors that it gives, where these are several
REDUCTIONS = {"sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin"}


@dataclass(frozen=True)
class OnnxReport:
    """What was written: each input and output as "name (N, 784) float32", the operators and how often they occur."""

    inputs: tuple[str, ...]
    output: str
    operators: Mapping[str, int]
    opset: int = OPSET

    def __str__(self) -> str:
        operators = ", ".join(f"{name} {count}" if count > 1 else name for name, count in self.operators.items())
        inputs = ", ".join(self.inputs)
        return say("formats.onnx_written", inputs=inputs, output=self.output, opset=self.opset, operators=operators)

    def to_dict(self) -> dict[str, object]:
        operators = dict(self.operators)
        return {"inputs": list(self.inputs), "output": self.output, "opset": self.opset, "operators": operators}


def write_onnx(network: Network, path: Path) -> OnnxReport:
    """Write the ONNX file of a network's prediction.

    Raises: SettingError without the onnx package; FormulaError for what has no ONNX operator, naming the equation, and
    without an output; ShapeError while sizes are unknown; FileError.
    """
    onnx = _package()
    if network.system.output is None:
        raise FormulaError(say("training.no_output"))
    outputs = outputs_of(network)
    writer = _Writer(network, lower_prediction(network.system, also=outputs[1:]), outputs)
    model = writer.model()
    onnx.checker.check_model(model, full_check=True)
    write_bytes(path, model.SerializeToString(deterministic=True))
    return writer.report(model)


def outputs_of(network: Network) -> list[str]:
    """The names of what a network gives: the output of its system first, then the others that its notes name.

    What notes from a file say that is no result of the formulas is not looked at.
    """
    first, said = str(network.system.output), network.notes.get(OUTPUTS_NOTE)
    predicted = network.system.at_prediction()
    asked = {t.name for t in predicted.of_role("target", "label")}
    results = {e.target.tensor for e in predicted.equations}
    results -= {name for name in results if asked & predicted.depends_on(name)}
    others = [n for n in said if isinstance(n, str) and n in results] if isinstance(said, list) else []
    return list(dict.fromkeys([first, *others]))


def _package() -> Any:
    """The onnx package. Raises: SettingError where it is not installed."""
    try:
        import onnx
        import onnx.checker
        import onnx.helper
    except ImportError:
        raise SettingError(say("formats.no_onnx")) from None
    return onnx


class _Writer:
    def __init__(self, network: Network, program: Program, outputs: Sequence[str]):
        self.network, self.program, self.outputs = network, program, outputs
        self.kept, self.sizes = network.kept, network.sizes
        self.graph = Graph(network.dtype, taken=set(program.tensors))
        self.values = Values(self.graph, self.sizes, program.samples)
        self.forms = Forms(self.graph, self.values, program)
        self.values.rewritten = self.forms.rewritten

    # --- the file

    def model(self) -> Any:
        from onnx import helper, numpy_helper

        inputs = [self._input(t) for t in self.program.inputs]
        for tensor in self.program.kept:
            self._constant(tensor, self.kept[tensor.name])
        self._scalars()
        for instruction in self.program.forward:
            self._instruction(instruction)
        outputs = [self._output(name) for name in self.outputs]
        nodes, used = self._alive()
        constants = {n: a for n, a in self.graph.constants.items() if n in used}
        size = sum(a.nbytes for a in constants.values())
        if size > MAX_BYTES:
            raise SettingError(say("formats.onnx_too_large", came=size, limit=MAX_BYTES))
        graph = helper.make_graph(
            nodes,
            "chainrule",
            [i for i in inputs if i.name in used],
            outputs,
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="chainrule", opset_imports=opset, ir_version=IR_VERSION)
        helper.set_model_props(model, self._metadata())
        return model

    def _metadata(self) -> dict[str, str]:
        network = self.network
        notes = {"notes": json.dumps(network.notes, ensure_ascii=False)} if network.notes else {}
        return {"formulas": network.formulas, "sizes": json.dumps(network.sizes), **notes}

    def report(self, model: Any) -> OnnxReport:
        counts: dict[str, int] = {}
        for node in model.graph.node:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
        ends = {t.name: self._shown(t) for t in self.program.tensors.values()}
        inputs = tuple(ends[i.name] for i in model.graph.input)
        return OnnxReport(inputs, ", ".join(ends[name] for name in self.outputs), counts)

    def _shown(self, tensor: Tensor) -> str:
        kind = "int64" if tensor.classes is not None else self.graph.dtype
        return f"{tensor.name} ({', '.join(map(str, self._shape(tensor)))}) {kind}"

    def _shape(self, tensor: Tensor) -> list[int | str]:
        return [BATCH if i == self.program.samples else self.sizes[base_index(i)] for i in tensor.indices]

    def _info(self, tensor: Tensor) -> Any:
        from onnx import helper

        dtype = np.dtype(np.int64 if tensor.classes is not None else self.graph.dtype)
        return helper.make_tensor_value_info(
            tensor.name, helper.np_dtype_to_tensor_dtype(dtype), self._shape(tensor), tensor.name
        )

    def _input(self, tensor: Tensor) -> Any:
        kind = "int" if tensor.classes is not None else "float"
        self._declare(tensor, Value(tensor.name, tensor.indices, kind))
        if self.program.samples in tensor.indices and self.values.batch is None:
            self.values.batch = tensor.name
        return self._info(tensor)

    def _constant(self, tensor: Tensor, array: np.ndarray[Any, Any]) -> None:
        # By its own name, also where another tensor holds the same numbers.
        self.graph.constants[tensor.name] = np.ascontiguousarray(array) if array.ndim else np.asarray(array)
        self._declare(tensor, Value(tensor.name, tensor.indices))

    def _declare(self, tensor: Tensor, value: Value) -> None:
        self.values.tensors[tensor.name] = value
        self.values.declared[tensor.name] = tensor.indices

    def _scalars(self) -> None:
        """What is computed once a step: numbers, but for what counts the samples."""
        program = self.program
        sizes = {**self.sizes, program.samples: 1}
        try:
            numbers = scalar_values(program, sizes, self.network.hyper_values(program, {}))
        except ShapeError:
            raise self.values.not_expressible("step") from None
        counting: set[str] = set()
        for name, value in program.scalars:
            inner = {getattr(n, "name", None) for n in walk(value)}
            if inner & counting or Size(program.samples) in set(walk(value)):
                counting.add(name)
                self.values.symbols[name] = lambda value=value: self.values.real(value)  # type: ignore[misc]
        for name, number in numbers.items():
            if name not in counting:
                self.values.symbols[name] = lambda number=number: self.graph.number(number)  # type: ignore[misc]

    def _output(self, name: str) -> Any:
        """An output under its own name, also where it is an input or a constant as it is."""
        tensor = self.program.tensors[name]
        value = self.values.tensors[tensor.name]
        if value.name != tensor.name:
            self.graph.node("Identity", value.name, wanted="output")
            self.graph.nodes[-1].output[0] = tensor.name
        return self._info(replace(tensor, classes=None))

    def _alive(self) -> tuple[list[Any], set[str]]:
        """The nodes that lead to the output, and all names that they use."""
        used = set(self.outputs)
        nodes = []
        for node in reversed(self.graph.nodes):
            if used & set(node.output):
                nodes.append(node)
                used |= set(node.input)
        return nodes[::-1], used

    # --- instructions

    def _instruction(self, instruction: Instruction) -> None:
        out = instruction.out
        self.graph.about = self.values.formula = instruction.formula
        self.values.order = [str(s) for s in out.slots]
        match instruction:
            case Contract():
                value = self._contract(instruction)
            case Reduce():
                value = self._reduce(instruction)
            case Map(_, expr, _):
                value = self.values.value(expr)
            case _:
                raise self.values.not_expressible("<-")
        slots = tuple(str(s) for s in out.slots)
        value = self.graph.turned(self.graph.real(value), slots)
        self._named(out.tensor, self._full(value, slots) if out.tensor in self.outputs else value)
        self.forms.written[out.tensor] = instruction

    def _named(self, tensor: str, value: Value) -> None:
        """Keep the value of a tensor, under the tensor's name where it has just been made."""
        last = self.graph.nodes[-1] if self.graph.nodes else None
        fresh = last is not None and last.output[0] == value.name and not self._is_used(value.name)
        if fresh and last is not None:
            last.output[0], last.name = tensor, f"{last.op_type}:{tensor}"
            self.graph.renamed(value.name, tensor)
            value = replace(value, name=tensor)
        self._declare(self.program.tensors[tensor], value)

    def _is_used(self, name: str) -> bool:
        return any(v.name == name for v in self.values.tensors.values()) or name in self.program.tensors

    def _contract(self, instruction: Contract) -> Value:
        """Rows × columns: both sides as matrices, the indices in the order of the sides."""
        bound, rows, columns = instruction.indices, instruction.rows, instruction.columns
        left = self._full(self._side(instruction.left), (*rows, *bound))
        right = self._full(self._side(instruction.right), (*bound, *columns))
        if len(bound) > 1:
            left = replace(left, name=self._reshaped(left, [*[0] * len(rows), -1]))
        if len(bound) > 1 or len(columns) > 1:
            right = replace(right, name=self._reshaped(right, self._as_matrix(bound, columns)))
        bias, epilogue = self._bias(instruction)
        if bias is not None:
            total = self.graph.node("Gemm", left.name, right.name, bias)
        else:
            total = self.graph.node("MatMul", left.name, right.name)
        value = Value(total, (*rows, *columns))
        if len(columns) > 1:
            value = replace(value, name=self._reshaped(value, [*[0] * len(rows), *self._lengths(columns)]))
        return self._finished(instruction, value, epilogue)

    def _side(self, element: Element) -> Value:
        return self.graph.real(self.values.element(element.tensor, element.slots))

    def _as_matrix(self, bound: tuple[str, ...], columns: tuple[str, ...]) -> list[int]:
        lengths = self._lengths(bound), self._lengths(columns)
        return [-1 if -1 in some else math.prod(some) for some in lengths]

    def _lengths(self, indices: tuple[str, ...]) -> list[int]:
        return [-1 if base_index(i) == self.program.samples else self.sizes[base_index(i)] for i in indices]

    def _reshaped(self, value: Value, shape: list[int]) -> str:
        if value.name in self.graph.constants:
            array = self.graph.constants[value.name]
            shape = [array.shape[n] if s == 0 else s for n, s in enumerate(shape)]
            return self.graph.constant(array.reshape(shape), f"{value.name}_matrix")
        return self.graph.node("Reshape", value.name, self.graph.whole(*shape))

    def _bias(self, instruction: Contract) -> tuple[str | None, Expr]:
        """A bias that the product can take with it, and the epilogue without it."""
        accumulator = Element(ACCUMULATOR, instruction.out.slots)
        if len(instruction.rows) == len(instruction.columns) == len(instruction.indices) == 1:
            terms = getattr(instruction.epilogue, "terms", ())
            for term in terms:
                match term:
                    case Element(tensor, slots) if slots == instruction.columns and tensor in self.kept:
                        if accumulator in terms and (instruction.rows + instruction.columns) == instruction.out.slots:
                            rest = add(*(t for t in terms if t is not term))
                            return self.values.element(tensor, slots).name, rest
        return None, instruction.epilogue

    def _reduce(self, instruction: Reduce) -> Value:
        self.values.order += [i for i in instruction.indices if i not in self.values.order]
        indices, body = instruction.indices, instruction.body
        if instruction.kind == "sum" and (found := self.forms.looked_up(body, indices)) is not None:
            indices, body, self.forms.known = found
        value = self._einsum(instruction.kind, body, indices)
        value = value or self._reduced(instruction.kind, self.values.real(body), indices)
        self.forms.known = {}
        return self._finished(instruction, value, instruction.epilogue)

    def _einsum(self, kind: str, body: Expr, indices: tuple[str, ...]) -> Value | None:
        """A sum of products whose factors share indices that stay, sum[e](q[n, l, e]*k[n, m, e]); None where the
        product is no larger than one of its factors.
        """
        factors = body.factors if isinstance(body, Mul) else ()
        if kind != "sum" or len(factors) != 2 or not all(isinstance(f, Element) for f in factors):
            return None
        left, right = (self.values.real(f) for f in factors)
        everything = list(dict.fromkeys((*left.axes, *right.axes)))
        if set(everything) in (set(left.axes), set(right.axes)) or not set(indices) <= set(everything):
            return None
        kept = tuple(a for a in self.values.order if a in everything and a not in indices)
        letters = dict(zip(everything, string.ascii_letters, strict=False))
        sides = ["".join(letters[a] for a in axes) for axes in (left.axes, right.axes, kept)]
        equation = f"{sides[0]},{sides[1]}->{sides[2]}"
        return Value(self.graph.node("Einsum", left.name, right.name, equation=equation), kept)

    def _reduced(self, kind: str, value: Value, indices: tuple[str, ...]) -> Value:
        absent = [i for i in indices if i not in value.axes]
        if kind == "sum" and absent:
            value = self.values.join("Mul", value, *(self.values.real(Size(base_index(i))) for i in absent[:1]))
            for index in absent[1:]:
                value = self.values.join("Mul", value, self.values.real(Size(base_index(index))))
        places = [n for n, a in enumerate(value.axes) if a in indices]
        if not places:
            return value
        name = self.graph.node(REDUCTIONS[kind], value.name, self.graph.whole(*places), keepdims=0)
        return Value(name, tuple(a for a in value.axes if a not in indices))

    def _finished(self, instruction: Contract | Reduce, value: Value, epilogue: Expr) -> Value:
        """The epilogue on the finished sum."""
        slots = tuple(str(s) for s in instruction.out.slots)
        if epilogue == Element(ACCUMULATOR, instruction.out.slots):
            return value
        self.values.tensors[ACCUMULATOR], self.values.declared[ACCUMULATOR] = self.graph.turned(value, slots), slots
        return self.values.value(epilogue)

    def _full(self, value: Value, axes: tuple[str, ...]) -> Value:
        """The value with exactly these axes, widened where it lacks some."""
        value = self.graph.turned(value, axes)
        if value.axes == axes:
            return value
        name = self.graph.beside(value, axes)
        pieces = [self.values.rows() if n == -1 else self.graph.whole(n) for n in self._lengths(axes)]
        shape = self.graph.node("Concat", *pieces, axis=0)
        return Value(self.graph.node("Expand", name, shape), axes, value.kind)
