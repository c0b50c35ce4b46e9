"""Layers of a model → one formula text: every layer's lines with the model's own names in them.

A layer's text (library/layers.py) speaks of x[..., i] and y[..., j]. Placing it gives its quantities names (W1, b1, h1)
and notes which; the lines are written when all layers are placed, for only then is it known how the indices are cut.
A line that has the input's last index on its left is written once a block of a concatenation; in any other, a sum over
that index becomes a sum over each block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chainrule.errors import SettingError
from chainrule.interfaces.keras.views import Alike, Axis, Block, Group, Signal, names_of, size_of, whole
from chainrule.messages import say

NAME = r"[^\W\d]\w*"
TOKEN = re.compile(rf"(?<![\w.])({NAME})(?:\[([^\[\]]*)\])?")
STATEMENT = re.compile(r"(?:(parameter|state|random|prediction|then)\s+)?(.*)$", re.S)
LEFT = re.compile(rf"({NAME})\s*(?:\[([^\[\]]*)\])?(\([^()]*\))?\s*(<-|=)\s*(.*)$", re.S)
COMMON = ("parameter", "state")  # what a layer that is used twice has once
REDUCTIONS = ("sum", "mean", "max", "min", "logsumexp", "softmax", "log_softmax")
SUMMED = ("sum", "mean")  # over a concatenation: block by block


Initial = Callable[[str, "Weight", str], str]
"""How a weight starts: its name in the layer's text, the weight, and what that text says."""


@dataclass(frozen=True)
class Form:
    """A layer's text: its lines, and the indices that input and output have in it."""

    text: str
    input: str = "x[..., i]"
    output: str = "y[..., i]"
    letters: Mapping[str, str] = field(default_factory=dict)
    join: str = ""


@dataclass
class Weight:
    """A layer's weight as Keras shows it, and the quantities of the formulas that hold its numbers.

    Along axis `joined` the blocks stand one after another; `parts` are (name, Keras shape of that block).
    """

    role: str
    parts: list[tuple[str, tuple[int, ...]]]
    joined: int

    @property
    def shape(self) -> tuple[int, ...]:
        shape = list(self.parts[0][1])
        if shape:
            shape[self.joined] = sum(part[self.joined] for _, part in self.parts)
        return tuple(shape)


@dataclass
class Placed:
    """A layer at its place: its form, its inputs, the names of its quantities (one a block), its indices."""

    title: str
    form: Form
    inputs: tuple[Signal, ...]
    output: Signal
    names: Mapping[str, Sequence[str]]
    groups: Mapping[str, Group]  # of indices that belong to one block only, and of what they make together
    declares: bool  # not where a layer is used again: its parameters stand above
    weights: Mapping[str, Weight]
    initial: Initial


def slots_of(text: str) -> list[str]:
    """ "x[..., i]" → ["...", "i"]."""
    inside = re.search(r"\[([^\]]*)\]", text)
    return [s.strip() for s in inside[1].split(",")] if inside and inside[1].strip() else []


class Writer:
    """Collects placed layers, and writes their lines."""

    samples = "n"  # the sample axis, which no text declares

    def __init__(self) -> None:
        self.placed: list[Placed] = []
        self.inputs: list[tuple[Block, Axis | None]] = []
        self.axes: list[Axis] = []
        self.alike = Alike()
        self.taken: set[str] = {"n", "E", "t", "y", "p", "step", "steps", "eta", "pi", "w", "g"}
        self.counts: dict[str, int] = {}
        self.set_aside: list[str] = []  # pieces that are written already: \x00 and their number stand for them

    # placing

    def axis(self, size: int, hint: str) -> Axis:
        """A new index."""
        axis = Axis(size, hint)
        self.axes.append(axis)
        return axis

    def name(self, base: str, number: bool = True) -> str:
        """A name that is not taken: W1, W2, …; without `number` the plain one while it is free."""
        if not number and base not in self.taken:
            self.taken.add(base)
            return base
        while True:
            self.counts[base] = self.counts.get(base, 0) + 1
            name = f"{base}{self.counts[base]}"
            if name not in self.taken:
                self.taken.add(name)
                return name

    def new_input(self, name: str, shape: Sequence[int], hints: Sequence[str], classes: int | None) -> Signal:
        """An input; with `classes`, of class numbers below that."""
        block = Block(name, tuple(whole(self.axis(s, h)) for s, h in zip(shape, hints, strict=True)))
        self.inputs.append((block, None if classes is None else self.axis(classes, "v")))
        return Signal((block,))

    def place(
        self,
        title: str,
        form: Form,
        inputs: Sequence[Signal],
        sizes: Mapping[str, tuple[int, str] | Axis],
        earlier: Placed | None,
        initial: Initial,
        called: str | None = None,
    ) -> Signal:
        """Put a layer behind its inputs and return its output.

        `sizes` gives the indices that the layer makes, as (size, letter), or those that it shares; `earlier` is the
        same layer's first place, whose parameters it shares; `called` is the output's name where it is already known.
        """
        first = inputs[0]
        spec = slots_of(form.input)
        rank = len(first.one.groups)
        fits = rank >= len(spec) - 1 if "..." in spec else rank == len(spec)
        if not fits:
            raise SettingError(say("keras.wrong_rank", layer=title, came=rank, wanted=form.input))
        for other in inputs[1:]:
            if [b.groups[-1:] and size_of(b.groups[-1]) for b in other.blocks] != [
                b.groups[-1:] and size_of(b.groups[-1]) for b in first.blocks
            ] or other.shape != first.shape:
                raise SettingError(say("keras.unlike_shapes", layer=title, first=first.shape, second=other.shape))
            for a, b in zip(first.blocks, other.blocks, strict=True):
                self.alike.add(a.groups, b.groups, title)
        for block in first.blocks[1:]:
            self.alike.add(first.one.groups[:-1], block.groups[:-1], title)
        own = "i" if spec[-1:] == ["i"] else None
        if own is None and len(first.blocks) > 1:
            raise SettingError(say("keras.over_concatenation", layer=title))
        last = [b.groups[-1] if b.groups else () for b in first.blocks]
        lead = first.one.groups[:-1] if own else first.one.groups
        groups: dict[str, Group] = dict(zip(spec, lead, strict=False))
        if "..." in spec:
            groups["..."] = tuple(part for group in lead for part in group)
        groups |= {index: whole(new if isinstance(new, Axis) else self.axis(*new)) for index, new in sizes.items()}
        if earlier is not None and own:
            if [size_of(g) for g in last] != [size_of(b.groups[-1]) for b in earlier.inputs[0].blocks]:
                raise SettingError(say("keras.shared_shape", layer=title, came=first.shape))
            self.alike.add([b.groups[-1] for b in earlier.inputs[0].blocks], last, title)
        if earlier is not None:
            self.alike.add([earlier.groups[i] for i in sizes], [groups[i] for i in sizes], title)
        names = self._names(form, earlier, own, len(first.blocks), called)
        output = self._output(form, own, groups, lead, last, names["y"])
        weights = earlier.weights if earlier else self._weights(form, own, groups, lead, last, names)
        self.placed.append(Placed(title, form, tuple(inputs), output, names, groups, earlier is None, weights, initial))
        return output

    def _names(
        self, form: Form, earlier: Placed | None, own: str | None, blocks: int, called: str | None
    ) -> dict[str, list[str]]:
        """Names of all that the text declares or computes; several where a quantity has one part a block."""
        found: dict[str, list[str]] = {}
        for line in form.text.splitlines():
            statement = STATEMENT.match(line.strip())
            assert statement is not None
            keyword, rest = statement.groups()
            match = LEFT.match(rest)
            if match is None or match[1] in found:
                continue
            name, slots = match[1], match[2] or ""
            if earlier is not None and (keyword in COMMON or match[3]):
                found[name] = list(earlier.names[name])
                continue
            base = form.letters.get(name, name)
            whole_name = called if name == "y" and called is not None else self.name(base)
            split = blocks > 1 and own is not None and own in [s.strip() for s in slots.split(",")]
            found[name] = [f"{whole_name}_{b + 1}" for b in range(blocks)] if split else [whole_name]
            self.taken |= set(found[name])
        return found

    def _output(
        self,
        form: Form,
        own: str | None,
        groups: Mapping[str, Group],
        lead: Sequence[Group],
        last: Sequence[Group],
        names: Sequence[str],
    ) -> Signal:
        spec = slots_of(form.output)

        def of(block: Group) -> tuple[Group, ...]:
            found: list[Group] = []
            for slot in spec:
                found += list(lead) if slot == "..." else [block if slot == own else groups[slot]]
            return tuple(found)

        if own is not None and own in spec:
            return Signal(tuple(Block(n, of(g)) for n, g in zip(names, last, strict=True)))
        return Signal((Block(names[0], of(())),))

    def _weights(
        self,
        form: Form,
        own: str | None,
        groups: Mapping[str, Group],
        lead: Sequence[Group],
        last: Sequence[Group],
        names: Mapping[str, Sequence[str]],
    ) -> dict[str, Weight]:
        found: dict[str, Weight] = {}
        for line in form.text.splitlines():
            keyword, rest = STATEMENT.match(line.strip()).groups()  # type: ignore[union-attr]  # matches every line
            if keyword not in COMMON:
                continue
            match = LEFT.match(rest)
            assert match is not None
            slots = slots_of(f"[{match[2] or ''}]")
            parts, joined = [], 0
            for number, name in enumerate(names[match[1]]):
                shape: list[int] = []
                for slot in slots:
                    if slot == own:
                        joined = len(shape)
                    if slot == "...":
                        shape += [size_of(group) for group in lead]
                    else:
                        shape.append(size_of(last[number] if slot == own else groups[slot]))
                parts.append((name, tuple(shape)))
            found[match[1]] = Weight(keyword, parts, joined)
        return found

    # writing

    def settle(self) -> None:
        """Cut the indices as they are used, and name them."""
        self.alike.settle()
        for axis in self.axes:
            if axis.names:
                continue
            pieces = axis.pieces()
            if len(pieces) == 2 and axis.hint == "i" and not {"r", "c"} & self.taken:
                axis.names = (self.name("r", False), self.name("c", False))
                continue
            axis.names = tuple(self.name(axis.hint, axis.hint in "jd") for _ in pieces)

    def sizes(self) -> dict[str, int]:
        """The size of every index."""
        return {
            name: high // low for axis in self.axes for (low, high), name in zip(axis.pieces(), axis.names, strict=True)
        }

    def input_line(self, number: int) -> str:
        """input x[i], or input c[l] in v."""
        block, classes = self.inputs[number]
        return f"input {block.element()}" + (f" in {classes.names[0]}" if classes is not None else "")

    def elements_of(self, placed: Placed, role: str) -> list[tuple[str, list[list[str]]]]:
        """Of each part of a weight: its name, and the indices of each of its slots: ("W1", [["r", "c"], ["j1"]])."""
        left = next(
            match
            for line in placed.form.text.splitlines()
            if (found := STATEMENT.match(line.strip())) and found[1] in COMMON
            if (match := LEFT.match(found[2])) and match[1] == role
        )
        elements = []
        for number, name in enumerate(placed.names[role]):
            slots = slots_of(f"[{left[2] or ''}]")
            elements.append((name, [slots_of(self._fill(placed, f"{role}[{s}]", number)) for s in slots]))
        return elements

    def lines_of(self, placed: Placed) -> list[str]:
        """The lines of one layer."""
        lines: list[str] = []
        for line in placed.form.text.splitlines():
            keyword, rest = STATEMENT.match(line.strip()).groups()  # type: ignore[union-attr]  # matches every line
            match = LEFT.match(rest)
            assert match is not None
            # A layer that is used again has its parameters, its functions and its moving averages from its first place.
            if not placed.declares and (keyword in COMMON or match[3] or match[4] == "<-"):
                continue
            blocks = placed.names[match[1]]
            for number in range(len(blocks)):
                lines.append(self._line(placed, keyword, match, number, len(blocks) > 1))
        return lines

    def _line(self, placed: Placed, keyword: str | None, match: re.Match[str], number: int, split: bool) -> str:
        left = match[1] + (f"[{match[2]}]" if match[2] else "") + (match[3] or "")
        right = match[5].strip()
        if keyword in COMMON:
            right = placed.initial(match[1], placed.weights[match[1]], right)
        else:
            right = self._joined(placed, right)
            several = len(placed.inputs[0].blocks) > 1
            right = self._fill(placed, self._blockwise(placed, right) if several and not split else right, number)
            if several and split and re.search(rf"\b(?:{'|'.join(REDUCTIONS)})\[i\]", match[5]):
                raise SettingError(say("keras.over_concatenation", layer=placed.title))
        word = f"{keyword} " if keyword else ""
        return f"{word}{self._fill(placed, left, number)} {match[4]} {right}"

    def _joined(self, placed: Placed, text: str) -> str:
        """join(x[..., i]) → x1[..., i] + x2[..., i]"""
        if "join(" not in text:
            return text
        start = text.index("join(")
        end = closing(text, start + 4)
        inside = text[start + 5 : end]
        value = ""
        for number in range(len(placed.inputs)):
            piece = re.sub(r"(?<!\w)x(?=\[|\W|$)", f"x__{number}", inside)
            value = piece if not number else placed.form.join.format(value, piece)
        return text[:start] + value + text[end + 1 :]

    def _blockwise(self, placed: Placed, text: str) -> str:
        """sum[i](…) → a sum for every block of a concatenation, marked by block: sum@0[i](…) + sum@1[i](…)."""
        blocks = placed.inputs[0].blocks
        result, rest = "", text
        while found := re.search(rf"(?<!\w)({'|'.join(REDUCTIONS)})\[i\]\(", rest):
            if found[1] not in SUMMED:
                raise SettingError(say("keras.over_concatenation", layer=placed.title))
            end = closing(rest, found.end() - 1)
            body = rest[found.end() : end]
            terms = [self._fill(placed, f"sum[i]({body})", b) for b in range(len(blocks))]
            value = " + ".join(terms)
            if found[1] == "mean":
                value = f"({value})/{sum(size_of(b.groups[-1]) for b in blocks)}"
            result += f"{rest[: found.start()]}\x00{len(self.set_aside)}\x00"
            self.set_aside.append(value)
            rest = rest[end + 1 :]
        return result + rest

    def _fill(self, placed: Placed, text: str, number: int) -> str:
        """The model's names for the layer's, in the block of that number."""
        own = placed.inputs[0].blocks[min(number, len(placed.inputs[0].blocks) - 1)]

        def slots(inside: str) -> list[str]:
            names: list[str] = []
            for slot in (s.strip() for s in inside.split(",") if s.strip()):
                if slot == "i" and "i" not in placed.groups:
                    names += names_of(own.groups[-1]) if own.groups else []
                elif slot in placed.groups:
                    names += names_of(placed.groups[slot])
                else:
                    names.append(slot)
            return names

        def put(match: re.Match[str]) -> str:
            name, inside = match[1], match[2]
            if name in REDUCTIONS and inside is not None:
                names = slots(inside)
                if not names and name in ("softmax", "log_softmax"):
                    raise SettingError(say("keras.softmax_of_one", layer=placed.title))
                return f"{name}[{', '.join(names)}]" if names else ""
            if name in placed.names:
                own_names = placed.names[name]
                name = own_names[min(number, len(own_names) - 1)]
            elif name == "x" or name.startswith("x__"):
                source = placed.inputs[int(name[3:] or 0)]
                name = source.blocks[min(number, len(source.blocks) - 1)].name
            elif inside is None and name in placed.groups:
                name = ", ".join(names_of(placed.groups[name]))
            names = slots(inside or "")
            return f"{name}[{', '.join(names)}]" if names else name

        filled = TOKEN.sub(put, text)
        return re.sub("\x00(\\d+)\x00", lambda m: self.set_aside[int(m[1])], filled)


def closing(text: str, start: int) -> int:
    """Where the bracket that opens at `start` is closed; the text's end where it is not, for its reader to say so."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] in "([") - (text[position] in ")]")
        if depth == 0:
            return position
    return len(text)


def with_activation(text: str, apply: Callable[[str, str], str]) -> str:
    """activation(…) in a layer's text → what `apply` makes of the inside and the last index on the left."""
    lines = []
    for line in text.splitlines():
        start = line.find("activation(")
        if start >= 0:
            end = closing(line, start + len("activation"))
            slots = slots_of(line[:start])
            line = line[:start] + apply(line[start + 11 : end], slots[-1] if slots else "") + line[end + 1 :]
        lines.append(line)
    return "\n".join(lines)
