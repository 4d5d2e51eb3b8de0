"""Lists: spread out in calls, joined, cut, concatenated; of projections, of shared modules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import metablock
from metablock.errors import SpecError
from metablock.language.load import load_text

_X = torch.linspace(-1, 1, 2 * 4 * 8 * 8).view(2, 4, 8, 8)


def build(model: str, let: str = "", rest: str = "") -> nn.Module:
    lines = "\n".join(f"  {line}" for line in model.splitlines())
    text = f"name: s\ninput: image(4, 8)\n{rest}\n" + (f"let:\n{let}\n" if let else "") + f"model: |\n{lines}\n"
    return metablock.build(load_text(text, "s.yaml"), classes=3).eval()


def output(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(_X)


def same(one: nn.Module, other: nn.Module) -> None:
    """Whether two networks with equally many weights, in the same order, compute the same."""
    weights = list(one.state_dict().values())
    other.load_state_dict(dict(zip(other.state_dict(), weights, strict=True)))
    torch.testing.assert_close(output(one), output(other))


# What is spread out, and what it means
SPREAD = [
    ("mean(*[dw(3), dw(5)])", "mean(dw(3), dw(5))", ""),
    ("mean(*[dw(2 * i + 1) for i in range(3)])", "mean(dw(1), dw(3), dw(5))", ""),
    ("mean(pw(c), *branches)", "mean(pw(c), dw(3), norm >> dw(5))", ""),
    ("mean(*[dw(i) for i in range(6) if i % 2 == 1])", "mean(dw(1), dw(3), dw(5))", ""),
    ("[dw(k) for k in [3, 4, 5] if k != 4][1] >> conv([k for k in range(9) if (k > 5 and not k == 6)][0])", "dw(5) >> conv(7)",
     ""),
    ("mean(*([*branches, id] if true else [id]))", "mean(dw(3), norm >> dw(5), id)", ""),
    ("mean(*branches[1:])", "norm >> dw(5)", ""),
    ("mean(*(branches + [pw(c)]))", "mean(dw(3), norm >> dw(5), pw(c))", ""),
    ("mean(*of(3, 5))", "mean(dw(3), dw(5))", ""),
    ("conv(*[8, 3], stride=2)", "conv(8, 3, stride=2)", ""),
    ("both(*branches)", "dw(3) >> (norm >> dw(5))", ""),
    ("both(dw(3), *[id])", "dw(3)", ""),
    ("conv(max(*[8, 3]))", "conv(8)", ""),
    ("x ->\nts = [x, x >> dw(3)]\nreturn mean(*ts)", "mean(id, dw(3))", ""),
    ("x ->\nq, k = x >> chunk(2)\nreturn concat(*[q, k], q)", "x ->\nq, k = x >> chunk(2)\nreturn q || k || q", ""),
    ("x ->\nts = x >> chunk(4)\nreturn join(*[t >> patches for t in ts])", "x ->\na, b, d, e = x >> chunk(4)\n"
     "return join(a >> patches, b >> patches, d >> patches, e >> patches)", ""),
    ("concat(dw(3), conv(8))", "dw(3) || conv(8)", ""),
    ("concat([dw(3), [id, conv(8)]])", "dw(3) || id || conv(8)", ""),
    ("concat(none, id)", "id", ""),
    ("concat(*branches, global_pool)", "dw(3) || (norm >> dw(5)) || global_pool", ""),
    ("x ->\nts = [x] + [x >> dw(3)]\nreturn concat(ts)", "id || dw(3)", ""),
    ("x ->\nts = x >> chunk(4)\nreturn concat(ts[1:] + ts[:1])", "x ->\na, b, d, e = chunk(4)\nreturn b || d || e || a", ""),
    ("sum(branches[:1] + branches)", "sum([dw(3), dw(3), norm >> dw(5)])", ""),
    ("sum([2, 3][1:] + [conv(8)] if false else [id, conv(c)])", "sum([id, conv(c)])", ""),
]  # fmt: skip
LET = "  norm: layer_norm\n  branches:\n  - dw(3)\n  - norm >> dw(5)\n  both(a, b): a >> b\n  of(a, b): |\n    [dw(a), dw(b)]"


@pytest.mark.parametrize(("written", "means", "_"), SPREAD)
def test_what_a_list_means(written: str, means: str, _: str) -> None:
    used = {name: name in written + means for name in ("branches", "norm", "both", "of")}
    used["norm"] |= used["branches"]
    blocks = {"norm": LET.split("\n")[0], "branches": "\n".join(LET.split("\n")[1:4]), "both": LET.split("\n")[4]}
    blocks["of"] = "\n".join(LET.split("\n")[5:])
    one, other = (
        build(text, "\n".join(block for name, block in blocks.items() if name in text or (name == "norm" and "branches" in text)))
        for text in (written, means)
    )
    same(one, other)


def test_members_are_named_by_their_text_or_by_their_number() -> None:
    model = build("mean(*branches, *[pw(c), conv(c)])", "  branches: [dw(3), dw(5)]")
    assert [name for name, _ in model.named_parameters() if name.endswith("weight")] == [
        "branches.0.weight", "branches.1.weight", "pw.weight", "conv.weight"
    ]  # fmt: skip


WRONG = [
    ("mean(*id)", "`*` needs a list"),
    ("conv(*8)", "`*` needs a list"),
    ("concat(*(id >> chunk(2)))", "what a module returns gets a name"),
    ("conv(*[8, 3], strid=2)", "has no argument 'strid'"),
    ("conv(*[8, 3, 1, none, 1, 1, true, 5])", "'conv' takes 7 arguments"),
    ("mean(*[])", "'mean' needs at least one module"),
    ("sum(*[id, id])", "without the `*`"),
    ("[id, id] + 1", "one value is needed here"),
    ("x ->\nts = [x, x]\nreturn ts + x", "one value is needed here"),
    ("concat(id, avg_pool(2, stride=2))", "cannot be concatenated"),
    ("x ->\nks = [8, 9]\nreturn x >> ks[0:1]", "a number or word where a module is needed"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "message"), WRONG)
def test_mistakes(model: str, message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("*", r"\*").replace("+", r"\+")) as problem:
        build(model)
    assert all(each.span is not None for each in problem.value.problems)


def test_a_binding_gets_too_many() -> None:
    with pytest.raises(SpecError, match="'both' takes 2 arguments"):
        build("both(*[id, id, id])", "  both(a, b): a + b")
    with pytest.raises(SpecError, match="'both' needs the argument 'b'"):
        build("both(*[id])", "  both(a, b): a + b")


@pytest.mark.parametrize("name", ["k", "v", "kv"])
def test_a_projection_for_each_source_of_keys(name: str) -> None:
    """Each source has weights of its own, also of its own width; what is not a list stays one projection for all."""
    wide = {"k": 4, "v": 4, "kv": 8}[name]
    rest = ", v=linear(4)" if name == "k" else ", k=linear(4)" if name == "v" else ""
    own = build(f"x -> attention(2, over=[x, x >> avg_pool(2)], {name}=[linear({wide}), linear({wide}, bias=false)]{rest})")
    assert {n for n, _ in own.named_parameters() if f".{name}." in n} == {
        f"attention.{name}.0.weight", f"attention.{name}.0.bias", f"attention.{name}.1.weight"
    }  # fmt: skip
    alike = build(f"x -> attention(2, over=[x, x >> avg_pool(2)], {name}=linear({wide}){rest})")
    state = own.state_dict()
    for part in ("weight", "bias"):
        alike.state_dict()[f"attention.{name}.{part}"].copy_(state[f"attention.{name}.0.{part}"])
        for n in alike.state_dict():
            if f".{name}." not in n and n.endswith(part):
                alike.state_dict()[n].copy_(state[n])
    own.attention.get_submodule(f"{name}.1").weight.data.copy_(state[f"attention.{name}.0.weight"])
    own.attention.get_submodule(f"{name}.0").bias.data.zero_()
    alike.attention.get_submodule(name).bias.data.zero_()
    torch.testing.assert_close(output(own), output(alike))


def test_sources_of_several_widths_have_a_projection_each() -> None:
    model = build("x -> attention(2, over=[x, x >> conv(6)], kv=[linear(8), linear(8)])")
    assert [model.attention.kv[i].weight.shape[1] for i in range(2)] == [4, 6]
    assert output(model).shape == (2, 8, 8, 4)
    for text, message in (
        ("x -> attention(2, over=[x, x >> conv(6)], kv=linear(8))", "4 and 6 wide"),
        ("x -> attention(2, over=[x, x], kv=[linear(8)])", "`kv=` has 1 entries"),
        ("x -> attention(2, over=[x, x], kv=[linear(8), none])", "a member `none`"),
    ):
        with pytest.raises(SpecError, match=message):
            build(text)
