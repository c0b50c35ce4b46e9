"""Every message exists in both languages with the same placeholders, and the source asks for exactly those."""

from __future__ import annotations

import ast
import re
import string
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from chainrule import messages
from chainrule.messages import LANGUAGES, language, say, set_language

FOLDER = Path(messages.__file__).parent
SOURCES = sorted(FOLDER.parent.rglob("*.py"))
TEXTS = {
    tongue: {
        f"{path.stem}.{name}": text
        for path in sorted((FOLDER / tongue).glob("*.toml"))
        for name, text in tomllib.loads(path.read_text(encoding="utf-8")).items()
    }
    for tongue in LANGUAGES
}
# 은/는, 이/가, 을/를, 와/과, 로/으로 follow the sound before them, which a placeholder does not know: "{name}은(는)".
GLUED_PARTICLE = re.compile(r"\}['\"`]?(은|는|이|가|을|를|와|과|으로|로)(?=[\s.,]|$)")


@dataclass(frozen=True)
class Use:
    """A key that the source asks for; `values` is None where they are not all written at the call."""

    key: str
    where: str
    values: frozenset[str] | None


def placeholders(text: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}


def uses(path: Path) -> list[Use]:
    """The keys of `say("chapter.name")`, and those handed to a function that says f"chapter.{key}"."""
    found = []
    for call in (n for n in ast.walk(TREES[path]) if isinstance(n, ast.Call)):
        name = called(call)
        where = f"{path.name}:{call.lineno}"
        if name == "say":
            written = all(k.arg is not None for k in call.keywords)
            values = frozenset(str(k.arg) for k in call.keywords) if written else None
            found += [Use(key, where, values) for key in constants(call.args[:1])]
        elif helper := HELPERS.get((path, name)) or HELPERS.get((path.parent, name)):
            chapter, position, parameter = helper
            given = call.args[position : position + 1] + [k.value for k in call.keywords if k.arg == parameter]
            found += [Use(f"{chapter}.{key}", where, None) for key in constants(given)]
    return found


def called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def constants(nodes: list[ast.expr]) -> list[str]:
    """The string constants among the nodes; of `a if … else b` both."""
    branches = [b for n in nodes for b in ([n.body, n.orelse] if isinstance(n, ast.IfExp) else [n])]
    return [b.value for b in branches if isinstance(b, ast.Constant) and isinstance(b.value, str)]


def handed_on(function: ast.FunctionDef) -> tuple[str, int, str] | None:
    """Of a function that says f"chapter.{parameter}": the chapter, and the parameter's place among the arguments."""
    parameters = [a.arg for a in function.args.args if a.arg not in ("self", "cls")]
    for call in (n for n in ast.walk(function) if isinstance(n, ast.Call) and called(n) == "say" and n.args):
        match call.args[0]:
            case ast.JoinedStr([ast.Constant(str(chapter)), ast.FormattedValue(ast.Name(name))]) if name in parameters:
                return chapter.rstrip("."), parameters.index(name), name
    return None


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
# By file, and by folder for the calls from the files beside it: `source.fail(kind, offset, "key")`.
HELPERS = {
    (place, function.name): found
    for path, tree in TREES.items()
    for function in ast.walk(tree)
    if isinstance(function, ast.FunctionDef) and (found := handed_on(function))
    for place in (path, path.parent)
}
USES = [use for path in SOURCES for use in uses(path)]
# Keys put together at run time, such as say(f"interfaces.help_{name}"): as (before, after) the part that is filled in.
PUT_TOGETHER = {
    found
    for path in SOURCES
    for found in re.findall(r"""say\(f["'](\w+\.\w*)\{[^}]*\}(\w*)["']""", path.read_text("utf-8"))
}
STRINGS = {
    node.value
    for tree in TREES.values()
    for node in ast.walk(tree)
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
}
# A picture may be in English where no font has Korean: it takes its words from one language's catalogue itself.
PUT_TOGETHER |= {("interfaces.plot_", "")}
# "--no-scale" asks for option_no_scale.
WORDS = {string.removeprefix("--").replace("-", "_") for string in STRINGS}
# A page has a rule's name, such as "Kronecker delta", in the reader's language: pages.rule_kronecker_delta.
PUT_TOGETHER |= {("pages.rule_", ""), ("pages.gives_", "")}
WORDS |= {"".join(c if c.isalnum() else "_" for c in string.lower()) for string in STRINGS}


def test_the_languages_have_the_same_messages():
    missing = {tongue: sorted(set().union(*TEXTS.values()) - set(texts)) for tongue, texts in TEXTS.items()}
    assert missing == {tongue: [] for tongue in LANGUAGES}


def test_the_languages_have_the_same_placeholders():
    different = [
        key
        for key in TEXTS["en"].keys() & TEXTS["ko"]
        if placeholders(TEXTS["en"][key]) != placeholders(TEXTS["ko"][key])
    ]
    assert sorted(different) == []


@pytest.mark.parametrize("tongue", LANGUAGES)
def test_a_message_is_a_text_on_one_line(tongue):
    bad = [k for k, text in TEXTS[tongue].items() if not isinstance(text, str) or not text.strip() or "\n" in text]
    assert bad == []


def test_no_korean_particle_is_glued_to_a_placeholder():
    assert [f"{key}: {text}" for key, text in TEXTS["ko"].items() if GLUED_PARTICLE.search(text)] == []


def test_the_source_asks_only_for_what_exists():
    assert [f"{use.where} {use.key}" for use in USES if use.key not in TEXTS["en"]] == []


def test_the_source_fills_every_placeholder_and_no_other():
    wrong = [
        f"{use.where} {use.key}: gives {sorted(use.values)}, needs {sorted(needs)}"
        for use in USES
        if use.values is not None
        and use.key in TEXTS["en"]
        and use.values != (needs := placeholders(TEXTS["en"][use.key]))
    ]
    assert wrong == []


def put_together(key: str) -> bool:
    """Whether a key is one of PUT_TOGETHER, filled with a string that stands somewhere in the source."""
    return any(
        key.startswith(before) and key.endswith(after) and key[len(before) : len(key) - len(after)] in WORDS
        for before, after in PUT_TOGETHER
    )


def test_no_message_is_left_over():
    asked = {use.key for use in USES}
    left = [key for key in TEXTS["en"] if key not in asked and key not in STRINGS and not put_together(key)]
    assert left == []


def test_the_search_finds_what_it_should():
    """The tests above would pass if it found nothing: it must see every way of asking."""
    keys = {use.key for use in USES}
    assert "data.ragged" in keys  # say("data.ragged", …)
    assert "data.which_array" in keys  # through a function of the same file
    assert "formula.samples_line" in keys  # through a function of the file beside it


@pytest.fixture
def no_choice(monkeypatch):
    for variable in ("CHAINRULE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)
    set_language(None)
    yield monkeypatch
    set_language(None)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "ko_KR.UTF-8"}, "ko"),
        ({"LC_ALL": "en_US.UTF-8", "CHAINRULE_LANG": "ko"}, "ko"),
    ],
)
def test_the_language_is_the_locales_unless_chosen(no_choice, environment, expected):
    for name, value in environment.items():
        no_choice.setenv(name, value)
    assert language() == expected


def test_a_chosen_language_comes_first(no_choice):
    no_choice.setenv("CHAINRULE_LANG", "en")
    set_language("ko")
    assert say("data.no_file", path="digits.png") == "digits.png 파일이 없습니다. 이름과 폴더를 확인하세요"


def test_an_unknown_language_is_refused(no_choice):
    with pytest.raises(ValueError, match="language is one of en, ko, not 'fr'"):
        set_language("fr")
