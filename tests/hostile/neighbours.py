"""Neighbours of the corpus: each a small idea that grows, made by a few lines here. Most are refused, some are valid and large.

``METABLOCK_WHOLE=1`` makes the texts longer, and puts each of them into every place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

HEAD = "name: h\ninput: image(3, 32)\n"
STAGES = "stages:\n  depth: 1\n  body: depth * conv(8, 3)\n"


def net(*, let: str = "", stem: str = "", body: str = "depth * conv(8, 3)", more: str = "", depth: str = "1") -> str:
    """A spec whose parts are these texts."""
    text = HEAD
    text += f"let:\n{let}\n" if let else ""
    text += f"stem: {stem}\n" if stem else ""
    return text + f"stages:\n  depth: {depth}\n  body: {body}\n{more}"


def chain(first: str, line: str, n: int = 40) -> str:
    """Bindings `a0` to `a<n>`; in ``line``, `A` is the binding before."""
    return "\n".join([f"  a0: {first}", *(f"  a{i + 1}: {line.replace('A', f'a{i}')}" for i in range(n))])


def functions(first: str, line: str, n: int = 40) -> str:
    """Functions `a0(x)` to `a<n>(x)`; in ``line``, `A` is the function before."""
    return "\n".join([f"  a0(x): {first}", *(f"  a{i + 1}(x): {line.replace('A', f'a{i}')}" for i in range(n))])


def stream(lines: str) -> str:
    return "|\n" + "\n".join(f"    {line}" for line in lines.split("\n"))


def many(line: str, n: int, join: str = "\n") -> str:
    """The line n times; in it, `#` is its number and `@` the next."""
    return join.join(line.replace("#", str(i)).replace("@", str(i + 1)) for i in range(n))


def doublings() -> Iterator[tuple[str, str]]:
    """Small lines that each double what stands before them."""
    last = "a40"
    yield "numbers by a product", net(let=chain("2", "A * A"), stem=f"conv({last})")
    yield "numbers in tests", net(let=chain("1", "A if A > 0 else A"), stem=f"conv({last})")
    yield "numbers by min and max", net(let=chain("1", '"max(A, A) + min(A, A)"'), stem=f"conv({last})")
    yield "numbers with the width", net(let=chain("c", "A + A"), stem=f"conv({last})")
    yield "numbers by the layer", net(let=chain("layer", "A + A"), body=f"100 * conv(8 + 0 * {last})")
    yield "numbers by the number of layers", net(let=chain("layers", "A + A"), body=f"10 * conv({last})")
    yield "numbers by the grid", net(let=chain("grid[0]", "A + A"), stem=f"conv({last})")
    yield "numbers by columns", net(more="  a0: [1]\n" + many("  a@: a# + a#", 40) + "\n", body="depth * conv(a40)")
    yield "numbers by functions", net(let=functions("x + x", "A(A(x))"), stem="conv(a40(1))")
    yield "numbers by arguments", net(let=functions("x + x", "A(x + x)"), stem="conv(a40(1))")
    yield "numbers by defaults", net(let="  a0(x=1): x + x\n" + many("  a@(x=a#): x + x", 40), stem="conv(a40)")
    yield "truth", net(let=chain("true", "true if (A == A and A == A) else A"), stem=f"conv(8) if {last} else id")
    yield "lists by comprehensions", net(let=chain("[1, 2]", '"[x for y in A for x in A]"'), stem="conv(len(a40))")
    yield "lists of lists", net(let=chain('"[1]"', '"[[x for x in A], A]"'), stem="conv(len(a40))")
    yield "nested lists", net(let=chain('"[1]"', '"[A, A]"'), stem="conv(len(a40))")
    yield "lists of modules", net(let=chain("relu", '"[A, A]"'), stem="sum(a40)")
    yield "spliced modules", net(let=chain('"[relu, gelu]"', '"[*A, *A]"'), stem="sum(a40)")
    yield "sums of numbers", net(let=chain("1", '"sum([A, A])"'), stem=f"conv({last})")
    yield "modules in chains", net(let=chain("conv(8)", "A >> A"), stem=last)
    yield "modules in sums", net(let=chain("conv(8)", "A + A"), stem=last)
    yield "modules side by side", net(let=chain("conv(8)", '"A || A"'), stem=last)
    yield "modules that are absent", net(let=chain("none", "A + A"), stem=last)
    yield "absent modules in products", net(let=chain("none", "A * A"), stem=last)
    yield "absent modules in chains", net(let=chain("id", "A >> A >> none"), stem=f"{last} + id")
    yield "negatives", net(let=chain("id", "-A + -A"), stem=last)
    yield "residuals", net(let=chain("id", "res(A >> A)"), stem=last)
    yield "splits", net(let=chain("id", "split(A, A)"), stem=f"conv(1024) >> {last}")
    yield "windows", net(let=chain("id", "window(2, A >> A)"), stem=last)
    yield "inline operators", net(let=chain("id", "each(A) >> A"), stem=last)
    yield "modules by functions", net(let=functions("x >> x", "A(A(x))"), stem="a40(id)")
    yield "modules by choices", net(let=chain("id", "one_of(A >> A, A)"), stem=last)
    yield "modules by tests", net(let=chain("id", "A >> A if c > 0 else A"), stem=last)
    yield "repeats of repeats", net(let=chain("id", "2 * (2 * A)"), stem=last)
    yield (
        "streams",
        net(let="  a0: id\n" + many("  a@: |\n    x ->\n    y = x >> a#\n    z = y >> a#\n    return z", 40), stem=last),
    )
    yield "shared modules", HEAD + "shared:\n  a0: conv(3)\n" + many("  a@: a# >> a#", 40) + f"\nstem: {last}\n" + STAGES
    inside = {"numbers": "let a@ = a# * a#", "chains": "let a@ = a# >> a#", "parameters": "let a@(x=a#) = x + x"}
    for kind, line in inside.items():
        start, end = ("let a0 = id", "a40") if kind == "chains" else ("let a0 = 2", "conv(a40)")
        yield f"recipes of a stream: {kind}", net(stem=stream(f"{start}\n{many(line, 40)}\nreturn {end}"))
    yield "shared modules of a stream", net(stem=stream(f"shared a0 = conv(3)\n{many('shared a@ = a# >> a#', 40)}\nreturn a40"))
    yield "streams inside streams", net(stem="(x -> y = relu return y >> " * 45 + "relu" + ")" * 45)
    yield "wires inside wires", net(stem="(y = (" * 45 + "return id" + ") return y * y)" * 45)
    yield "arguments in streams", net(let="  a0(x): x\n" + many("  a@(x): (y = x return a#(y) * a#(x))", 40), stem="a40(relu)")
    yield "spread lists", net(let=chain('"[id, id]"', '"[mean(*A), *A, *A]"'), stem="mean(*a40)")
    yield "spread arguments", net(let=functions("x", "A(*[A(*[x])])"), stem="a40(relu)")
    yield "concatenated lists", net(let=chain('"[id]"', '"A + A"'), stem="concat(*a40)")
    yield (
        "shared lists",
        HEAD
        + "shared:\n  a0: '[conv(3), conv(3)]'\n"
        + many("  a@: '[a#[0] >> a#[1], a#[1]]'", 40)
        + "\nstem: a40[0]\n"
        + STAGES,
    )
    yield "sections", HEAD + "stem: conv(8)\nmodel: " + " >> ".join(["stem"] * 5000) + "\n" + STAGES
    deep = HEAD + "model: conv(8)\ntraits:\n  t0: {classes: 1}\n" + many("  t@: {of: [t#, t#]}", 40)
    yield "traits", deep + "\nvariants:\n  v: {of: t40}\n"


def repeats() -> Iterator[tuple[str, str]]:
    """What repeats, ranges over, or is large by its number."""
    yield "a thousand thousand identities", net(stem="1000 * (1000 * id)")
    yield "ten thousand ten thousand identities", net(stem="10000 * (10000 * (10000 * id))")
    yield "repeats of an absent module", net(stem="10000 * (10000 * none) + conv(8)")
    yield "repeats of a stream", net(stem="1000 * b", let="  b: |\n    x ->\n    y = 1000 * id\n    return x")
    yield "ranges in ranges", net(stem="conv(len([j for i in range(10000) for j in range(10000)]))")
    yield "lists of ranges", net(let="  n: len([len([i for i in range(10000)]) for j in range(10000)])", stem="conv(n)")
    yield "lists of lists of ranges", net(let='  n: "[[i for i in range(10000)] for j in range(10000)]"', stem="conv(len(n))")
    yield (
        "sums of sums",
        net(let='  n: "sum([sum([sum(range(1000)) for i in range(1000)]) for j in range(1000)])"', stem="conv(n)"),
    )
    yield "arithmetic on lists", net(let="  r: range(10000)\n" + chain("r", "A + 1", 400), stem="conv(a400[0])")
    yield "slices of a list", net(let="  r: range(10000)\n" + chain("r", '"A[0:10000]"', 400), stem="conv(a400[0])")
    yield "comparisons of lists", net(let="  r: range(10000)", stem="conv(sum([1 if r == r else 0 for i in range(10000)]))")
    yield "minima of lists", net(let="  r: range(10000)", stem="conv(sum([max(r) for i in range(10000)]))")
    yield "a range of ranges backwards", net(stem="conv(len(range(10000000000, 0, -1)))")
    yield "a range with a step of none", net(stem="conv(len(range(1, 10, 0)))")
    yield "copies of modules by a comprehension", net(stem="sum([conv(8) for i in range(10000)])")
    yield "copies of identities", net(stem="sum([sum([id for j in range(10000)]) for i in range(10000)])")
    yield "spread ranges", net(stem="conv(*range(10000))")
    yield "spread copies", net(stem="concat(*[mean(*[id for j in range(10000)]) for i in range(10000)])")
    yield "many shared copies", HEAD + "shared: {f: '[conv(3) for i in range(10000)]'}\nstem: mean(*f)\n" + STAGES
    yield (
        "many indices of shared copies",
        HEAD + "shared: {f: '[id for i in range(9000)]'}\nstem: sum([f[i] for i in range(9000)])\n" + STAGES,
    )
    yield "many copies in each", net(stem="[id for i in range(5000)] >> each(each(relu))")
    yield "a thousand stages", HEAD + f"stages:\n  depth: [{'9, ' * 1999}9]\n  body: depth * (9 * conv(8))\n"
    yield "a repeat beyond 64 bits", net(stem=f"{10**17} * id")
    yield "a repeat of a fraction", net(stem="1e17 * id")
    yield "a depth without end", net(depth="1000000000000")
    yield "parts", net(stem="conv(8192) >> split(conv(1), parts=8192)")
    yield "many parts", net(stem="conv(1000000) >> split(id, parts=1000000)")
    yield "chunks", net(stem="conv(1000000) >> chunk(1000000)")
    yield "many windows", net(stem="window(1, window(1, window(1, relu)))")
    yield "kernels in a list", net(stem=f'conv(8, "[{"3, " * 3000}3]")')
    yield "a kernel of lists", net(stem="conv(8, range(10000))")
    yield "sizes of parts", net(stem="conv(10000) >> split(id, id, sizes=[1 for i in range(10000)])")
    yield "scopes with many wires", net(
        stem=stream("x ->\n" + many("w# = x >> relu", 1000) + "\ny = sum([x >> times(i) for i in range(9000)])\nreturn y, "
                    + many("w#", 1000, ", "))
    )  # fmt: skip


def sizes() -> Iterator[tuple[str, str]]:
    """What is large when it is built: weights, activations, sizes beyond 64 bits."""
    for n in (2**31, 2**63, 2**64, 10**18, 10**25, 10**40):
        for operator in (
            "conv(#)", "conv(8, #)", "conv(8, 3, stride=#)", "conv(8, 3, dilation=#)", "conv(8, 3, padding=#)", "conv(8, 3, groups=#)",
            "linear(#)", "max_pool(#)", "max_pool(3, stride=#)", "avg_pool(3, padding=#)", "unused(#)", "unused(#, #)", "upsample(#)",
            "resize(#)", "learned(#)", "attention(#)", "attention(1, head_dim=#)", "window(#, id)", "shuffle(#)", "adaptive_avg_pool(#)",
            "group_norm(#)", "deconv(8, #, stride=#)", "unfold(#)", "chunk(#)", "take(#)", "split(id, parts=#)", "times(#)", "drop_path(#)",
        ):  # fmt: skip
            yield f"{operator} of {n:.0e}", net(stem=operator.replace("#", str(n)))
        yield f"an input of {n:.0e}", HEAD.replace("32", str(n)) + STAGES
        yield f"classes of {n:.0e}", net(more=f"classes: {n}\nhead: global_pool >> linear(classes)\n")
    yield "terabytes of convolutions", net(depth="50", body="depth * conv(8192, 7)")
    yield "terabytes of linear maps", net(depth="300", body="depth * linear(8192)")
    yield "terabytes in small pieces", net(depth="9000", body="depth * linear(4096)")
    yield "a wide table", net(stem="conv(1000) >> unused(1000000, 1000000)")
    yield "activations", HEAD.replace("32", "60000") + STAGES
    yield "activations in a stream", HEAD.replace("32", "8000") + "stem: 100 * conv(16)\n" + STAGES
    yield "a volume", "name: h\ninput: volume(1, 2000)\n" + STAGES
    yield "tokens that all meet", HEAD.replace("32", "4096") + "stem: conv(8) >> attention(1)\n" + STAGES


def texts() -> Iterator[tuple[str, str]]:
    """What is long, or nested, as a text."""
    whole = os.environ.get("METABLOCK_WHOLE")
    room = 60_000 if whole else 20_000
    units = {
        "brackets": "[", "braces": "{", "parentheses": "(", "calls": "f(", "minus signs": "-", "not": "not ", "sums": "a+", "products": "a*",
        "powers": "2**", "chains": "id>>", "concatenations": "id||", "tests": "a if b else ", "comparisons": "a<", "colons": "a: ",
        "dashes": "- ", "question marks": "? ", "quotes": "'", "double quotes": '"', "escapes": "\\x", "anchors": "&a ", "aliases": "*a ",
        "tags": "!a ", "bars": "|", "arrows": "x -> ", "comments": "#", "blanks": " ", "dots": "a.b.", "indices": "a[0]", "commas": ",",
        "digits": "9", "letters": "a", "equals": "a=", "returns": "return ", "splices": "*", "ands": "a and ", "loops": "[a for b in ",
    }  # fmt: skip
    for number, (name, unit) in enumerate(units.items()):
        long = unit * (room // len(unit))
        places = {
            "in a value": HEAD + f"stem: {long}\n" + STAGES,
            "in a literal": HEAD + f"stem: |\n  {long}\n" + STAGES,
            "in quotes": HEAD + f"stem: '{long.replace(chr(39), '')}'\n" + STAGES,
            "in a list": HEAD + f"stem: [{long}]\n" + STAGES,
            "as a key": HEAD + f"let:\n  {long}: relu\n" + STAGES,
        }
        chosen = places if whole else list(places)[number % 5 : number % 5 + 1]
        yield from ((f"{name} {place}", places[place]) for place in chosen)
    yield "a long chain", net(stem=" >> ".join(["id"] * 9000))
    yield "a long sum", net(stem=" >> ".join([f"({' + '.join(['id'] * 90)})"] * 100))
    yield "a long list", net(let=f"  a: [{'1, ' * 9000}1]", stem="conv(len(a))")
    yield "a long literal list", net(let=f"  a: |\n    [{'1,' * 20000}1]", stem="conv(len(a))")
    yield "a long stream", net(stem=stream("x ->\ny = x\n" + many("y = y >> id", 3500) + "\nreturn y"))
    yield "many wires", net(stem=stream("x ->\n" + many("w# = x >> relu", 3000) + "\nreturn x"))
    yield "wires that read each other", net(stem=stream("w0 ->\n" + many("w@ = w# >> relu", 2800) + "\nreturn w2800"))
    yield "many names that nobody knows", net(stem=" >> ".join(f"abcdefgh{i}" for i in range(4000)))
    yield "names like others", net(let=many("  abcdefghijklmnop#: relu", 1200), stem=many("abcdefghijklmnpo#", 1200, " >> "))
    yield "many bindings", net(let=many("  a#: relu", 4500))
    yield "bindings in a row", net(let="  a0: relu\n" + many("  a@: a#", 3500), stem="a3500")
    yield "bindings in a circle", net(let=many("  a#: a@", 3500) + "\n  a3500: a0", stem="a0")
    yield (
        "bindings that all use each other",
        net(let="\n".join(f"  a{i}: " + " >> ".join(f"a{j}" for j in range(100)) for i in range(100))),
    )
    yield "many columns", HEAD + "stages:\n  body: conv(8)\n" + many("  a#: [1, 2]", 4000) + "\n"
    yield "many parameters", net(let=f"  f({', '.join(f'p{i}=1' for i in range(5000))}): relu", stem="f >> f")
    yield "many arguments", net(let="  f(a): relu", stem=f"f({', '.join(f'p{i}=1' for i in range(5000))})")
    yield (
        "parameters by parameters",
        net(let=f"  f(p0=1, {', '.join(f'p{i + 1}=p{i}' for i in range(150))}): conv(p150)", stem="f"),
    )
    yield "many sections", HEAD + many("abc#: relu", 4000) + "\n" + STAGES
    yield "many variants", net(more="variants:\n" + many("  v#: {depth: 100}", 2500) + "\n")
    yield "many empty variants", net(more="variants:\n" + many("  v#: {}", 4500) + "\n", let=many("  a#: relu", 10))
    yield "variants of variants", net(more="variants:\n  v0: {depth: 2}\n" + many("  v@: {of: v#}", 2000) + "\n")
    yield (
        "many edits",
        net(more="variants:\n  v:\n" + many("    stages[0].depth: 1 ", 1) + "\n" + many("    a#: relu", 3500) + "\n"),
    )
    yield "edits of many names", net(let=many("  a#: relu", 1500), more="variants:\n  v:\n" + many("    a#: gelu", 1500) + "\n")
    yield "edits by stages", net(depth=f"[{'1, ' * 999}1]", more="variants:\n  v:\n" + many("    stages[#].depth: 2", 900) + "\n")
    yield "many choices", net(let=many("  a#: one_of(relu, gelu)", 1500), stem=many("a#", 1500, " >> "))
    yield "choices in choices", net(let="  a: " + "one_of(relu, " * 90 + "gelu" + ")" * 90, stem="a")
    yield "many facts", net(more="facts:\n  - [variant, params]\n" + many("  - [v#, 1]", 3000) + "\nvariants:\n  w: {}\n")
    yield "many rows", HEAD + "stages:\n" + many("  - {body: conv(8), a#: 1}", 2000) + "\n"
    yield "an alias of a long text", HEAD + f"let:\n  a: &a {'relu >> ' * 1500}relu\n" + many("  b#: *a", 60) + "\n" + STAGES
    yield "aliases of aliases", HEAD + "let:\n  a0: &a0 [relu, relu]\n" + many("  a@: &a@ [*a#, *a#]", 30) + "\n" + STAGES
    yield "a list as deep as YAML allows", net(let=f"  a: {'[' * 40}1{']' * 40}", stem="conv(len(a))")
    yield "a stream in a stream", net(stem="|\n  x ->\n  " + "y = (x >> " * 500 + "relu" + ")" * 500 + "\n  return y")


def rules() -> Iterator[tuple[str, str]]:
    """Rules for weights and for initial values."""
    weights = "weights:\n  timm:\n"
    digits = "a" + "1" * 150
    yield (
        "numbers beside numbers",
        net(let=f"  {digits}: conv(8)", stem=digits, more=weights + "    " + "".join(f"{{n{i}}}" for i in range(26)) + "x: y\n"),
    )
    yield (
        "numbers between digits",
        net(
            let=f"  {digits}: conv(8)", stem=digits, more=weights + "    a" + "".join(f"{{n{i}}}1" for i in range(26)) + "x: y\n"
        ),
    )
    yield "the same number often", net(more=weights + "    '" + "{i}." * 2000 + "x': y\n")
    yield "many rules", net(more=weights + many("    a#.{i}.*: b#.{i}.*", 2000) + "\n")
    yield "many equal rules", net(more=weights + many("    a.{i}.b#: b", 2000) + "\n")
    yield "tables in a row", net(more="weights:\n  t0: {a: b}\n" + many("  t@: {of: t#, a: b}", 2000) + "\n")
    yield "tables in a circle", net(more="weights:\n" + many("  t#: {of: t@, a: b}", 2000) + "\n  t2000: {of: t0, a: b}\n")
    yield "a long rule", net(more=weights + f"    a: {' ++ '.join(['b'] * 9000)}\n")
    yield "many steps", net(more=weights + f"    a: b{' | flip' * 5000}\n")
    yield "a power in a rule", net(more=weights + "    a.{i}: b.{" + "i * " * 5000 + "i}\n")
    yield "stars to ignore", net(more=weights + f"    ignore: ['{'a*' * 5000}b']\n    a: b\n")
    yield "rests of rests", net(more=weights + many("    " + "a" * 5 + "#**: b**", 1000) + "\n")
    yield "a permutation of many axes", net(more=weights + f"    a: b | permute({', '.join(map(str, range(9000)))})\n")
    yield "a huge shape", net(more=weights + f"    a: b | reshape({10**30}, {10**30})\n")
    init = "init:\n"
    yield "a power in a rule for initial values", net(more=init + "  conv: normal(9 ** 64 ** 64)\n")
    yield "a power of the layer", net(more=init + "  conv: normal(10 ** (layer + 400))\n", depth="3")
    yield "many initial values", net(more=init + many("  a#: zeros", 4500) + "\n")
    yield "a long selector", net(more=init + f"  {'a.' * 20000}conv: zeros\n")
    yield "an endless number", net(more=init + f"  conv: normal({'9' * 400})\n")


def neighbours() -> dict[str, str]:
    """Every neighbour by its name."""
    return dict([*doublings(), *repeats(), *sizes(), *texts(), *rules()])
