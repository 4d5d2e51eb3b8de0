"""Networks side by side: parameters, MACs, throughput measured here, and what the papers print."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence

import torch

from ..api import assemble, example
from ..backend import costs
from ..backend.device import parse_device, parse_dtype
from ..errors import MetablockError
from ..front import front
from ..language.spec import Spec
from ..lowering.network import input_features
from .catalogue import size
from .layout import short
from .measure import PhaseWatch, measure
from .models import TableRow
from .options import BuildOptions, resolved_spec

# The rows of the comparison that surveys of vision transformers print, in its order, with their names in the catalogue.
SURVEY = (
    ("ResNet-50", "resnet50"), ("ResNet-101", "resnet101"), ("ResNet-152", "resnet152"),
    *((f"EfficientNet-B{i}", f"efficientnet_b{i}") for i in range(5)),
    ("DeiT-Ti", "deit_tiny_patch16_224"), ("DeiT-S", "deit_small_patch16_224"), ("DeiT-B", "deit_base_patch16_224"),
    *((f"T2T-ViT-{n}", f"t2t_vit_{n}") for n in (14, 19, 24)),
    ("PVT-S", "pvt_small"), ("PVT-M", "pvt_medium"), ("PVT-L", "pvt_large"),
    ("TNT-S", "official_tnt_s"), ("TNT-B", "official_tnt_b"),
    ("CPVT-S", "cpvt_s"), ("CPVT-B", "cpvt_b"),
    ("Swin-T", "swin_tiny_patch4_window7_224"),
    ("Swin-S", "swin_small_patch4_window7_224"), ("Swin-B", "swin_base_patch4_window7_224"),
    ("Twins-SVT-S", "svt_small"), ("Twins-SVT-B", "svt_base"), ("Twins-SVT-L", "svt_large"),
    *((f"Shuffle-{letter}", f"shuffle_transformer_{letter.lower()}") for letter in "TSB"),
    ("CMT-S", "cmt_s"), ("CMT-B", "cmt_b"),
    *((f"VOLO-D{i}", f"volo_d{i}_224") for i in range(1, 6)),
)  # fmt: skip


def table_rows(
    names: Sequence[tuple[str, str]],
    *,
    measured: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
    batch: int = 8,
    compiled: bool = False,
    progress: PhaseWatch = lambda phase: None,
) -> list[TableRow]:
    """A row for each network.

    Args:
        names: the label of a row, and its network: a catalogue name or a path.
        measured: whether the throughput is measured: images a second, in evaluation.
        device: where it is measured.
        dtype: of the weights and the input, by name.
        batch: the number of images in a pass.
        compiled: whether the networks are compiled.
        progress: called with the label of each row.

    Raises:
        MetablockError: an unknown network, or one that cannot be built; a device that is not here.

    >>> (row,) = table_rows([("ResNet-18", "resnet18")])
    >>> row.name, row.parameters, row.macs
    ('ResNet-18', 11689512, 1814073344)
    """
    place, kind = parse_device(device), parse_dtype(dtype)
    if measured and place.type == "meta":
        raise MetablockError("nothing runs on 'meta'", "leave out --measure, or name a device")
    rows = []
    for label, name in names:
        progress(label)
        spec = resolved_spec(BuildOptions(name))
        facts = spec.facts.of(spec.variant or spec.name)
        params, macs = _counts(spec, facts)
        throughput = None
        if measured:
            model = assemble(spec, front(spec).ir, device=place, dtype=kind).eval()
            latency = measure(model, compiled=compiled, batch=batch, progress=progress).latency
            throughput = batch / latency if latency else None
        reported = {key.removeprefix("reported."): cell for key, cell in facts.items() if key.startswith("reported.")}
        notes = [
            note
            for what, ours, printed in (("params", params, reported.get("params")), ("MACs", macs, reported.get("macs")))
            if (note := difference(what, ours, printed))
        ]
        rows.append(
            TableRow(
                name=label,
                variant=spec.variant or spec.name,
                input=", ".join(size(feature) for feature in input_features(spec)),
                parameters=params,
                macs=macs,
                reported_parameters=reported.get("params"),
                reported_macs=reported.get("macs"),
                top1=reported.get("top1"),
                throughput=throughput,
                note="; ".join(notes) or None,
            )
        )
    return rows


def _counts(spec: Spec, facts: dict[str, str]) -> tuple[int, int]:
    """Parameters and MACs: from the facts, which the tests verify against the built network; else counted."""
    if facts.get("params", "").isdigit() and facts.get("macs", "").isdigit():
        return int(facts["params"]), int(facts["macs"])
    model = assemble(spec, front(spec).ir, device="meta")
    return sum(costs.parameters(model)), costs.macs(model, *example(model))[""]


def difference(what: str, ours: int, printed: str | None) -> str | None:
    """How far our count is from a printed figure; None where rounding explains the difference.

    >>> difference("MACs", 4_594_566_656, "4.5G")
    'MACs 2.1 % above the printed 4.5G'
    """
    figure = re.fullmatch(r"([\d.]+)([kMGT]?)", printed or "")
    if figure is None:
        return None
    unit = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}[figure[2]]
    value, digits = float(figure[1]), len(figure[1].partition(".")[2])
    if not value or abs(ours / unit - value) <= 0.5000001 * 10**-digits:
        return None
    share = (ours / unit / value - 1) * 100
    return f"{what} {abs(share):.2g} % {'above' if share > 0 else 'below'} the printed {printed}"


# Ways to write the table

HEADS = ("model", "input", "params", "MACs", "printed params", "printed MACs", "top-1", "images/s", "note")


def cells(rows: Sequence[TableRow]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The heads and the cells of the columns that are not empty.

    >>> heads, lines = cells([TableRow(name="ResNet-18", parameters=11689512)])
    >>> heads, lines
    (('model', 'params'), [('ResNet-18', '11.7M')])
    """
    every = [
        (
            row.name,
            row.input or "",
            _short(row.parameters),
            _short(row.macs),
            row.reported_parameters or "",
            row.reported_macs or "",
            row.top1 or "",
            f"{row.throughput:.3g}" if row.throughput is not None else "",
            row.note or "",
        )
        for row in rows
    ]
    filled = [i for i in range(len(HEADS)) if any(line[i] for line in every)]
    return tuple(HEADS[i] for i in filled), [tuple(line[i] for i in filled) for line in every]


def markdown(rows: Sequence[TableRow]) -> str:
    """The table in Markdown.

    >>> print(markdown([TableRow(name="ResNet-18", parameters=11689512)]))
    | model | params |
    | --- | ---: |
    | ResNet-18 | 11.7M |
    """
    heads, lines = cells(rows)
    rule = ["---" if head in ("model", "input", "note") else "---:" for head in heads]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in (heads, rule, *lines))


def latex(rows: Sequence[TableRow]) -> str:
    r"""The table as a ``tabular`` of LaTeX, with the rules of booktabs.

    >>> print(latex([TableRow(name="swin_tiny", parameters=28288354)]).splitlines()[4])
    swin\_tiny & 28.3M \\
    """
    heads, lines = cells(rows)
    columns = "".join("l" if head in ("model", "input", "note") else "r" for head in heads)
    body = [" & ".join(_tex(cell) for cell in line) + r" \\" for line in lines]
    head = " & ".join(_tex(head) for head in heads) + r" \\"
    return "\n".join(
        [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    )


def comma_separated(rows: Sequence[TableRow]) -> str:
    """All fields as comma-separated values, in full figures.

    >>> print(comma_separated([TableRow(name="ResNet-18", parameters=11689512)]).splitlines()[1])
    ResNet-18,,,11689512,,,,,,
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(TableRow.model_fields)
    for row in rows:
        writer.writerow(["" if value is None else value for value in row.model_dump().values()])
    return out.getvalue().rstrip("\n")


WRITERS: dict[str, Callable[[Sequence[TableRow]], str]] = {"md": markdown, "tex": latex, "csv": comma_separated}


def _tex(text: str) -> str:
    return re.sub(r"[&%$#_{}]", lambda match: "\\" + match[0], text)


def _short(value: int | None) -> str:
    return "" if value is None else short(value)


def described(device: str) -> str:
    """The device of a measurement, in words: the name of a GPU, or the number of threads.

    >>> described("cpu").startswith("cpu, ")
    True
    """
    place = parse_device(device)
    return torch.cuda.get_device_name(place) if place.type == "cuda" else f"{place}, {torch.get_num_threads()} threads"
