"""Explains a syntax error: what is wrong at the place where the parser stopped, and how to mend it.

The rules are tried in order; the first that applies gives the message. A test reads every message: a new rule needs a line there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from ...errors import Span, SpecError, error
from .stop import LANGUAGE, OPENS, Stop, WordAt

_COMPARE = ("==", "!=", "<=", ">=", "<", ">")
_DECLARES = ("shared", "let")  # at the beginning of a stream's line
_AFTER = (">>", "||", "+", "-", "*", "/", "//", "%", "**", "(", "[", ".", "if")  # what may follow a value
_KEY = "a key is a name, or a name with parameters: `ffn(r=4)`"
_TARGET = "write `token = ...`, `stages[2].token = ...`"

# Messages for characters that begin no word of the language.
_CHARACTERS = {
    "|": ("'|' is not an operator", "channels are concatenated with `||`"),
    "&": ("'&' is not an operator", "tests are joined with `and`"),
    "^": ("'^' is not an operator", "powers are written `**`"),
    "!": ("'!' is not an operator", "a test is negated with `not`, unequal is `!=`"),
    "'": ("a string stands in double quotes", 'write `"word"`'),
    '"': ("this string is never closed", 'it ends with `"` on the same line'),
    "{": ("'{' cannot stand here", "braces belong to YAML; a list is written `[a, b]`"),
    "}": ("'}' cannot stand here", "braces belong to YAML; a list is written `[a, b]`"),
}


@dataclass(frozen=True)
class _Mistake:
    message: str
    hint: str
    at: WordAt | None = None  # the wrong word, if it is not the one that the parser stopped at


_Rule = Callable[[Stop], _Mistake | None]


def explain(problem: UnexpectedInput, span: Span, what: str) -> SpecError:
    """A SpecError that says in the language's terms what lark's exception means."""
    text = span.content
    if isinstance(problem, UnexpectedCharacters):
        start = problem.pos_in_stream or 0
        message, hint = _character(text[start])
        return error(message, span.part(start, start + 1), hint)
    assert isinstance(problem, UnexpectedToken)
    end = problem.token.type == "$END"
    start = len(text) if end else problem.token.start_pos or 0
    stop = Stop(text, start, "" if end else str(problem.token), what)
    mistake = next(mistake for rule in _RULES if (mistake := rule(stop)) is not None)
    word = mistake.at or (stop.words[-1] if end and stop.words else WordAt(stop.word, start if not end else 0, 0))
    return error(mistake.message, span.part(word.start, word.start + max(1, len(word.text))), mistake.hint)


def _character(char: str) -> tuple[str, str]:
    if char in _CHARACTERS:
        return _CHARACTERS[char]
    if char.isalnum():
        return f"'{char}' cannot stand in a name", "names are made of a-z, A-Z, 0-9 and _"
    shown = f"'{char}'" if char.isprintable() else f"U+{ord(char):04X}"
    return f"unexpected character {shown}", "remove it"


# The end


def _nothing(stop: Stop) -> _Mistake | None:
    if stop.words or stop.word:
        return None
    if stop.what == "value":
        return _Mistake("an expression is missing", "write `id` for a module that does nothing, `none` for one that is not there")
    return _Mistake("a name is missing", _TARGET if stop.what == "edit" else _KEY)


def _stages_alone(stop: Stop) -> _Mistake | None:
    if stop.what in ("target", "edit") and stop.word in ("", "=") and not stop.outside(".", "="):
        closed = stop.last == "]" and not stop.open
        return _Mistake("a column of the stages is missing", "write `stages[0].token`") if closed else None
    return None


def _edit_alone(stop: Stop) -> _Mistake | None:
    if stop.what == "edit" and not stop.word and not stop.open and not stop.outside("="):
        return _Mistake("the edit has no '='", _TARGET)
    return None


def _list_without_brackets(stop: Stop) -> _Mistake | None:
    comma = stop.outside(",")
    if stop.what != "value" or comma is None or stop.outside("=", "return", "->") or not stop.after_operand or stop.open:
        return None
    return _Mistake("a comma outside brackets", "a list is written `[a, b]`", comma) if stop.word not in OPENS else None


def _outputs_without_brackets(stop: Stop) -> _Mistake | None:
    arrow, comma = stop.outside("->"), stop.outside(",")
    if stop.what != "value" or not arrow or not comma or comma.start < arrow.start or stop.outside("=", "return"):
        return None
    if stop.open or not stop.after_operand or stop.word not in ("", *_AFTER):
        return None
    return _Mistake("a comma outside brackets", "several outputs are a list, `x -> [a, b]`, or lines with `return a, b`", comma)


def _comma_in_parentheses(stop: Stop) -> _Mistake | None:
    comma = stop.inside(",") or (stop.group and stop.word == "," and stop.after_operand and WordAt(",", stop.start, 0))
    if not comma or stop.word == "->" or stop.inside("=", "return"):
        return None
    arrow = stop.inside("->")
    if arrow and comma.start > arrow.start:
        return _Mistake(
            "a comma outside brackets", "several outputs are a list, `(x -> [a, b])`, or lines with `return a, b`", comma
        )
    return None if arrow else _Mistake("unexpected ','", "a list is written `[a, b]`", comma)


def _names_without_operator(stop: Stop) -> _Mistake | None:
    """Two names side by side begin a declaration: here they do not."""
    if stop.what != "value":
        return None
    open = stop.open[-1].start if stop.open else -1
    ends = [len(stop.words)] if stop.word not in ("=", ",") else []  # behind the second name: the place, or a parenthesis
    ends += [at for at, word in enumerate(stop.words) if word.start == open]
    if stop.last == ")":
        ends += [max(at for at, word in enumerate(stop.words) if word.text == "(" and word.depth == stop.words[-1].depth)]
    for end in ends:
        before, word = stop.words[end - 2 : end] if end >= 2 else (None, None)
        if before is None or word is None or not _is_name(before.text) or not _is_name(word.text):
            continue
        if "\n" in stop.text[before.start : word.start]:  # another line
            continue
        if before.text not in _DECLARES:
            return _Mistake(f"an operator is missing before '{word.text}'", "`>>` applies, `,` separates arguments", word)
        if end == len(stop.words) or stop.last == ")":
            return _Mistake(f"the line `{before.text} {word.text}` has no '='", f"write `{before.text} {word.text} = ...`", word)
    return None


def _several_declared(stop: Stop) -> _Mistake | None:
    if stop.word != "," or len(stop.words) < 2 or stop.words[-2].text not in _DECLARES or not _is_name(stop.last):
        return None
    return _Mistake("a line declares one name", f"write `{stop.words[-2].text} {stop.last} = ...`, the next on a line of its own")


def _is_name(word: str) -> bool:
    return (word[0].isalpha() or word[0] == "_") and word not in LANGUAGE


def _no_return_inside(stop: Stop) -> _Mistake | None:
    if stop.word not in ("", ")") or not stop.inside("=") or stop.inside("return") or not stop.after_operand:
        return None
    hint = "its last words say what comes out: `(y = dw(3) return y * y)`; equal is `==`"
    return _Mistake("the stream in these parentheses has no `return`", hint, stop.group)


def _if_alone(stop: Stop) -> _Mistake | None:
    word = stop.beside("if")
    if stop.word in ("", ",", ")", "]") and stop.after_operand and word and not stop.beside("else"):
        return _Mistake("this `if` has no `else`", "write `a if test else b`, with `id` or `none` where nothing is meant", word)
    return None


def _never_closed(stop: Stop) -> _Mistake | None:
    if stop.word or not stop.open:
        return None
    return _Mistake(f"this '{stop.open[-1].text}' is never closed", "close it, after what belongs to it", stop.open[-1])


def _no_return(stop: Stop) -> _Mistake | None:
    if stop.what == "value" and not stop.word and stop.after_operand and stop.outside("=", "->"):
        return _Mistake("the stream has no `return`", "its last line says what comes out: `return x`")
    return None


def _ends_early(stop: Stop) -> _Mistake | None:
    return None if stop.word else _Mistake(f"the expression ends after '{stop.last}'", "write what follows, or remove it")


# Keys and targets


def _no_key(stop: Stop) -> _Mistake | None:
    if stop.what in ("header", "target") and not stop.open:
        return _Mistake(f"unexpected '{stop.word}'", _KEY)
    if stop.what == "edit" and not stop.open and not stop.outside("="):
        return _Mistake(f"unexpected '{stop.word}'", _TARGET)
    return None


def _no_parameter(stop: Stop) -> _Mistake | None:
    header = stop.what == "header" or (stop.what in ("target", "edit") and not stop.outside("="))
    if header and len(stop.open) == 1 and stop.last in ("(", ","):
        return _Mistake(
            f"unexpected '{stop.word}'", "a parameter is a name: `ffn(r=4)`; without parameters there are no brackets"
        )
    return None


# Brackets and commas


def _nothing_opened(stop: Stop) -> _Mistake | None:
    if stop.word not in OPENS or (stop.open and stop.open[-1].text == OPENS[stop.word]):
        return None
    if not stop.open:
        return _Mistake(f"unexpected '{stop.word}'", "no bracket is open here: remove it")
    return _Mistake(f"'{stop.word}' does not close '{stop.open[-1].text}'", "close each bracket with its own kind")


def _comma(stop: Stop) -> _Mistake | None:
    if stop.word == "," and stop.after_operand:
        return _Mistake("unexpected ','", "a list is written `[a, b]`")
    return None


def _colon(stop: Stop) -> _Mistake | None:
    if stop.word == ":" and stop.last in _DECLARES:
        return _Mistake("unexpected ':'", f"a stream's line has no colon: `{stop.last} f = ...`")
    return _Mistake("unexpected ':'", "part of a list is written `x[1:3]`; keys belong to YAML") if stop.word == ":" else None


# Words and operators


def _two_chains(stop: Stop) -> _Mistake | None:
    other = {">>": "||", "||": ">>"}.get(stop.word)
    if other is None or not stop.after_operand or not stop.beside(other):
        return None
    return _Mistake("`>>` and `||` do not mix without parentheses", "write `(a >> b) || c` or `a >> (b || c)`")


def _no_line(stop: Stop) -> _Mistake | None:
    if stop.what == "value" and stop.word in _AFTER and stop.after_operand and stop.outside("="):
        return _Mistake(f"unexpected '{stop.word}'", "a stream has lines `name = ...`, the last one is `return ...`")
    return None


def _equals(stop: Stop) -> _Mistake | None:
    if stop.word != "=":
        return None
    if stop.outside("return") and not stop.open:
        return _Mistake("'=' cannot stand here", "all outputs have names, or none has: `return logits = x, boxes = y`")
    return _Mistake("'=' cannot stand here", "equal is `==`; a name is given a value in `f(name=x)` and on a stream's line")


def _arrow(stop: Stop) -> _Mistake | None:
    if stop.word != "->":
        return None
    return _Mistake(
        "a stream cannot begin here", "inside an expression it stands in parentheses: `(x -> x * x)`, `each((x -> x * x))`"
    )


def _test_word(stop: Stop) -> _Mistake | None:
    if stop.word == "not" or (stop.word in ("and", "or") and stop.after_operand):
        return _Mistake(f"'{stop.word}' stands only in a test", "write `a if x and y else b`, or parentheses around the test")
    if not stop.after_operand:
        return None
    if stop.word in ("for", "in"):
        return _Mistake(f"'{stop.word}' stands only in a list", "write `[f(i) for i in range(n)]`")
    if stop.word == "else":
        return _Mistake("this `else` has no `if`", "write `a if test else b`")
    return None


def _language_word(stop: Stop) -> _Mistake | None:
    if stop.word not in LANGUAGE:
        return None
    if stop.word == "return" and not stop.open and stop.outside("return"):
        return _Mistake("a stream has one `return`, its last line", "several outputs are written `return a, b`")
    return _Mistake(f"'{stop.word}' cannot stand here", "it is a word of the language, not a name")


def _comparison(stop: Stop) -> _Mistake | None:
    if stop.word not in _COMPARE or not stop.after_operand:
        return None
    if stop.beside(*_COMPARE):
        return _Mistake("two comparisons in one", "join them: `x < y and y < z`")
    hint = "a sequence is written `a >> b`" if stop.word == ">" else "write `a if x == y else b`, or parentheses around the test"
    return _Mistake(f"'{stop.word}' stands only in a test", hint)


def _point(stop: Stop) -> _Mistake | None:
    if stop.word != "." and stop.last != ".":
        return None
    return _Mistake(f"unexpected '{stop.word}'", "a number has digits on both sides of its point: `0.5`; a wire's width is `x.c`")


def _splice_alone(stop: Stop) -> _Mistake | None:
    if stop.word not in ("*", "**") or stop.last not in ("(", ",", "[", "="):
        return None
    if stop.word == "**":
        return _Mistake("`**` spreads no list: it is a power", "`f(*x)` spreads the list x; arguments by name are written out")
    return _Mistake("`*` stands before a list only inside a call or a list", "write `f(*x)` or `[*x, y]`")


def _no_operator(stop: Stop) -> _Mistake | None:
    if stop.after_operand and (stop.word[0].isalnum() or stop.word[0] in '_"'):
        return _Mistake(f"an operator is missing before {_quoted(stop.word)}", "`>>` applies, `,` separates arguments")
    return None


def _no_operand(stop: Stop) -> _Mistake | None:
    if not stop.words:
        return _Mistake(f"unexpected {_quoted(stop.word)}", "an expression begins with a name, a number or a bracket")
    if not stop.after_operand:
        return _Mistake(f"nothing stands between '{stop.last}' and {_quoted(stop.word)}", "write what is missing, or remove one")
    return None


def _unexpected(stop: Stop) -> _Mistake:
    return _Mistake(f"unexpected {_quoted(stop.word)}", "what stands before it is not complete")


def _quoted(word: str) -> str:
    return word if word.startswith('"') else f"'{word}'"


_RULES: tuple[_Rule, ...] = (
    _nothing, _stages_alone, _edit_alone, _list_without_brackets, _outputs_without_brackets, _names_without_operator,
    _several_declared,
    _comma_in_parentheses, _no_return_inside, _if_alone, _never_closed,
    _no_return, _ends_early,
    _nothing_opened, _no_key, _no_parameter, _two_chains, _comma, _colon, _no_line, _equals, _arrow, _test_word, _language_word,
    _comparison, _point, _splice_alone, _no_operator, _no_operand, _unexpected,
)  # fmt: skip
