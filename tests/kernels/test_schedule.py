"""The order of a program's groups keeps what each instruction reads, and no buffer holds two tensors at once."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings

from chainrule.derivation.adjoint import derive_system
from chainrule.errors import NotDifferentiable
from chainrule.formula.expr import Symbol
from chainrule.formula.system import Update as UpdateLine
from chainrule.kernels.schedule import ENTRIES, SAMPLES, Group, schedule, without_gradient
from chainrule.kernels.source import Module, write_module
from chainrule.program.instructions import Instruction, Program, Update, reads
from chainrule.program.lower import lower_training
from tests.kernels.networks import TEXTS, case
from tests.strategies import systems

DESCENT = (UpdateLine(Symbol("w"), Symbol("g")),)


def program_of(name: str) -> Program:
    program, _ = case(name, {}, 3).network("float64").training_program()
    return program


def module_of(program: Program, sparse: frozenset[str] = frozenset()) -> Module:
    return write_module(program, {t.name: "float64" for t in program.inputs}, sparse)


def check_order(program: Program, groups: list[Group]) -> None:
    """Each instruction once, and behind everything that it must stay behind."""
    ordered = [i for g in groups for i in g.instructions]
    assert sorted(map(id, ordered)) == sorted(map(id, program))
    place = {id(i): n for n, i in enumerate(ordered)}
    for first, second in itertools.combinations(program, 2):
        if _dependent(first, second):
            assert place[id(first)] < place[id(second)], f"{second.formula} runs before {first.formula}"


def _dependent(first: Instruction, second: Instruction) -> bool:
    written, overwritten = first.out.tensor, second.out.tensor
    return written in reads(second) or overwritten in reads(first) or written == overwritten


def check_stored(program: Program, groups: list[Group]) -> None:
    """What is read in another group, or after the step, is in memory."""
    for group in groups:
        for name in group.writes:
            readers = [g for g in groups if g is not group and any(name in reads(i) for i in g.instructions)]
            if readers or name in program.watched or program.tensors[name].role != "computed":
                assert name in group.stored, name


def check_loss_first(program: Program, groups: list[Group]) -> None:
    """Nothing is updated before the loss is known: a step that lost it changes nothing."""
    updating = [n for n, g in enumerate(groups) if any(isinstance(i, Update) for i in g.instructions)]
    watching = [n for n, g in enumerate(groups) if g.writes & set(program.watched)]
    assert not updating or not watching or max(watching) < min(updating)


def check_buffers(program: Program, module: Module) -> None:
    """Tensors in one buffer live one after the other."""
    groups = [f.group for f in module.functions]
    life = {}
    for name in module.buffers:
        written = [n for n, g in enumerate(groups) if name in g.writes]
        used = [n for n, g in enumerate(groups) if any(name in reads(i) for i in g.instructions)]
        life[name] = (min(written), max(written + used))
        if name in program.watched or name == program.output:
            life[name] = (min(written), len(groups))
    for a, b in itertools.combinations(module.buffers, 2):
        if module.buffers[a] == module.buffers[b]:
            assert life[a][1] < life[b][0] or life[b][1] < life[a][0], f"{a} and {b} in {module.buffers[a]}"


def check(program: Program) -> None:
    groups = schedule(program)
    check_order(program, groups)
    check_stored(program, groups)
    check_loss_first(program, groups)
    check_buffers(program, module_of(program))


@pytest.mark.parametrize("name", TEXTS)
def test_networks(name):
    check(program_of(name))


@settings(max_examples=30, derandomize=True)
@given(systems())
def test_random_systems(drawn):
    try:
        check(lower_training(derive_system(drawn.system), drawn.system.with_(updates=()), DESCENT))
    except NotDifferentiable:
        pass


def test_the_buffers_of_samples_are_used_again():
    """Else the checks above would hold of nothing."""
    found = module_of(program_of("attention")).buffers
    assert len(set(found.values())) < len(found)


@pytest.mark.parametrize("name", ["two layers", "deep", "own rule"])
def test_threads_meet_twice_a_step(name):
    """Before the loss is looked at, and at the end."""
    program = program_of(name)
    for sparse in (frozenset(), frozenset(t.name for t in program.inputs if t.role == "input")):
        epoch = module_of(program, sparse).text.split("def epoch(")[1]
        assert epoch.count("barrier(control, threads)") == 2


@pytest.mark.parametrize("name", ["three indices", "tied", "skip"])
def test_threads_meet_three_times_at_most(name):
    epoch = module_of(program_of(name)).text.split("def epoch(")[1]
    assert epoch.count("barrier(control, threads)") <= 3


def test_samples_run_through_without_a_barrier():
    """From the input to the deltas a thread waits for nobody; then come the gradients, entry by entry."""
    ways = [g.by for g in schedule(program_of("deep"))]
    assert ways == sorted(ways, key=[SAMPLES, ENTRIES].index)
    assert set(ways) == {SAMPLES, ENTRIES}


def test_an_update_waits_for_the_loss():
    """c <- 0.9*c + 0.1*m could run with m, before the loss of this step is there to be looked at."""
    program = program_of("running mean")
    lines = module_of(program).text.split("def epoch(")[1].splitlines()
    (watch,) = [n for n, line in enumerate(lines) if "watch(" in line]
    (loss,) = [n for n, line in enumerate(lines) if re.search(r"step_\d+_E\(", line)]
    (update,) = [n for n, line in enumerate(lines) if re.search(r"step_\d+_c(_2)?\(", line)]
    assert loss < watch < update


def test_weights_on_the_left_of_the_samples_are_shared_by_entries():
    """In h[j, c] = sum[i](W[j, i]*x[i, c]) the rows are W's: each thread writes to all samples."""
    module = module_of(program_of("mixed rows"))
    (product,) = [f for f in module.functions if f.group.head.out.tensor in ("h", "a_h") and f.kind == "tiles"]
    assert product.group.by == ENTRIES
    assert "threads" in product.arguments


CHANGED = {
    "gradient_descent": set(),
    "adagrad": set(),
    "rmsprop": {"v_W1"},
    "momentum": {"v_W1", "W1"},
    "adam": {"m_W1", "v_W1", "W1"},
    "w <- w - 0.1*(g + 0.01*w)": {"W1"},
}


@pytest.mark.parametrize("rule", CHANGED)
def test_what_a_rule_changes_without_a_gradient(rule):
    """By the textbook's formulas, with g = 0: RMSprop v <- ρv, Adam m and v, and by m the weights."""
    program, _ = case("two layers", {}, 3).network("float64").training_program(rule)
    (group,) = (g for g in schedule(program) if "W1" in g.writes)
    assert {i.out.tensor for i in without_gradient(group)} == CHANGED[rule]
