"""What enters a network: the shapes that `input:` states, and where they have padding."""

from __future__ import annotations

from ..errors import Problem, UnreadableError, error
from ..language import ast as e
from ..language.arithmetic import is_whole
from ..language.inputs import INPUT_HINT, INPUT_KINDS
from ..language.printer import show
from ..language.scope import Scope
from ..shape import Feature
from .emitter import Emitter
from .evaluate import Evaluator
from .ir import ModuleCall, ModuleList, Subgraph, ValueTree, flat_values, subgraphs
from .splices import arguments


def input_feature(evaluate: Evaluator, node: e.Node) -> Feature:
    """The shape that an entry of `input:` states: ``image(3, 224)``. Raises SpecError if it is no input."""
    if isinstance(node, e.Broken):
        raise UnreadableError(node.problems)
    if not isinstance(node, e.Call) or not isinstance(node.func, e.Name) or node.func.id not in INPUT_KINDS:
        raise error(f"'{show(node)}' is no input", node.span, INPUT_HINT)
    name, kind = node.func.id, INPUT_KINDS[node.func.id]
    options = {argument.name: argument for argument in node.args if argument.name is not None}
    unknown = next((option for key, option in options.items() if key not in kind.options), None)
    if unknown is not None:
        hint = f"write `{name}({kind.example})`"
        raise error(f"the sizes of an input have no names, this one is '{unknown.name}'", unknown.span, hint)
    spread = arguments(evaluate, tuple(argument for argument in node.args if argument.name is None), Scope())
    sizes = [evaluate.number(item.value, member.scope if member else Scope(), "a size") for item, member in spread]
    if any(not isinstance(size, int) or size < 1 for size in sizes):
        raise error("the sizes of an input are whole numbers from 1", node.span, f"write `{name}({kind.first}, size)`")
    if len(sizes) == 2:
        sizes = [sizes[0]] + [sizes[1]] * kind.rank
    if len(sizes) != kind.rank + 1:
        lengths = "one length" if kind.layout != "map" else "one size" if kind.rank == 1 else f"one size, or {kind.rank} sizes"
        raise error(f"`{name}` takes {kind.first} and {lengths}", node.span, f"{len(sizes)} numbers are given")
    padded(evaluate, node)
    first, *grid = map(int, sizes)
    return Feature(kind.layout, first, tuple(grid), padding_id=_padding(evaluate, options.get("padding"), first))


def _padding(evaluate: Evaluator, option: e.Argument | None, ids: int) -> int | None:
    """The id that stands for no token. Raises SpecError if it is none of the ids."""
    if option is None:
        return None
    padding = evaluate.number(option.value, Scope(), "`padding`")
    if not is_whole(padding) or not 0 <= padding < ids:
        raise error(f"{padding} is no id: there are {ids}", option.span, f"write a number from 0 to {ids - 1}")
    return int(padding)


def padded(evaluate: Evaluator, node: e.Node) -> bool:
    """Whether an entry of `input:` may have padding: ``image(3, 224, padded=true)``. Raises SpecError for another word."""
    option = next((argument for argument in node.args if argument.name == "padded"), None) if isinstance(node, e.Call) else None
    if option is None:
        return False
    value = evaluate.value(option.value, Scope())
    if not isinstance(value, bool):
        raise error("`padded` is true or false", option.span, "leave it out where there is no padding")
    return value


def state_valid(evaluate: Evaluator, ir: Emitter, x: ValueTree, root: Subgraph) -> None:
    """Computes what `valid` means of the inputs that may have padding: 0 where there is padding, 1 elsewhere.

    Args:
        evaluate: gets the masks, by the values' ids.
        ir: writes into the root of the network.
        x: the inputs.
        root: gets the masks that enter beside padded images.
    """
    spec = evaluate.spec
    asked = any(isinstance(part, e.Attribute) and part.name == "valid" for node in spec.nodes() for part in e.walk(node))
    if spec.method is not None:
        return
    for number, ((name, node), value) in enumerate(zip(spec.inputs.items(), flat_values(x), strict=True)):
        if padded(evaluate, node):
            one = value.feature.with_(c=1)
            root.masks[number] = mask = ir.value(one)
            evaluate.valid[value.id] = ir.inline("valid_part({0}, {1})", [value, mask], one)
        elif asked and value.feature.layout == "ids":
            ir.place = node.span
            evaluate.valid[value.id] = ir.call("valid.Valid", f"input.{name}", [value])


def drop_unread(evaluate: Evaluator, root: Subgraph, doubts: dict[object, Problem]) -> None:
    """Removes the masks of ids that nothing reads, and notes those of padded images."""
    read = {value.id for _, part in subgraphs(root) for step in part.all_steps for value in step.inputs}
    read |= {value.id for _, part in subgraphs(root) for value in flat_values([part.output, part.prediction])}
    places = dict(zip((value.id for value in root.inputs), evaluate.spec.inputs.values(), strict=evaluate.spec.method is None))
    for key, mask in evaluate.valid.items():
        for step in [step for step in root.steps if step.output is mask and mask.id not in read]:
            if not isinstance(step, ModuleCall):
                hint = "read it in `model`, `image -> ... image.valid`, or leave out `padded`"
                doubts["padded", key] = Problem("nothing reads the `valid` of a padded input", places[key].span, hint)
                continue
            root.steps.remove(step)
            holder = root.child(step.child[:-1])
            assert isinstance(holder, ModuleList)
            del holder.children[step.child[-1]]
    if root.children.get("input") == ModuleList():
        del root.children["input"]
