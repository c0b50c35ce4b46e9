"""What lowering took apart or wrote as a sum, by the one operator that ONNX has for it: Softmax, Gather."""

from __future__ import annotations

from chainrule.formula.expr import (
    ONE,
    Delta,
    Element,
    Expr,
    Mul,
    Number,
    Position,
    Power,
    add,
    elements,
    free_indices,
    mul,
    substitute,
    walk,
)
from chainrule.formula.lookup import Pin, pins, without
from chainrule.program.instructions import ACCUMULATOR, Instruction, Map, Program, Reduce
from chainrule.training.formats.onnx_graph import Graph, Value
from chainrule.training.formats.onnx_values import Values


class Forms:
    """`written` are the instructions so far, by their results; `known` are values that stand for expressions, for as
    long as one instruction is written.
    """

    def __init__(self, graph: Graph, values: Values, program: Program):
        self.graph, self.values, self.program = graph, values, program
        self.known: dict[Expr, Value] = {}
        self.written: dict[str, Instruction] = {}

    def rewritten(self, expr: Expr) -> Value | None:
        """What stands for an expression, where something does."""
        if expr in self.known:
            return self.known[expr]
        return self._softmax(expr) if isinstance(expr, Mul) else None

    def _softmax(self, product: Mul) -> Value | None:
        """exp(a - max a)/∑ exp(a - max a), where the three were written before, by one operator."""
        for factor in product.factors:
            match factor:
                case Power(Element(total, _), Number(value)) if value == -1:
                    for powers in product.factors:
                        if not isinstance(powers, Element):
                            continue
                        body = self._normalized(powers, total)
                        if body is None:
                            continue
                        inside, index = self.values.real(body[0]), body[1]
                        if index not in inside.axes:
                            return None
                        name = self.graph.node("Softmax", inside.name, axis=inside.axes.index(index))
                        rest = mul(*(f for f in product.factors if f is not factor and f is not powers))
                        softmax = Value(name, inside.axes)
                        return softmax if rest == ONE else self.values.join("Mul", softmax, self.values.real(rest))
        return None

    def _normalized(self, powers: Element, total: str) -> tuple[Expr, str] | None:
        """(a, k) where `powers` is exp(a[k] - max a) and `total` its sum along k."""
        summed, raised = self.written.get(total), self.written.get(powers.tensor)
        if not isinstance(summed, Reduce) or not isinstance(raised, Map) or len(summed.indices) != 1:
            return None
        if summed.kind != "sum" or summed.epilogue != Element(ACCUMULATOR, summed.out.slots):
            return None
        bound = summed.indices[0]
        if not isinstance(summed.body, Element) or summed.body.tensor != powers.tensor or powers != raised.out:
            return None
        index = next((str(own) for own, s in zip(powers.slots, summed.body.slots, strict=True) if s == bound), None)
        shifted = raised.value
        if index is None or getattr(shifted, "function", None) != "exp":
            return None
        for term in getattr(shifted.arguments[0], "terms", ()):  # type: ignore[attr-defined]
            match term:
                case Mul((Number(sign), Element(top, _))) if sign == -1 and top in self.written:
                    largest = self.written[top]
                    body = add(*(t for t in shifted.arguments[0].terms if t is not term))  # type: ignore[attr-defined]
                    if self._is_largest(largest, body, index):
                        return body, index
        return None

    def _is_largest(self, instruction: Instruction, body: Expr, index: str) -> bool:
        return (
            isinstance(instruction, Reduce)
            and instruction.kind == "max"
            and len(instruction.indices) == 1
            and instruction.epilogue == Element(ACCUMULATOR, instruction.out.slots)
            and substitute(body, {index: instruction.indices[0]}) == instruction.body
        )

    def looked_up(self, body: Expr, indices: tuple[str, ...]) -> tuple[tuple[str, ...], Expr, dict[Expr, Value]] | None:
        """A sum over what class numbers pin down: rows read by Gather. None where it has to be summed."""
        used = [p for p in pins(body, self.program.tensors) if p.index in indices]
        if not used:
            return None
        rest = without(body, used)
        known: dict[Expr, Value] = {}
        for pin in used:
            if not self._gather(pin, rest, known):
                return None
        left = tuple(i for i in indices if i not in {p.index for p in used})
        return left, rest, known

    def _gather(self, pin: Pin, body: Expr, known: dict[Expr, Value]) -> bool:
        numbers = self.values.element(pin.number.tensor, pin.number.slots)
        if numbers.kind != "int":
            return False
        for node in walk(body):
            if isinstance(node, Delta) and pin.index in free_indices(node):
                return False
        for element in elements(body):
            if pin.index not in element.slots:
                continue
            table = known.get(element) or self.values.element(element.tensor, element.slots)
            if table.axes.count(pin.index) != 1 or set(numbers.axes) & set(table.axes):
                return False
            place = table.axes.index(pin.index)
            name = self.graph.node("Gather", table.name, numbers.name, axis=place)
            known[element] = Value(name, (*table.axes[:place], *numbers.axes, *table.axes[place + 1 :]), table.kind)
        known[Position(pin.index)] = numbers
        return True
