"""Generated text → LLVM instructions: the small part of Python that kernels/source.py writes.

    Module      = functions; `epoch` is called from outside, the others from it
    Statement   = name = value | name += value | pointer[i] = value | for name in range(…) | if … else … | return | call
    Value       = numbers, names, + - * / // %, comparisons, not/and/or, pointer[i], calls

Types are found as a reader finds them: a name has the type of its first assignment, a function is translated for the
types that it is called with. There are int (64 bits), F (the dtype of the step), float64, bool, pointers to numbers,
and vectors of F or bool. A number meets a vector as a vector of equal numbers. Whole numbers of fewer bits in
memory are int once they are read, and lose their first bits where they are written.

Where Python would raise, this does not look: // and % are those of whole numbers that are not negative, range counts
upwards, a name is read after it was assigned to, an index lies inside. `and` and `or` compute both of their sides.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import add, floordiv, mod, mul, sub
from typing import Any

from llvmlite import ir

from chainrule.errors import CompileError
from chainrule.messages import say

# Products may be fused, sums reordered, divisions shared. `nnan` and `ninf` are left out: they would let LLVM drop the
# tests that find a number that is not finite.
FAST_MATH = ("contract", "reassoc", "nsz", "arcp", "afn")
# With `arcp`, LLVM would make 1/√x from x86's estimate and a Newton step: NaN at 0 and ∞, wrong at denormal numbers.
NO_ESTIMATES = '"reciprocal-estimates"="none"'

INT = ir.IntType(64)
BOOL = ir.IntType(1)
FLOAT64 = ir.DoubleType()
ENTRY = "epoch"
ENTRY_ARGUMENTS = (INT, INT, INT.as_pointer(), INT.as_pointer(), FLOAT64.as_pointer(), INT.as_pointer())

# What a call of a name in the text builds: (translator of the function, arguments) → value, or None for no value.
Builtin = Callable[["FunctionTranslator", list[ir.Value]], ir.Value | None]


def translate(text: str, number: ir.Type, lanes: int, builtins: Mapping[str, Builtin], constants: Mapping[str, Any],
              entry: str, path: str = "<chainrule>") -> ir.Module:  # fmt: skip
    """The module of a text; `number` is the type F, `lanes` the width of its vectors, `entry` the name of `epoch`.

    Raises: CompileError with the line, where the text is outside the language.
    """
    module = ir.Module("chainrule")
    translator = Translator(module, number, lanes, dict(builtins), dict(constants), path)
    try:
        tree = ast.parse(text, path)
    except (SyntaxError, ValueError) as error:
        reason = f"line {getattr(error, 'lineno', 0)}: {getattr(error, 'msg', error)}"
        raise CompileError(say("kernels.failed", reason=reason, path=path)) from error
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            translator.add(node)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            raise translator.error(node, "a module has functions only")
    if ENTRY not in translator.functions:
        raise CompileError(say("kernels.no_entry"))
    if len(translator.functions[ENTRY].args.args) != len(ENTRY_ARGUMENTS):
        raise translator.error(translator.functions[ENTRY], f"{ENTRY} takes {len(ENTRY_ARGUMENTS)} arguments")
    translator.function(ENTRY, ENTRY_ARGUMENTS, entry)
    return module


@dataclass
class Translator:
    """One module: what it may call, and which functions are done."""

    module: ir.Module
    number: ir.Type
    lanes: int
    builtins: dict[str, Builtin]
    constants: dict[str, Any]
    path: str
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    done: dict[tuple[str, tuple[str, ...]], ir.Function] = field(default_factory=dict)

    def error(self, node: ast.AST, reason: str) -> CompileError:
        line = getattr(node, "lineno", 0)
        return CompileError(say("kernels.failed", reason=f"line {line}: {reason}", path=self.path))

    def add(self, node: ast.FunctionDef) -> None:
        """One more function that the text may call, or that is called from outside."""
        given = node.args
        plain = not (given.posonlyargs or given.vararg or given.kwonlyargs or given.kwarg or given.defaults)
        if not plain or node.decorator_list:
            raise self.error(node, "a function has plain arguments and no decorator")
        if node.name in self.functions:
            raise self.error(node, f"{node.name} is defined twice")
        self.functions[node.name] = node

    def function(self, name: str, types: tuple[ir.Type, ...], symbol: str | None = None) -> ir.Function:
        """The function `name` for arguments of these types, translated when it is first asked for."""
        key = (name, tuple(str(t) for t in types))
        if key not in self.done:
            node = self.functions[name]
            returns = any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(node))
            kind = ir.FunctionType(INT if returns else ir.VoidType(), types)
            made = ir.Function(self.module, kind, symbol or f"{name}.{len(self.done)}")
            made.attributes.add("nounwind")
            # Past llvmlite's list of known attributes, which has none of the form "name"="value".
            set.add(made.attributes, NO_ESTIMATES)
            if symbol is None:
                made.linkage = "internal"
                if any(isinstance(n, ast.For | ast.While) for n in ast.walk(node)):
                    # A call costs nothing beside a loop; one function with all loops in it would cost LLVM minutes.
                    made.attributes.add("noinline")
                for argument in made.args:
                    if isinstance(argument.type, ir.PointerType):
                        argument.add_attribute("noalias")  # a function gets each tensor once
            self.done[key] = made
            FunctionTranslator(self, made, node).run()
        return self.done[key]


class FunctionTranslator:
    """The body of one function."""

    def __init__(self, parent: Translator, function: ir.Function, node: ast.FunctionDef):
        self.parent, self.function, self.node = parent, function, node
        self.where: ast.AST = node  # what is translated now, for errors of builtins
        self.number, self.lanes = parent.number, parent.lanes
        self.vector = ir.VectorType(parent.number, parent.lanes)
        self.entry = function.append_basic_block("entry")
        self.builder = ir.IRBuilder(function.append_basic_block("body"))
        self.names: dict[str, ir.Value] = {}  # arguments as they are, variables as their place on the stack

    def run(self) -> None:
        body = self.builder.block
        for argument, value in zip(self.node.args.args, self.function.args, strict=True):
            self.names[argument.arg] = value
        self.statements(self.node.body)
        if not self.builder.block.is_terminated:
            if self.returns_nothing():
                self.builder.ret_void()
            else:
                self.builder.ret(INT(0))
        ir.IRBuilder(self.entry).branch(body)

    def returns_nothing(self) -> bool:
        return isinstance(self.function.function_type.return_type, ir.VoidType)

    # statements

    def statements(self, nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if self.builder.block.is_terminated:
                raise self.parent.error(node, "cannot be reached")
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Expr(ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(ast.Call() as call):
                self.call(call)
            case ast.Assign([ast.Name(name)], value):
                self.assign(node, name, self.value(value))
            case ast.Assign([ast.Subscript(pointer, index)], value):
                place, kind = self.place(pointer, index)
                self.store(node, self.value(value), place, kind)
            case ast.AugAssign(ast.Name(name), operator, value):
                self.assign(node, name, self.binary(node, operator, self.load_name(node, name), self.value(value)))
            case ast.AugAssign(ast.Subscript(pointer, index), operator, value):
                place, kind = self.place(pointer, index)
                result = self.binary(node, operator, self.load(place), self.value(value))
                self.store(node, result, place, kind)
            case ast.For(ast.Name(name), ast.Call(ast.Name("range"), arguments), body, []):
                self.loop(node, name, [self.whole(a) for a in arguments], body)
            case ast.While(test, body, []):
                self.repeat(lambda: self.decision(test), lambda: self.statements(body))
            case ast.If(test, body, otherwise):
                self.branch(self.decision(test), body, otherwise)
            case ast.Return(None) if self.returns_nothing():
                self.builder.ret_void()
            case ast.Return(value) if value is not None:
                self.builder.ret(self.convert(node, self.value(value), INT))
            case _:
                raise self.parent.error(node, f"{type(node).__name__} is no statement of a kernel")

    def assign(self, node: ast.AST, name: str, value: ir.Value) -> None:
        place = self.names.get(name)
        if place is None:
            place = self.stack(value.type)
            self.names[name] = place
        elif not isinstance(place, ir.AllocaInstr):
            raise self.parent.error(node, f"the argument {name} is assigned to")
        self.builder.store(self.convert(node, value, place.type.pointee), place)

    def load(self, place: ir.Value) -> ir.Value:
        value = self.builder.load(place)
        return self.cast(value, INT) if isinstance(value.type, ir.IntType) and value.type != BOOL else value

    def store(self, node: ast.AST, value: ir.Value, place: ir.Value, kind: ir.Type) -> None:
        if value.type == INT and isinstance(kind, ir.IntType) and kind.width < INT.width:
            value = self.builder.trunc(value, kind)
        self.builder.store(self.convert(node, value, kind), place)

    def stack(self, kind: ir.Type) -> ir.AllocaInstr:
        """Room on the stack until the function returns, taken once, however often a loop comes by."""
        return ir.IRBuilder(self.entry).alloca(kind)

    def loop(self, node: ast.AST, name: str, arguments: list[ir.Value], body: list[ast.stmt]) -> None:
        if not 1 <= len(arguments) <= 3:
            raise self.parent.error(node, f"range takes 1 to 3 arguments, not {len(arguments)}")
        start = arguments[0] if len(arguments) > 1 else INT(0)
        stop = arguments[min(1, len(arguments) - 1)]
        step = arguments[2] if len(arguments) > 2 else INT(1)
        if isinstance(step, ir.Constant) and step.constant <= 0:
            raise self.parent.error(node, "range counts upwards")
        counter = self.stack(INT)
        self.builder.store(start, counter)

        def turn() -> None:
            self.assign(node, name, self.builder.load(counter))
            self.statements(body)
            if not self.builder.block.is_terminated:
                more = self.builder.add(self.builder.load(counter), step, flags=("nsw",))
                self.builder.store(more, counter)

        self.repeat(lambda: self.builder.icmp_signed("<", self.builder.load(counter), stop), turn)

    def repeat(self, test: Callable[[], ir.Value], turn: Callable[[], None]) -> None:
        head, inside, after = (self.function.append_basic_block(n) for n in ("head", "inside", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(test(), inside, after)
        self.builder.position_at_end(inside)
        turn()
        if not self.builder.block.is_terminated:
            self.builder.branch(head)
        self.builder.position_at_end(after)

    def decision(self, test: ast.expr) -> ir.Value:
        """A condition that one branch can follow."""
        condition = self.condition(test)
        if condition.type != BOOL:
            raise self.parent.error(test, "a vector of conditions decides nothing: use select")
        return condition

    def branch(self, test: ir.Value, body: list[ast.stmt], otherwise: list[ast.stmt]) -> None:
        yes, no, after = (self.function.append_basic_block(n) for n in ("yes", "no", "after"))
        self.builder.cbranch(test, yes, no)
        for block, nodes in ((yes, body), (no, otherwise)):
            self.builder.position_at_end(block)
            self.statements(nodes)
            if not self.builder.block.is_terminated:
                self.builder.branch(after)
        self.builder.position_at_end(after)

    # values

    def value(self, node: ast.expr) -> ir.Value:
        match node:
            case ast.Constant(bool(truth)):
                return BOOL(int(truth))
            case ast.Constant(int(whole)):
                return INT(whole)
            case ast.Constant(float(number)):
                return FLOAT64(number)
            case ast.Name(name):
                return self.load_name(node, name)
            case ast.BinOp(left, operator, right):
                return self.binary(node, operator, self.value(left), self.value(right))
            case ast.UnaryOp(ast.USub(), operand):
                return self.negative(node, self.value(operand))
            case ast.UnaryOp(ast.Not(), operand):
                return self.builder.not_(self.condition(operand))
            case ast.BoolOp(operator, operands):
                combine = self.builder.and_ if isinstance(operator, ast.And) else self.builder.or_
                result = self.condition(operands[0])
                for operand in operands[1:]:
                    result = combine(*self.alike(node, result, self.condition(operand)))
                return result
            case ast.Compare(left, [operator], [right]):
                return self.compare(node, operator, self.value(left), self.value(right))
            case ast.Subscript(pointer, index):
                place, _ = self.place(pointer, index)
                return self.load(place)
            case ast.Call():
                result = self.call(node)
                if result is None:
                    raise self.parent.error(node, "has no value")
                return result
        raise self.parent.error(node, f"{type(node).__name__} is no value of a kernel")

    def load_name(self, node: ast.AST, name: str) -> ir.Value:
        found = self.names.get(name)
        if isinstance(found, ir.AllocaInstr):
            return self.builder.load(found)
        if found is not None:
            return found
        if name in self.parent.constants:
            number = self.parent.constants[name]
            return INT(number) if isinstance(number, int) else FLOAT64(number)
        raise self.parent.error(node, f"{name} has no value here")

    def place(self, pointer: ast.expr, index: ast.expr) -> tuple[ir.Value, ir.Type]:
        base = self.value(pointer)
        if not isinstance(base.type, ir.PointerType):
            raise self.parent.error(pointer, "is no pointer")
        return self.builder.gep(base, [self.whole(index)]), base.type.pointee

    def whole(self, node: ast.expr) -> ir.Value:
        """A value that counts or points."""
        value = self.value(node)
        if value.type != INT:
            raise self.parent.error(node, f"{value.type} where a whole number is wanted")
        return value

    def condition(self, node: ast.expr) -> ir.Value:
        """A bool or a vector of them."""
        value = self.value(node)
        if BOOL not in (value.type, getattr(value.type, "element", None)):
            raise self.parent.error(node, f"{value.type} where a condition is wanted")
        return value

    def call(self, node: ast.Call) -> ir.Value | None:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise self.parent.error(node, "a call names a function")
        arguments = [self.value(a) for a in node.args]
        self.where, name = node, node.func.id
        if name in self.parent.builtins:
            try:
                return self.parent.builtins[name](self, arguments)
            except (TypeError, ValueError, AttributeError, IndexError, NotImplementedError) as error:
                raise self.parent.error(node, f"{name}: {error}") from error
        if name not in self.parent.functions:
            raise self.parent.error(node, f"{name} is no function")
        wanted = len(self.parent.functions[name].args.args)
        if len(arguments) != wanted:
            raise self.parent.error(node, f"{name} takes {wanted} arguments, not {len(arguments)}")
        function = self.parent.function(name, tuple(a.type for a in arguments))
        result = self.builder.call(function, arguments)
        return None if isinstance(result.type, ir.VoidType) else result

    def binary(self, node: ast.AST, operator: ast.operator, left: ir.Value, right: ir.Value) -> ir.Value:
        left, right = self.alike(node, left, right)
        names = _FLOAT_OPERATORS if is_float(left.type) else _INT_OPERATORS
        name = names.get(type(operator))
        if name is None or not (is_float(left.type) or left.type == INT):
            raise self.parent.error(node, f"{type(operator).__name__} of {left.type}")
        if left.type == INT and isinstance(left, ir.Constant) and isinstance(right, ir.Constant):
            if name in ("udiv", "urem") and right.constant == 0:
                raise self.parent.error(node, "division by 0")
            return INT(_FOLD[name](left.constant, right.constant))  # stack(TILE_ROWS * PANEL) must know its size
        operate = getattr(self.builder, name)
        result: ir.Value = operate(left, right, flags=FAST_MATH if is_float(left.type) else ())
        return result

    def compare(self, node: ast.AST, operator: ast.cmpop, left: ir.Value, right: ir.Value) -> ir.Value:
        left, right = self.alike(node, left, right)
        relation = _RELATIONS.get(type(operator))
        if relation is None or not (is_float(left.type) or left.type == INT or relation in ("==", "!=")):
            raise self.parent.error(node, f"{type(operator).__name__} of {left.type}")
        if not is_float(left.type):
            return self.builder.icmp_signed(relation, left, right)
        if relation == "!=":
            return self.builder.fcmp_unordered(relation, left, right)  # NaN differs from everything
        return self.builder.fcmp_ordered(relation, left, right)

    def negative(self, node: ast.AST, value: ir.Value) -> ir.Value:
        if is_float(value.type):
            return self.builder.fneg(value, flags=FAST_MATH)
        if value.type != INT:
            raise self.parent.error(node, f"{value.type} has no negative")
        return INT(-value.constant) if isinstance(value, ir.Constant) else self.builder.neg(value)

    # types

    def alike(self, node: ast.AST, left: ir.Value, right: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Both of one type: a number beside a vector is spread over it, a whole number takes the other's type."""
        if left.type == right.type:
            return left, right
        if isinstance(left.type, ir.VectorType):
            return left, self.convert(node, right, left.type)
        if isinstance(right.type, ir.VectorType):
            return self.convert(node, left, right.type), right
        if is_float(left.type) and right.type == INT:
            return left, self.convert(node, right, left.type)
        if is_float(right.type) and left.type == INT:
            return self.convert(node, left, right.type), right
        # No silent mixing of formats: a stray float64 would make a float32 loop half as fast without a word.
        raise self.parent.error(node, f"{left.type} meets {right.type}")

    def convert(self, node: ast.AST, value: ir.Value, kind: ir.Type) -> ir.Value:
        if value.type == kind:
            return value
        if isinstance(kind, ir.VectorType) and not isinstance(value.type, ir.VectorType):
            return self.splat(self.convert(node, value, kind.element))
        if value.type == INT and is_float(kind):
            return self.builder.sitofp(value, kind)
        if value.type == INT and isinstance(kind, ir.IntType):
            return self.builder.trunc(value, kind)
        raise self.parent.error(node, f"{value.type} where {kind} is wanted")

    def splat(self, value: ir.Value) -> ir.Value:
        """A vector of equal numbers."""
        kind = ir.VectorType(value.type, self.lanes)
        if isinstance(value, ir.Constant):
            return kind([value.constant] * self.lanes)
        return splat(self.builder, value, kind)

    def cast(self, value: ir.Value, kind: ir.Type) -> ir.Value:
        """What `F(value)`, `float64(value)` and `int64(value)` are: the number in another type."""
        source = value.type
        if source == kind:
            return value
        if not isinstance(source, ir.IntType | ir.FloatType | ir.DoubleType):
            raise TypeError(f"a number is wanted, not {source}")
        if isinstance(value, ir.Constant) and is_float(kind):
            return kind(float(value.constant))
        if is_float(kind) and is_float(source):
            narrower = isinstance(kind, ir.FloatType)
            return self.builder.fptrunc(value, kind) if narrower else self.builder.fpext(value, kind)
        if is_float(kind):
            signed = isinstance(source, ir.IntType) and source.width >= 32
            return self.builder.sitofp(value, kind) if signed else self.builder.uitofp(value, kind)
        if is_float(source):
            return self.builder.fptosi(value, kind)
        return self.builder.sext(value, kind) if source.width >= 32 else self.builder.zext(value, kind)


def is_float(kind: ir.Type) -> bool:
    """Whether a type is a floating-point number or a vector of them."""
    element = kind.element if isinstance(kind, ir.VectorType) else kind
    return isinstance(element, ir.FloatType | ir.DoubleType)


def splat(builder: ir.IRBuilder, value: ir.Value, kind: ir.VectorType) -> ir.Value:
    """A vector whose lanes are all `value`."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.IntType(32)(0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), None)
    return builder.shuffle_vector(first, undefined, everywhere)


_FLOAT_OPERATORS: dict[type, str] = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
_INT_OPERATORS: dict[type, str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "udiv", ast.Mod: "urem",
}  # fmt: skip
_FOLD = {"add": add, "sub": sub, "mul": mul, "udiv": floordiv, "urem": mod}
_RELATIONS: dict[type, str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
