"""Program → the module of loops that is compiled: plain Python to read, typed and translated by translate.py.

One function per group of instructions (schedule.py), one `epoch` that every thread calls once. Every sum has one owner
and one order, whatever the number of threads: results are the same bits. Threads meet at a barrier only where one
reads what another has written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

from chainrule.kernels.gathers import (
    GATHER,
    GATHER_LISTED,
    GATHER_NUMBERS,
    columns_name,
    gather_lists,
    gather_name,
    has_columns,
    list_arguments,
    list_width,
)
from chainrule.kernels.products import ROOM, SMALL_WEIGHTS, Products
from chainrule.kernels.results import deliver_function, watch_function
from chainrule.kernels.schedule import (
    ENTRIES,
    SAMPLES,
    Group,
    Layouts,
    SparseInput,
    as_matrices,
    choose_layouts,
    schedule,
    sparse_inputs,
)
from chainrule.kernels.threads import CONTROL_WORDS, QUEUE_WORDS
from chainrule.kernels.walks import Function, numbers_name
from chainrule.program.instructions import Contract, Program, reads
from chainrule.program.passes import signs_of_results

# Words of `number`; the sizes, strides and capacities that Module.numbers names follow.
ROWS, BATCH, FIRST_STEP, LAST_STEP, EPOCH_STEPS, FIRST_NUMBER = range(6)
# Shares of the batch's rows, for each thread, so that who is slow does less: 4, where the weights are small. But for
# each share all weights are read again. Large ones come from far away: of 2,048 × 2,048, a product takes 1.03 of the
# time with 2 shares a thread and 1.05 to 1.1 with 4. And where non-zeros are walked, case A's took 1.05 and 1.16. So
# there it is one.
SHARES = 4
# Memory that is no tensor's. Tensors' names have no spaces, so none is called so.
ORDER, SUMS, RESULT, CLOCKS, KEYS = "the order", "the sums", "the result", "the clocks", "the keys"


@dataclass(frozen=True)
class Module:
    """The text of a compiled step, and what its arguments mean.

    `addresses` names the memory behind each word of `address`; `numbers` what follows FIRST_NUMBER in `number`;
    `buffers` maps each computed tensor to its buffer; `words` is memory for whole numbers, so many for each combination
    of these indices, and their dtype; `parts` names what the clocks of a profile measure; `listed` the inputs that lie
    in memory as lists; `queues` counts the loops whose units are taken by whoever is free.
    """

    text: str
    layouts: Layouts
    sparse: Mapping[str, SparseInput]
    numbers: tuple[str, ...]
    addresses: tuple[str, ...]
    buffers: Mapping[str, str]
    scratch: Mapping[str, tuple[tuple[str, ...], str, tuple[str, ...]]]
    words: Mapping[str, tuple[tuple[str, ...], int, str]]
    functions: tuple[Function, ...]
    parts: tuple[str, ...]
    listed: frozenset[str]
    queues: int

    def control(self, threads: int) -> int:
        """How many control words a call with so many threads needs."""
        return CONTROL_WORDS + self.queues * threads * QUEUE_WORDS


def write_module(
    program: Program,
    input_dtypes: Mapping[str, str],
    sparse: frozenset[str] = frozenset(),
    profile: bool = False,
    listed: frozenset[str] = frozenset(),
    shared: frozenset[str] = frozenset(),
) -> Module:
    """The module of a program.

    `input_dtypes` are the dtypes in which inputs, targets and labels lie in memory; `sparse` names the inputs that come
    as lists of non-zeros, where the program can walk them: Module.sparse says which it does. `listed` are those among
    them that lie in memory so, as sparse tables: where a program cannot walk them, the batch's rows are made dense.
    Of those that are `shared`, two neighbouring columns share a list.
    """
    program = signs_of_results(program)
    groups = schedule(program)
    walked = sparse_inputs(program, set(sparse), listed, shared)
    layouts = choose_layouts(program)
    while (bad := _not_walkable(groups, layouts, walked)) is not None:
        del walked[bad]
    if walked:
        groups = [g for g in groups if g.head.out.tensor not in walked]
    writer = _ModuleWriter(program, input_dtypes, groups, layouts, walked, profile, listed)
    return writer.run()


def _not_walkable(groups: list[Group], layouts: Layouts, sparse: Mapping[str, SparseInput]) -> str | None:
    """A sparse input that some product, as it was laid out, does not have on its left."""
    for group in groups:
        head = group.head
        names = [name for name in reads(head) if name in sparse]
        if isinstance(head, Contract) and names:
            layout = layouts.home[head.out.tensor]
            product = as_matrices(head, str(head.out.slots[layout.column if layout.column is not None else -1]))
            other = [name for name in names if product is None or name != product.left.tensor]
            if product is None or other:
                return other[0]
            place = [n for n, s in enumerate(product.right.slots) if s not in product.indices]
            if len(place) != 1 or layouts.panels(product.right.tensor, place[0]) is None:
                return names[0]
    return None


@dataclass
class _Line:
    depth: int
    text: str


@dataclass
class _ModuleWriter:
    program: Program
    input_dtypes: Mapping[str, str]
    groups: list[Group]
    layouts: Layouts
    sparse: Mapping[str, SparseInput]
    profile: bool
    listed: frozenset[str]
    addresses: list[str] = field(default_factory=list)
    lines: list[_Line] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    rows: list[tuple[str, str]] = field(default_factory=list)  # calls of this phase by samples, and their parts
    others: list[tuple[str, str]] = field(default_factory=list)  # those by entries

    def run(self) -> Module:
        self.walks = Products(self.program, self.layouts, self.sparse, in_batch=self._delivers())
        self.names = self.walks.names
        self.buffers = self._assign_buffers()
        for group in self.groups:
            match type(group.head).__name__:
                case "Contract":
                    self.walks.contract(group)
                case "Reduce":
                    self.walks.reduce(group)
                case _:
                    self.walks.map(group)
        gathers = [text for name in self.sparse for text in gather_lists(self.walks, name)]
        for name in self.walks.numbered:
            self.walks.words[numbers_name(name)] = (self.program.tensors[name].indices, 1, "int64")
        gathers += [GATHER_NUMBERS] if self.walks.numbered else []
        gathers += [GATHER_LISTED] if self._listed() else []
        self._epoch()
        epoch = "\n".join("    " * line.depth + line.text for line in self.lines).replace(
            "<parts>", str(len(self.parts))
        )
        functions = self.walks.functions
        texts = [f.text for f in functions] + [GATHER, *gathers, self._result_function(), epoch]
        head = f'"""One step, generated by chainrule.\n\n{self._formulas()}\n"""\n\n'
        return Module(
            head + "\n\n".join(t for t in texts if t) + "\n",
            self.layouts,
            self.sparse,
            tuple(self._numbers()),
            tuple(self.addresses),
            self.buffers,
            self.walks.scratch,
            self.walks.words,
            tuple(functions),
            tuple(self.parts),
            self.listed,
            self.walks.queues,
        )

    def _formulas(self) -> str:
        return "\n".join(dict.fromkeys(i.formula for i in self.program)).replace('"""', "'''").replace("\\", "/")

    def _numbers(self) -> list[str]:
        indices = [i for i in self.walks.indices if i != self.program.samples]
        found = [f"size {i}" for i in indices] + [f"stride {i}" for i in self.walks.indices]
        for name in self.sparse:
            found += [f"lists {name} {what}" for what in ("capacity", "room", "blocks", "block")]
        return found

    def _assign_buffers(self) -> dict[str, str]:
        """Tensor → buffer. A buffer of the samples' own rows is used again once nobody reads it any more."""
        last: dict[str, int] = {}
        for position, group in enumerate(self.groups):
            for name in sorted(group.reads | group.writes):
                last[name] = position
        forever = {*self.program.watched, self.program.output}
        private = {
            name
            for name, t in self.program.tensors.items()
            if all(g.by == SAMPLES for g in self.groups if name in g.reads | g.writes)
        }
        free: dict[object, list[str]] = {}
        buffers: dict[str, str] = {}
        for position, group in enumerate(self.groups):
            stored = [n for n in sorted(group.stored) if self.program.tensors[n].role == "computed"]
            for name in stored:
                shape = (self.layouts.home[name], self.layouts.copies.get(name))
                spare = free.get(shape, []) if name in private else []
                buffers[name] = spare.pop() if spare else f"buffer {len(set(buffers.values()))}"
            for name in sorted(group.reads | group.writes):
                if name in buffers and name in private and name not in forever and last[name] == position:
                    shape = (self.layouts.home[name], self.layouts.copies.get(name))
                    free.setdefault(shape, []).append(buffers[name])
        return buffers

    # the epoch

    def _add(self, depth: int, text: str) -> None:
        self.lines.append(_Line(depth, text))

    def _address(self, key: str, kind: str) -> str:
        if key not in self.addresses:
            self.addresses.append(key)
        return f"{kind}_at(address[{self.addresses.index(key)}])"

    def _memories(self) -> list[tuple[str, str]]:
        """(name of a memory, key of its buffer) of every tensor that is written or read."""
        found = []
        for name, tensor in self.program.tensors.items():
            if name in self.sparse or name in {s.source for s in self.sparse.values()}:
                continue
            if tensor.role == "computed" and name not in self.buffers:
                continue
            if tensor.classes is not None and not self._read(name):
                continue
            key = self.buffers.get(name, name)
            found.append((name, key))
            home = self.layouts.home[name]
            for (copy, _), column in zip(self.layouts.columns(name), self.layouts.copies.get(name, ()), strict=True):
                found.append((copy, f"{key} by {column}" if home else copy))
        return found

    def _listed(self) -> list[str]:
        """Inputs that lie in memory as lists, and are not walked so."""
        walked = {s.source for s in self.sparse.values()}
        return [t.name for t in self.program.inputs if t.name in self.listed - walked]

    def _read(self, name: str) -> bool:
        """Whether a function reads a tensor in the dtype of the step."""
        return any(self.names("tensor", name) in f.arguments for f in self.walks.functions)

    def _epoch(self) -> None:
        names, program, add = self.names, self.program, self._add
        n = names("size", program.samples)
        add(0, "def epoch(thread, threads, address, number, scalar, control):")
        for position, key in enumerate(self._numbers()):
            kind, _, index = key.partition(" ")
            name = names("tensor" if kind == "lists" else kind, index)
            add(1, f"{name} = number[{FIRST_NUMBER + position}]")
        for name, key in self._memories():
            add(1, f"{names('tensor', name)} = {self._address(key, 'F')}")
        for name in self.walks.scratch:
            add(1, f"{names('tensor', name)} = {self._address(name, 'F')}")
        for name, (_, _, kind) in self.walks.words.items():
            add(1, f"{names('tensor', name)} = {self._address(name, kind)}")
        room = names("tensor", ROOM)
        if any(room in f.arguments for f in self.walks.functions):
            add(1, f"{room} = {self._address(ROOM, 'F')}")
        for tensor in program.inputs:
            source = names("tensor", f"{tensor.name} source")
            add(1, f"{source} = {self._address(f'{tensor.name} source', self.input_dtypes[tensor.name])}")
        for name in self.sparse:
            words = self.walks.sparse_words(name)
            kinds = {"starts": "int64", "places": "int32", "rows": "F", "counts": "int64", "columns": "F"}
            for word, (part, kind) in zip(words, kinds.items(), strict=False):
                add(1, f"{word} = {self._address(f'{name} {part}', kind)}")
            if self.sparse[name].listed:
                add(1, f"{words[-1]} = {self._address(f'{name} firsts', 'int64')}")
            if self.sparse[name].shared:
                add(1, f"{words[-1]} = {self._address(f'{name} ends', 'int64')}")
        for name in self._listed():
            for part, kind in (("starts", "int64"), ("places", "int32")):
                add(1, f"{names('tensor', f'{name} {part}')} = {self._address(f'{name} {part}', kind)}")
        add(1, f"order = {self._address(ORDER, 'int64')}")
        add(1, f"sums = {self._address(SUMS, 'float64')}")
        if self._delivers():
            add(1, f"result = {self._address(RESULT, 'F')}")
        if self.profile:
            add(1, f"clocks = {self._address(CLOCKS, 'int64')}")
            add(1, "begun = clock()")
        draws = [f"{name} {number}" for name, numbers in program.draws.items() for number in range(numbers)]
        if draws:
            add(1, f"keys = {self._address(KEYS, 'int64')}")
        add(1, "mode = flush_tiny()")
        add(1, f"for s in range(number[{FIRST_STEP}], number[{LAST_STEP}]):")
        # Several epochs may follow each other in one call, each with its own order of the rows.
        add(2, f"round = s // number[{EPOCH_STEPS}]")
        add(2, f"end = (round + 1) * number[{ROWS}]")
        add(2, f"batch_first = round * number[{ROWS}] + (s - round * number[{EPOCH_STEPS}]) * number[{BATCH}]")
        add(2, f"{n} = least(number[{BATCH}], end - batch_first)")
        # Rows come in shares of whole tiles.
        add(2, f"tiles = ({n} + TILE_ROWS - 1) // TILE_ROWS")
        add(2, f"shares = {self._shares()}")
        for position, (name, _) in enumerate(program.scalars):
            add(2, f"{names('scalar', name)} = F(scalar[s * {len(program.scalars)} + {position}])")
        for position, draw in enumerate(draws):
            add(2, f"{names('key', draw)} = keys[s * {len(draws)} + {position}]")
        self._gather_batch()
        self._run_groups(n)
        add(2, "barrier(control, threads)")
        self._clock("waiting")
        add(2, "if thread == 0:")
        add(3, "store(control, PROGRESS, s + 1)")
        # The step it was decided in, not only that it was: the deciding thread may be a step ahead of this one, and one
        # that left too early would be missing at the others' barrier.
        add(2, "decided = load(control, DECIDED)")
        add(2, "if decided > 0 and decided <= s + 1:")
        add(3, "restore(mode)")
        add(3, "return s + 1")
        add(1, "restore(mode)")
        add(1, f"return number[{LAST_STEP}]")

    def _shares(self) -> str:
        """Into how many shares the rows of a batch are divided."""
        if self.sparse:
            return "threads"
        weights = [t.indices for t in self.program.tensors.values() if t.role == "parameter" and len(t.indices) > 1]
        entries = dict.fromkeys(" * ".join(self.names("size", i) for i in indices) for indices in weights)
        few = " and ".join(["threads > 1", *(f"{count} <= {SMALL_WEIGHTS}" for count in entries)])
        return f"select({few}, {SHARES} * threads, threads)"

    def _clock(self, part: str, depth: int = 2) -> None:
        """Add the time since the last look at the clock to a part's."""
        if not self.profile:
            return
        if part not in self.parts:
            self.parts.append(part)
        place = f"thread * <parts> + {self.parts.index(part)}"
        for line in ("now = clock()", f"clocks[{place}] += now - begun", "begun = now"):
            self._add(depth, line)

    # phases: what runs between two barriers

    def _meet(self) -> None:
        """What was called before, and a barrier."""
        self._run_phase()
        self._add(2, "barrier(control, threads)")
        self._clock("waiting")

    def _run_phase(self) -> None:
        """The calls of a phase. Its rows depend on nothing else in it: whoever is free takes the next share of them.

        All calls for a row are made by one thread: each needs what the one before has written.
        """
        if self.rows:
            n = self.names("size", self.program.samples)
            offer, take = self.walks.queue("shares")
            self._add(2, offer)
            self._add(2, take)
            self._add(2, "while unit >= 0:")
            self._add(3, f"start = least({n}, tiles * unit // shares * TILE_ROWS)")
            self._add(3, f"stop = least({n}, tiles * (unit + 1) // shares * TILE_ROWS)")
            self._call_all(3, self.rows)
            self._add(3, take)
        self._call_all(2, self.others)
        self.rows, self.others = [], []

    def _call_all(self, depth: int, calls: list[tuple[str, str]]) -> None:
        for part, same in groupby(calls, key=itemgetter(1)):
            for call, _ in same:
                self._add(depth, call)
            self._clock(part, depth)

    def _gather_batch(self) -> None:
        names, program = self.names, self.program
        sources = {s.source: name for name, s in self.sparse.items()}
        for tensor in program.inputs:
            source = names("tensor", f"{tensor.name} source")
            if tensor.name in sources:
                name = sources[tensor.name]
                told = [*list_arguments(self.walks, name), list_width(self.walks, name), source]
                self._gather(f"{gather_name(self.walks, name)}(start, stop, {', '.join(told)}, end - 1)")
                if has_columns(self.walks, name):
                    n = names("size", program.samples)
                    call = f"{columns_name(self.walks, name)}(thread, threads, {n}, {', '.join(told)})"
                    self.others.append((call, "gather"))
                continue
            indices = [i for i in tensor.indices if i != program.samples]
            width = " * ".join(names("size", i) for i in indices) or "1"
            padded = self.layouts.home[tensor.name].padded and indices
            stride = names("stride", indices[-1]) if padded else width
            batch = names("tensor", tensor.name)
            if tensor.name in self.walks.numbered:
                numbers = names("tensor", numbers_name(tensor.name))
                self._gather(f"copy_numbers(start, stop, {width}, order, batch_first, {source}, {numbers})")
            if tensor.classes is not None and not self._read(tensor.name):
                continue
            if tensor.name in self.listed:
                words = ", ".join(names("tensor", f"{tensor.name} {part}") for part in ("starts", "places"))
                given = f"order, batch_first, {words}, {source}, {batch}"
                self._gather(f"copy_listed(start, stop, {width}, {stride}, {given})")
                continue
            self._gather(f"gather(start, stop, {width}, {stride}, order, batch_first, {source}, {batch})")

    def _gather(self, call: str) -> None:
        self.rows.append((call, "gather"))

    def _run_groups(self, n: str) -> None:
        written_by_gather = {*(t.name for t in self.program.inputs), *self.sparse}
        open_groups: list[tuple[str, set[str], set[str]]] = [
            (SAMPLES, set(), {self._place(t) for t in written_by_gather})
        ]
        watched = self._delivers()
        scratch = {self.names("tensor", s): s for s in self.walks.scratch}
        for function in self.walks.functions:
            group = function.group
            if group.updates and not watched:
                self._watch(n)
                watched, open_groups = True, [] if self.program.watched else open_groups
            read = {self._place(t) for t in group.reads} | {s for a, s in scratch.items() if a in function.arguments}
            write = {self._place(t) for t in group.stored}
            if group.head.out.tensor in self.walks.scratch:
                write = {group.head.out.tensor}
                read -= write
            if any(_conflict(other, (group.by, read, write)) for other in open_groups):
                self._meet()
                open_groups = []
            calls = self.rows if group.by == SAMPLES else self.others
            calls.append((f"{function.name}({', '.join(function.arguments)})", function.name))
            open_groups.append((group.by, read, write))
        if not watched:
            self._watch(n)
        if self._delivers():
            output = self.program.output
            assert output is not None
            inner = [i for i in self.program.tensors[output].indices if i != self.program.samples]
            sizes = ", ".join(self.names("size", i) for i in inner)
            strides = f", {self.names('stride', inner[-1])}" if inner else ""
            if any(by == ENTRIES for by, _, _ in open_groups):
                self._meet()
            call = f"deliver(start, stop, batch_first{', ' + sizes if sizes else ''}{strides}, "
            self.rows.append((f"{call}{self.names('tensor', output)}, result)", "deliver"))
        self._run_phase()

    def _place(self, tensor: str) -> str:
        return self.buffers.get(tensor, tensor)

    # loss and metrics

    def _watch(self, n: str) -> None:
        watched = "".join(f", {self.names('tensor', name)}" for name in self.program.watched)
        if self.program.watched:
            self._meet()
        # Else it asks only whether to stop, and may come before what this phase calls.
        self._add(2, f"if watch(thread, s, round, {n}, control, sums{watched}) != 0:")
        self._add(3, "restore(mode)")
        self._add(3, "return s")

    def _result_function(self) -> str:
        """What a step tells: a prediction its output, a training its loss and metrics."""
        if self._delivers():
            return deliver_function(self.program, self.names, self.layouts)
        return watch_function(self.program, self.names)

    def _delivers(self) -> bool:
        """Whether this is a prediction: its output is copied out step by step."""
        return self.program.output is not None and not self.program.update and not self.program.watched


def _conflict(first: tuple[str, set[str], set[str]], second: tuple[str, set[str], set[str]]) -> bool:
    """Whether two groups must not run at once: one writes what the other touches, and not each its own rows."""
    if first[0] == second[0] == SAMPLES:
        return False
    return bool(first[2] & (second[1] | second[2]) or first[1] & second[2])
