"""What the names in the texts of blocks stand for: of `res(norm >> token)` the token of each stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..errors import SpecError
from ..language import ast as e
from ..language.parser import expression
from ..language.printer import show
from ..lowering.ir import Child, ModuleList, ModuleNode, Subgraph, module_nodes, same_computation
from .alike import Numbers, one_text, several, with_numbers

Path = tuple[str, ...]
DROP = "drop"  # what the rates of `drop_path` are called


@dataclass(frozen=True)
class _Meaning:
    """What a name stands for in a block: its ``text`` with numbers, and as the spec has it (``plain``)."""

    text: str
    plain: str


def names_in_blocks(root: Subgraph) -> dict[Path, dict[str, str]]:
    """For each stage what the names in its blocks' texts stand for, where that is not the same in all blocks.

    A name is left out if it stands for the same expression in all stages, and for the same module in all blocks of a stage.

    Args:
        root: a network.

    Returns:
        By a stage's path: the texts by name, in the order of the block's text. Blocks that differ in numbers share a text, with
        both numbers or their range; `none` is what is absent.

    >>> from metablock.front import front
    >>> names_in_blocks(front("litv2_small").ir)[("stages", "3")]
    {'token': 'attention(24)', 'drop': '0.18-0.20'}
    """
    stages = root.children.get("stages")
    above = calls_of(root, {})
    by_stage = {
        ("stages", key): _meanings(list(_blocks(stage)), calls_of(stage, above))
        for key, stage in (stages.children if isinstance(stages, ModuleList) else {}).items()
        if isinstance(stage, Subgraph)
    }
    names = {name for meanings in by_stage.values() for name in meanings}
    differ = {name for name in names if _differs([meanings.get(name, []) for meanings in by_stage.values()])}
    return {
        path: {name: _shown([one.text for one in own]) for name, own in meanings.items() if name in differ}
        for path, meanings in by_stage.items()
    }


def _differs(stages: list[list[_Meaning]]) -> bool:
    """Whether a name stands for several expressions, or for several modules in a stage."""
    plain = {one.plain for meanings in stages for one in meanings}
    return len(plain) > 1 or any(len({one.text for one in meanings}) > 1 for meanings in stages)


def _shown(texts: list[str]) -> str:
    """The texts of a name in several blocks as one: those that differ in numbers with all of them, others side by side."""
    kinds: list[list[str]] = []
    for text in dict.fromkeys(texts):
        kind = next((kind for kind in kinds if one_text([*kind, text]) is not None), None)
        kinds.append([text]) if kind is None else kind.append(text)
    return " | ".join(one_text(kind) or "" for kind in kinds)


def calls_of(subgraph: Subgraph, above: Numbers) -> Numbers:
    """The values of the calls in a part, by their texts, and those of the parts around it."""
    numbers: dict[str, Mapping[str, object] | None] = dict(above)
    own: dict[str, Mapping[str, object] | None] = {}
    for node, values in subgraph.numbers.values():
        text = show(node)
        own[text] = values if own.get(text, values) == values else None
    return numbers | own


def text_of(child: Child, above: Numbers) -> str:
    """The text of a part, with the numbers of its calls."""
    if isinstance(child, ModuleNode):
        return child.text
    return with_numbers(child.text, calls_of(child, above)) if isinstance(child, Subgraph) else ""


def _blocks(stage: Subgraph) -> Iterator[Subgraph]:
    for name, child in stage.children.items():
        if isinstance(child, ModuleList) and name != "shared":
            yield from (block for block in child.children.values() if isinstance(block, Subgraph))


def _meanings(blocks: list[Subgraph], above: Numbers) -> dict[str, list[_Meaning]]:
    """What each name stands for in the blocks of a stage, block by block; equal computations have the text of the first."""
    meanings: dict[str, list[_Meaning]] = {}
    seen: dict[str, list[tuple[Child, str]]] = {}
    rates = [node.args["rate"] for block in blocks for _, node in module_nodes(block) if node.operator == "drop_path"]
    for block in blocks:
        inside = calls_of(block, above)
        for name in _names(block.text):
            for key in sorted(block.names.get(name, ())):
                if key in ("id", "none"):
                    meanings.setdefault(name, []).append(_Meaning(key, key))
                    continue
                child = _child(block, key)
                if child is None or isinstance(child, ModuleList):
                    continue
                known = next((text for other, text in seen.get(name, []) if same_computation(other, child)), None)
                text = known or text_of(child, inside)
                seen.setdefault(name, []).append((child, text))
                meanings.setdefault(name, []).append(_Meaning(text, _plain(child)))
    if rates:
        text = several(rates)
        meanings[DROP] = [_Meaning(text, text)]
    return meanings


def _plain(child: ModuleNode | Subgraph) -> str:
    """The spec's own text of a part, in which no numbers are computed."""
    return child.span.content if isinstance(child, ModuleNode) and child.span is not None else child.text


def _child(block: Subgraph, key: str) -> Child | None:
    """The child of this name; None where none was left."""
    try:
        return block.child(tuple(key.split(".")))
    except KeyError:
        return None


def _names(text: str) -> list[str]:
    """The names in an expression, each once."""
    try:
        return list(dict.fromkeys(node.id for node in e.walk(expression(text)) if isinstance(node, e.Name)))
    except SpecError:
        return []
