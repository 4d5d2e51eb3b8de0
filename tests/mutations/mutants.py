"""Texts of the language with one thing changed: a token, a call's arguments, a value's type, the YAML around it, a section."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

TOKEN = re.compile(r'"[^"\n]*"|[A-Za-z_]\w*|[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|->|>>|\|\||\*\*|//|[=!<>]=|[^\s]')
COMMENT = re.compile(r"(?:(?<=\s)|^)#[^\n]*", re.MULTILINE)
CALL = re.compile(r"\b[A-Za-z_]\w*\(")
NUMBERS = ("0", "1", "-1", "2", "3", "7", "0.5", "-0.5", "1e-5", "11", "3000000000", "99999999999999999999", "1e309", "007")
WORDS = (
    '"same"',
    '"pad"',
    '""',
    '"é"',
    "true",
    "false",
    "none",
    "id",
    "c",
    "dim",
    "index",
    "layer",
    "grid",
    "classes",
    "x",
    "self",
    "_",
)
MODULES = (
    "relu",
    "pw(4)",
    "linear(c)",
    "conv(8, 3)",
    "dw(3)",
    "global_pool",
    "chunk(2)",
    "position",
    "attention(2)",
    "x -> x",
    "(x -> x * x)",
    "(y = relu return y + y)",
)
LISTS = ("[]", "[1]", "[1, 2]", "[relu, id]", "[[1], [2]]", "[i for i in range(3)]", "range(2)", "*[1]", "*[relu, id]")
MARKS = (
    ">>",
    "||",
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "(",
    ")",
    "[",
    "]",
    ",",
    ":",
    "=",
    "==",
    "<",
    "->",
    ".",
    "|",
    "{",
    "}",
    "#",
    "&",
    "!",
)
LINES = (
    "- a",
    "a: b",
    "{a: b}",
    "\t",
    "---",
    "? a",
    "<<: x",
    "&a b",
    "*a",
    "!!python/object:os.system x",
    "# only a comment",
    "|",
    "'",
)


@dataclass(frozen=True)
class Mutant:
    """A text, the kind of change that made it, and the change in words: line, column, what."""

    kind: str
    done: str
    text: str


@dataclass(frozen=True)
class Token:
    """A token of a text outside comments, by its offsets."""

    start: int
    end: int
    content: str


def tokens(text: str) -> list[Token]:
    """The tokens of a text, in order, those of comments left out."""
    bare = COMMENT.sub(lambda comment: " " * len(comment[0]), text)
    return [Token(*match.span(), match[0]) for match in TOKEN.finditer(bare)]


def dropped(text: str) -> Iterator[tuple[Token, Mutant]]:
    """Every text that lacks one token."""
    for token in tokens(text):
        yield token, _at(text, "token", token.start, token.end, "")


def mutant(text: str, kind: str, random: Random) -> Mutant | None:
    """A mutant of this kind; None where the text has nothing of the kind."""
    return random.choice(KINDS[kind])(text, random)


def _at(text: str, kind: str, start: int, end: int, new: str) -> Mutant:
    line = text.count("\n", 0, start) + 1
    column = start - (text.rfind("\n", 0, start) + 1) + 1
    return Mutant(kind, f"{line}:{column}: {text[start:end]!r} becomes {new!r}", text[:start] + new + text[end:])


# Tokens


def _drop(text: str, random: Random) -> Mutant:
    token = random.choice(tokens(text))
    return _at(text, "token", token.start, token.end, "")


def _double(text: str, random: Random) -> Mutant:
    token = random.choice(tokens(text))
    return _at(text, "token", token.start, token.end, f"{token.content} {token.content}")


def _other(text: str, random: Random) -> Mutant:
    token, other = random.sample(tokens(text), 2)
    return _at(text, "token", token.start, token.end, other.content)


def _exchange(text: str, random: Random) -> Mutant:
    every = tokens(text)
    i = random.randrange(len(every) - 1)
    first, second = every[i], every[i + 1]
    between = text[first.end : second.start]
    return _at(text, "token", first.start, second.end, f"{second.content}{between}{first.content}")


def _mark(text: str, random: Random) -> Mutant | None:
    marks = [token for token in tokens(text) if not token.content[0].isalnum() and token.content[0] not in '_"']
    if not marks:
        return None
    token = random.choice(marks)
    return _at(text, "token", token.start, token.end, random.choice(MARKS))


def _insert(text: str, random: Random) -> Mutant:
    token = random.choice(tokens(text))
    return _at(text, "token", token.start, token.start, f"{random.choice((*MARKS, *NUMBERS, *WORDS))} ")


# Arguments


def _calls(text: str) -> list[tuple[int, list[tuple[int, int]]]]:
    """Where each call's brackets open, and the offsets of its arguments."""
    calls = []
    for match in CALL.finditer(text):
        depth, start, parts = 0, match.end(), []
        for token in tokens(text[match.end() : match.end() + 400]):
            at = match.end() + token.start
            if token.content in (")", "]", "}") and depth == 0:
                calls.append((match.end(), [*parts, (start, at)]))
                break
            if token.content == "," and depth == 0:
                parts.append((start, at))
                start = at + 1
            depth += (token.content in ("(", "[", "{")) - (token.content in (")", "]", "}"))
    return calls


def _arguments(change: Callable[[str, list[str], Random], list[str]]) -> Callable[[str, Random], Mutant | None]:
    def made(text: str, random: Random) -> Mutant | None:
        calls = _calls(text)
        if not calls:
            return None
        start, parts = random.choice(calls)
        end = parts[-1][1]
        old = [text[a:b].strip() for a, b in parts]
        return _at(text, "arity", start, end, ", ".join(change(text, old, random)))

    return made


def _keyword(text: str, old: list[str], random: Random) -> list[str]:
    names = re.findall(r"(\w+)=", text) or ["bias"]
    return [*old, f"{random.choice([*names, 'stride', 'bias', 'drop', 'nothing'])}={random.choice((*NUMBERS, *WORDS))}"]


def _named(text: str, old: list[str], random: Random) -> list[str]:
    at = random.randrange(len(old))
    return [*old[:at], f"{random.choice(['out', 'kernel', 'heads', 'a', 'n', 'size'])}={old[at]}", *old[at + 1 :]]


ARGUMENTS = (
    _arguments(lambda text, old, random: old[:-1]),
    _arguments(lambda text, old, random: old[1:]),
    _arguments(lambda text, old, random: []),
    _arguments(lambda text, old, random: [*old, random.choice((*NUMBERS, *WORDS, *MODULES, *LISTS))]),
    _arguments(lambda text, old, random: [*old, old[-1]]),
    _arguments(lambda text, old, random: old[::-1]),
    _arguments(lambda text, old, random: [*old, "*" + old[0]]),
    _arguments(_keyword),
    _arguments(_named),
)


# Types


def _type(text: str, random: Random) -> Mutant:
    plain = [token for token in tokens(text) if token.content[0].isalnum() or token.content[0] in '_"']
    token = random.choice(plain)
    return _at(text, "type", token.start, token.end, random.choice(random.choice((NUMBERS, WORDS, MODULES, LISTS))))


def _number(text: str, random: Random) -> Mutant | None:
    numbers = [token for token in tokens(text) if token.content[0].isdigit()]
    if not numbers:
        return None
    token = random.choice(numbers)
    near = str(max(0, round(float(token.content)) + random.choice((-1, 1))))
    return _at(text, "type", token.start, token.end, random.choice((*NUMBERS, *3 * [near])))


def _argument_type(text: str, old: list[str], random: Random) -> list[str]:
    at = random.randrange(len(old))
    name, mark, _ = old[at].partition("=")
    value = random.choice(random.choice((NUMBERS, WORDS, MODULES, LISTS)))
    return [*old[:at], f"{name}={value}" if mark and name.isidentifier() else value, *old[at + 1 :]]


# YAML


def _lines(change: Callable[[list[str], int, Random], list[str]]) -> Callable[[str, Random], Mutant]:
    def made(text: str, random: Random) -> Mutant:
        lines = text.split("\n")
        at = random.choice([i for i, line in enumerate(lines) if line.strip()])
        new = "\n".join(change(lines, at, random))
        return Mutant("yaml", f"{at + 1}:1: the line {lines[at]!r} changes", new)

    return made


def _indent(lines: list[str], at: int, random: Random) -> list[str]:
    line = lines[at]
    by = random.choice((-2, -1, 1, 2, 4))
    return [*lines[:at], " " * by + line if by > 0 else line.removeprefix(" " * -by), *lines[at + 1 :]]


def _value(lines: list[str], at: int, random: Random) -> list[str]:
    key, _, value = lines[at].partition(":")
    margin = " " * (len(key) - len(key.lstrip()) + 2)
    value = value.strip()
    new = random.choice(
        [
            [f"{key}:"],
            [f"{key}: [{value}]"],
            [f"{key}: {{{value}}}"],
            [f"{key}: '{value}'"],
            [f'{key}: "{value}"'],
            [f"{key}:", f"{margin}- {value}"],
            [f"{key}:", f"{margin}a: {value}"],
            [f"{key}: |", f"{margin}{value}"],
            [f"{key}: >", f"{margin}{value}"],
            [f"{key} {value}"],
            [f"{key}:{value}"],
            [f"- {key.strip()}: {value}"],
            [f"{key}: &a {value}", f"{key}2: *a"],
            [f"{key}: !!str {value}"],
            [f"{value}: {key}"],
        ]
    )
    return [*lines[:at], *new, *lines[at + 1 :]]


YAML = (
    _lines(_indent),
    _lines(_value),
    _lines(_value),
    _lines(lambda lines, at, random: [*lines[:at], *lines[at + 1 :]]),
    _lines(lambda lines, at, random: [*lines[: at + 1], *lines[at:]]),
    _lines(lambda lines, at, random: [*lines[:at], lines[at].replace("  ", "\t", 1), *lines[at + 1 :]]),
    _lines(
        lambda lines, at, random: [*lines[:at], lines[at].replace(":", random.choice(("", " ", "=", "::")), 1), *lines[at + 1 :]]
    ),
    _lines(lambda lines, at, random: [*lines[:at], random.choice(LINES), *lines[at:]]),
    _lines(lambda lines, at, random: lines[: at + 1]),
    _lines(lambda lines, at, random: [*lines[:at], lines[at][: random.randrange(len(lines[at]) + 1)], *lines[at + 1 :]]),
)


# Sections


def sections(text: str) -> dict[str, str]:
    """The text of each section with its key, comments and empty lines before it; in order."""
    parts = re.split(r"^(?=[A-Za-z])", text, flags=re.MULTILINE)
    return {part.partition(":")[0]: part for part in parts if part.strip()}


NAMES = (
    "metablock", "name", "paper", "input", "let", "shared", "stem", "stages", "head", "model", "predict", "loss", "classes", "freeze",
    "init", "weights", "traits", "variants", "checkpoints", "facts", "stage", "bindings", "depth", "seeds", "factors", "recipe",
)  # fmt: skip


def _sections(change: Callable[[dict[str, str], str, Random], list[str]]) -> Callable[[str, Random], Mutant | None]:
    def made(text: str, random: Random) -> Mutant | None:
        parts = sections(text)
        if len(parts) < 2:
            return None
        name = random.choice(list(parts))
        at = text.index(parts[name])
        return Mutant(
            "section", f"{text.count(chr(10), 0, at) + 1}:1: the section {name!r} changes", "".join(change(parts, name, random))
        )

    return made


def _renamed(parts: dict[str, str], name: str, random: Random) -> list[str]:
    new = random.choice((*NAMES, name[:-1], name.title(), f'"{name}"'))
    return [part.replace(name, new, 1) if key == name else part for key, part in parts.items()]


def _exchanged(parts: dict[str, str], name: str, random: Random) -> list[str]:
    """Two sections have each other's content."""
    other = random.choice(list(parts))
    swapped = {name: f"{name}:{parts[other].partition(':')[2]}", other: f"{other}:{parts[name].partition(':')[2]}"}
    return [swapped.get(key, part) for key, part in parts.items()]


SECTIONS = (
    _sections(lambda parts, name, random: [part for key, part in parts.items() if key != name]),
    _sections(lambda parts, name, random: [*parts.values(), parts[name]]),
    _sections(_renamed),
    _sections(_exchanged),
    _sections(lambda parts, name, random: [f"{key}:\n" if key == name else part for key, part in parts.items()]),
    _sections(
        lambda parts, name, random: [*parts.values(), f"{random.choice(NAMES)}: {random.choice((*MODULES, *WORDS, *LISTS))}\n"]
    ),
)


def reordered(text: str, random: Random) -> str:
    """The text with its sections in another order."""
    parts = list(sections(text).values())
    random.shuffle(parts)
    return "".join(part if part.endswith("\n") else f"{part}\n" for part in parts)


KINDS: Mapping[str, tuple[Callable[[str, Random], Mutant | None], ...]] = {
    "token": (_drop, _double, _other, _exchange, _mark, _insert),
    "arity": ARGUMENTS,
    "type": (_type, _number, _number, _arguments(_argument_type), _arguments(_argument_type)),
    "yaml": YAML,
    "section": SECTIONS,
}
