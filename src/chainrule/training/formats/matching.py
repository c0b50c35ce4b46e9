"""Weights from elsewhere into a network: which array goes where, or an error that says what could go where.

What `names` says comes first; then equal names; then, of arrays of one kind (a matrix and a vector, four vectors), the
numbers in their names give the order where they differ in numbers only (fc1, fc2; dense, dense_1), and the shapes where
they do not. Where that leaves a choice, nothing is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import DataError, FileError, SettingError
from chainrule.formula.system import Tensor
from chainrule.messages import say
from chainrule.training.container import plain
from chainrule.training.formats.modules import ROLES, Module, modules_of, with_joined
from chainrule.training.formats.placements import Placement, Placements, lines_of
from chainrule.training.formats.torch_file import notes_on
from chainrule.training.formats.weight_files import Weight, WeightFile, natural, read_weight_file

if TYPE_CHECKING:
    from chainrule.training.network import Network

Array = np.ndarray[Any, Any]
SHOWN = 40  # lines of a table of candidates
MAX_TRIES = 10_000  # of arrays in the place of others; what is not sure by then stays so


def import_weights(net: Any, path: str | Path, names: Mapping[str, str] | None = None) -> Placements:
    """Load the weights of a PyTorch state_dict (safetensors) or of Keras (.weights.h5, .h5) into a network.

    `net` is a Network, or a model that has one. `names` maps names of the file to those of the formulas where neither
    names nor shapes tell, {"fc1.weight": "W1"}; an empty one leaves an array out. The result is the table of what went
    where: print it. Nothing is changed where anything does not fit.

    Raises: FileError for a file that is damaged or could run code; SettingError where it is not sure what goes where,
    with the candidates; DataError for weights that are not finite.
    """
    network: Network = getattr(net, "network", net)
    file = read_weight_file(Path(path))
    if not file.weights:
        raise FileError(say("formats.not_weights", path=path))
    pairs = _Matching(network, file, names or {}).pairs()
    arrays: dict[str, Array] = {}
    rows = []
    sizes = dict(network.sizes)
    for pair in pairs:
        array = pair.array(sizes, file.rows_first)
        _check(network, pair, array, path)
        sizes |= dict(zip(pair.tensor.indices, array.shape, strict=True))
        arrays[pair.tensor.name] = _as(network.dtype, array, path, pair.source.name)
        turned = pair.source.dtype is not None and pair.is_turned(file.rows_first)
        rows.append(Placement(pair.source.name, pair.source.shape, pair.tensor.name, array.shape, turned))
    learned = {p.name for p in network.system.parameters}
    network.set_parameters({n: a for n, a in arrays.items() if n in learned})
    network.keep({n: np.ascontiguousarray(a) for n, a in arrays.items() if n not in learned})
    notes = notes_on(modules_of(network).found) if file.rows_first else []
    return Placements(tuple(rows), tuple(notes))


@dataclass(frozen=True)
class Pair:
    """An array and the tensor that it becomes, in its module where it has one; of an array for several inputs put
    together, `begin` and `count` say which part.
    """

    source: Weight
    tensor: Tensor
    module: Module | None = None
    role: str = ""
    begin: int = 0
    count: int | None = None

    def array(self, sizes: Mapping[str, int], rows_first: bool) -> Array:
        array = self.source.read()
        if self.count is not None:
            part = slice(self.begin, self.begin + self.count)
            array = array[:, part] if rows_first else array[part]
        if self.module is None or not _fits(
            self.module.shape(self.role, self.tensor, sizes, rows_first=rows_first), array.shape
        ):
            return array
        return self.module.inward(self.role, self.tensor, array, sizes, rows_first=rows_first)

    def is_turned(self, rows_first: bool) -> bool:
        if self.module is None or self.role != "weight" or len(self.source.shape) != 2 or not self.module.summed:
            return False
        sides = (self.module.free, self.module.summed) if rows_first else (self.module.summed, self.module.free)
        return self.tensor.indices != tuple(i for side in sides for i in side)


def _check(network: Network, pair: Pair, array: Array, path: str | Path) -> None:
    wanted = tuple(network.sizes.get(i) for i in pair.tensor.indices)
    if not _fits(wanted, array.shape):
        name, shown = pair.tensor.name, tuple(w or i for w, i in zip(wanted, pair.tensor.indices, strict=True))
        raise SettingError(
            say("formats.wrong_shape", source=pair.source.name, came=array.shape, name=name, wanted=shown)
        )
    if not np.isfinite(array).all():
        raise DataError(say("formats.not_finite", path=path, name=pair.source.name))


def _as(dtype: str, array: Array, path: str | Path, name: str) -> Array:
    with np.errstate(over="ignore"):
        numbers = array.astype(dtype)
    if not np.isfinite(numbers).all():
        raise DataError(say("formats.too_wide", path=path, name=name, dtype=dtype))
    return numbers


def _fits(wanted: Sequence[int | None], came: Sequence[int]) -> bool:
    return len(wanted) == len(came) and all(w in (None, c) for w, c in zip(wanted, came, strict=True))


class _Matching:
    def __init__(self, network: Network, file: WeightFile, names: Mapping[str, str]):
        self.network, self.file, self.names = network, file, names
        self.system, self.sizes = network.system, network.sizes
        self.rows_first = file.rows_first
        self.tries = 0
        self.tensors = {t.name: t for t in network.system.of_role("parameter", "state")}
        self.modules = modules_of(network)

    def pairs(self) -> list[Pair]:
        """A pair for each parameter. Raises: SettingError with the table of candidates."""
        try:
            return self._pairs()
        except SettingError:
            joined = with_joined(self.modules)
            if len(joined.found) == len(self.modules.found):
                raise
            apart, self.modules = self.modules, joined
            try:
                return self._pairs()
            except SettingError:
                self.modules = apart
            return self._pairs()

    def _pairs(self) -> list[Pair]:
        weights = {w.name: w for w in self.file.weights}
        pairs = self._said(weights)
        pairs += self._beside(pairs, [w for w in weights.values() if w.name not in self.names])
        taken = {p.tensor.name for p in pairs}
        used = {p.source.name for p in pairs} | set(self.names)
        left = [w for w in weights.values() if w.name not in used]
        if same := self._by_own_names(left, taken):
            return [*pairs, *same]
        sources = self._grouped(left)
        targets = [m for m in self.modules.found if not taken & set(m.parts.values())]
        pairs += self._loose(sources, targets, taken)
        pairs += self._by_place(sources, targets) or self._by_order(sources, targets)
        self._complete(pairs)
        return pairs

    # --- what was said

    def _said(self, weights: Mapping[str, Weight]) -> list[Pair]:
        pairs = []
        for name, target in self.names.items():
            if name not in weights:
                raise SettingError(
                    say("formats.no_such_weight", path=self.file.path, name=name, known=_listed(weights))
                )
            if not target:
                continue
            if target not in self.tensors:
                known = ", ".join(self.tensors)
                raise SettingError(say("training.unknown_parameter", name=target, known=known))
            owner = self.modules.of(target) or (None, "")
            pairs.append(Pair(weights[name], self.tensors[target], *owner))
        if len({p.tensor.name for p in pairs}) < len(pairs):
            raise SettingError(say("formats.target_twice"))
        return pairs

    def _beside(self, said: Sequence[Pair], left: Sequence[Weight]) -> list[Pair]:
        """What lies beside an array that was said goes beside its tensor: with fc1.weight=W1, fc1.bias is its bias."""
        pairs: list[Pair] = []
        known = dict(self.sizes)
        filled = {p.tensor.name for p in said}
        for pair in said:
            roles = [r for r in ROLES if pair.module is not None and r in pair.module.parts]
            for weight in left:
                role = roles[int(weight.role)] if weight.role in map(str, range(len(roles))) else weight.role
                if pair.module is None or weight.module != pair.source.module or role not in roles:
                    continue
                name = pair.module.parts[role]
                if name not in filled and self._unify(pair.module, role, weight.shape, known):
                    filled.add(name)
                    pairs.append(Pair(weight, self.tensors[name], pair.module, role))
        return pairs

    # --- names

    def _by_own_names(self, weights: Sequence[Weight], taken: set[str]) -> list[Pair]:
        """The names and shapes of the formulas: a file that chainrule wrote."""
        found = {w.name: w for w in weights}
        needed = {p.name for p in self.system.parameters} - taken
        if not needed or not needed <= set(found) <= set(self.tensors):
            return []
        return [Pair(w, self.tensors[n]) for n, w in found.items()]

    def _loose(self, sources: dict[str, list[Weight]], targets: list[Module], taken: set[str]) -> list[Pair]:
        """Tensors of no module, such as those that scale the inputs, by their own names."""
        owned = {t for m in targets for t in m.parts.values()}
        pairs = []
        for module, members in list(sources.items()):
            for weight in members:
                tensor = self.tensors.get(weight.name)
                if tensor is not None and weight.name not in owned | taken:
                    pairs.append(Pair(weight, tensor))
                    members.remove(weight)
            if not members:
                del sources[module]
        return pairs

    def _by_place(self, sources: Mapping[str, list[Weight]], targets: Sequence[Module]) -> list[Pair]:
        """The names that nn.Sequential gives to such a network."""
        places = {str(m.place): m for m in targets}
        if not self.modules.chain or set(places) != set(sources):
            return []
        solutions = self._solutions(list(places.values()), [[sources[place]] for place in places], self.sizes)
        return solutions[0] if solutions else []

    # --- order and shapes

    def _grouped(self, weights: Sequence[Weight]) -> dict[str, list[Weight]]:
        groups: dict[str, list[Weight]] = {}
        for weight in sorted(weights, key=lambda w: natural(w.name)):
            groups.setdefault(weight.module, []).append(weight)
        return dict(sorted(groups.items(), key=lambda item: natural(item[0])))

    def _by_order(self, sources: Mapping[str, list[Weight]], targets: Sequence[Module]) -> list[Pair]:
        kinds: dict[tuple[int, ...], list[Module]] = {}
        for module in targets:
            kinds.setdefault(self._kind(module), []).append(module)
        given: dict[tuple[int, ...], list[str]] = {}
        for name, members in sources.items():
            given.setdefault(tuple(sorted(len(w.shape) for w in members)), []).append(name)
        pairs: list[Pair] = []
        for kind in {**kinds, **given}:
            pairs += self._of_kind(kinds.get(kind, []), {n: sources[n] for n in given.get(kind, [])}, sources)
        return pairs

    def _kind(self, module: Module) -> tuple[int, ...]:
        return tuple(sorted(len(self._shape(module, role)) for role in module.parts))

    def _shape(self, module: Module, role: str) -> tuple[int | None, ...]:
        tensor = self.tensors[module.parts[role]]
        return module.shape(role, tensor, self.sizes, rows_first=self.rows_first)

    def _of_kind(
        self, targets: Sequence[Module], given: Mapping[str, list[Weight]], sources: Mapping[str, list[Weight]]
    ) -> list[Pair]:
        if given and not targets:
            raise self._without_place([w for members in given.values() for w in members])
        if len(targets) != len(given):
            raise self._unsure(targets, sources)
        if len({re.sub(r"_?\d+", "", n) for n in given}) <= 1:
            solutions = self._solutions(targets, [[members] for members in given.values()], self.sizes)
        else:
            solutions = self._solutions(targets, [list(given.values())] * len(targets), self.sizes)
        if len(solutions) != 1:
            raise self._unsure(targets, sources)
        return solutions[0]

    def _solutions(
        self, targets: Sequence[Module], choices: Sequence[Sequence[list[Weight]]], sizes: Mapping[str, int]
    ) -> list[list[Pair]]:
        """Each way to give every target one of its choices so that the sizes agree; two are enough to know."""
        if not targets:
            return [[]]
        if self.tries > MAX_TRIES:
            return []
        found: list[list[Pair]] = []
        for members in choices[0]:
            self.tries += 1
            fitting = self._fitting(targets[0], members, sizes)
            if fitting is None:
                continue
            pairs, more = fitting
            left = [[m for m in some if m is not members] for some in choices[1:]]
            found += [[*pairs, *rest] for rest in self._solutions(targets[1:], left, more)]
            if len(found) > 1:
                break
        return found

    def _fitting(
        self, module: Module, members: Sequence[Weight], sizes: Mapping[str, int]
    ) -> tuple[list[Pair], dict[str, int]] | None:
        """The pairs of a module with arrays of these names, or in this order where they have numbers for names; and
        the sizes that then hold. None where they do not fit.
        """
        roles = [r for r in ROLES if r in module.parts]
        if len(members) != len(roles):
            return None
        if all(w.role.isdecimal() for w in members):
            ordered = dict(zip(roles, members, strict=True))
        else:
            ordered = {w.role: w for w in members}
        if set(ordered) != set(roles) or not all(w.dtype for w in ordered.values()):
            return None
        known = dict(sizes)
        pairs: list[Pair] = []
        for role, weight in ordered.items():
            if module.blocks and role == "weight":
                if not _fits(
                    module.shape(role, self.tensors[module.parts[role]], known, rows_first=self.rows_first),
                    weight.shape,
                ):
                    return None
                blocks = self._side_by_side(module, weight, known)
                if blocks is None:
                    return None
                pairs += blocks
            elif self._unify(module, role, weight.shape, known):
                pairs.append(Pair(weight, self.tensors[module.parts[role]], module, role))
            else:
                return None
        return pairs, known

    def _unify(self, module: Module, role: str, shape: tuple[int, ...], known: dict[str, int]) -> bool:
        """Whether a shape agrees with the sizes; `known` learns what it says of others."""
        sides = module.sides(role, self.tensors[module.parts[role]], rows_first=self.rows_first)
        if len(sides) != len(shape):
            return False
        return all(_learn(side, count, known) for side, count in zip(sides, shape, strict=True))

    def _side_by_side(self, module: Module, weight: Weight, known: dict[str, int]) -> list[Pair] | None:
        """A part of the array for each block of a Linear on a concatenation; None where these do not fit. The width of
        one block may be unknown: it is what the others leave.
        """
        out, wide = weight.shape if self.rows_first else weight.shape[::-1]
        told = [b for b in module.blocks if set(b.summed) <= known.keys()]
        left = wide - sum(math.prod(known[i] for i in b.summed) for b in told)
        for block in module.blocks:
            if block not in told and (len(told) < len(module.blocks) - 1 or not _learn(block.summed, left, known)):
                return None
        widths = [math.prod(known.get(i, -1) for i in b.summed) for b in module.blocks]
        if min(widths) < 1 or sum(widths) != wide or not all(_learn(b.free, out, known) for b in module.blocks):
            return None
        pairs, begin = [], 0
        for block, count in zip(module.blocks, widths, strict=True):
            tensor = self.tensors[block.parts["weight"]]
            pairs.append(Pair(weight, tensor, replace(block, blocks=()), "weight", begin, count))
            begin += count
        return pairs

    # --- what is not sure

    def _without_place(self, weights: Sequence[Weight]) -> SettingError:
        """Of arrays whose kind no module of the formulas has."""
        names = [plain(w.name) for w in weights]
        return SettingError(
            say("formats.no_place", path=self.file.path, names=", ".join(names[:SHOWN]), first=names[0])
        )

    def _complete(self, pairs: Sequence[Pair]) -> None:
        filled = {p.tensor.name for p in pairs}
        missing = [p.name for p in self.system.parameters if p.name not in filled]
        if missing:
            shapes = ", ".join(f"{n}[{', '.join(self.tensors[n].indices)}]" for n in missing)
            raise SettingError(say("formats.unfilled", path=self.file.path, names=shapes))

    def _unsure(self, targets: Sequence[Module], sources: Mapping[str, list[Weight]]) -> SettingError:
        """What could go where, by shape."""
        cells: list[tuple[str, ...]] = []
        everything = [w for members in sources.values() for w in members]
        for module in targets:
            for role in (r for r in ROLES if r in module.parts):
                shape = self._shape(module, role)
                fitting = [plain(w.name) for w in everything if w.dtype and _fits(shape, w.shape)]
                shown = f"({', '.join('?' if n is None else str(n) for n in shape)})"
                cells.append((module.parts[role], shown, "←", ", ".join(fitting) or "–"))
        table = lines_of(cells)[:SHOWN]
        whole = say("formats.whole_numbers")
        came = ", ".join(f"{plain(w.name)} {w.shape}{'' if w.dtype else whole}" for w in everything[:SHOWN]) or "–"
        head = say("formats.unsure", path=self.file.path, came=came)
        return SettingError("\n".join([head, *(f"  {line}" for line in table)]))


def _learn(side: Sequence[str], count: int, known: dict[str, int]) -> bool:
    """Whether an axis of this length agrees with the sizes of its indices; `known` learns the one it lacks."""
    unknown = [i for i in side if i not in known]
    rest = math.prod(known[i] for i in side if i in known)
    if (not unknown and rest != count) or (unknown and (rest == 0 or count % rest)):
        return False
    if len(unknown) == 1:
        known[unknown[0]] = count // rest
    return True


def _listed(weights: Mapping[str, Weight]) -> str:
    return ", ".join(map(plain, list(weights)[:SHOWN])) or "–"
