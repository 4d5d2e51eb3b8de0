"""Networks side by side: parameters, MACs, throughput measured here, and what the papers print."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence

import torch

from ..api import assemble, example
from ..backend import costs
from ..errors import MetablockError
from ..front import front
from ..language.spec import Spec
from ..lowering.network import input_features
from .build import BuildOptions, Progress, first_pass, network, on_meta, parse_device, parse_dtype
from .catalogue import size
from .layout import short
from .models import TableRow

# The comparison that surveys of vision transformers print: its rows, in its order, and what they are called here.
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
    ("Shuffle-T", None), ("Shuffle-S", None), ("Shuffle-B", None),
    ("CMT-S", "cmt_s"), ("CMT-B", "cmt_b"),
    *((f"VOLO-D{i}", f"volo_d{i}_224") for i in range(1, 6)),
)  # fmt: skip
ABSENT = "not in the catalogue"


def table_rows(
    names: Sequence[tuple[str, str | None]],
    *,
    measure: bool = False,
    device: str = "cpu",
    dtype: str = "float32",
    batch: int = 8,
    compiled: bool = False,
    progress: Progress = lambda _: None,
) -> list[TableRow]:
    """A row for each network.

    Args:
        names: what a row is called, and the network: a catalogue name or a path; None for one that is not there.
        measure: whether the throughput is measured: images a second, in evaluation, of batches of ``batch``.

    Raises:
        MetablockError: an unknown network, one that cannot be built; a device that is not here.
    """
    place, kind = parse_device(device), parse_dtype(dtype)
    if measure and place.type == "meta":
        raise MetablockError("nothing runs on 'meta'\n  leave out --measure, or name a device")
    rows = []
    for label, name in names:
        if name is None:
            rows.append(TableRow(name=label, note=ABSENT))
            continue
        progress(label)
        spec = network(BuildOptions(name))
        facts = spec.facts.of(spec.variant or spec.name)
        params, macs = _counts(spec, facts)
        throughput = None
        if measure:
            model = assemble(spec, front(spec).ir, device=place, dtype=kind).eval()
            latency = first_pass(model, place, dtype, compiled, 0, batch, 0.0, progress)[1].latency
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
    """By the facts, which the tests hold to what is built; counted where there are none."""
    if facts.get("params", "").isdigit() and facts.get("macs", "").isdigit():
        return int(facts["params"]), int(facts["macs"])
    model = on_meta(spec, front(spec).ir)
    return sum(costs.parameters(model)), costs.macs(model, *example(model))[""]


def difference(what: str, ours: int, printed: str | None) -> str | None:
    """How far a printed figure is from ours, where its rounding does not explain it: ``MACs 3.2 % above the printed 4.5G``."""
    found = re.fullmatch(r"([\d.]+)([kMGT]?)", printed or "")
    if found is None:
        return None
    unit = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}[found[2]]
    value, digits = float(found[1]), len(found[1].partition(".")[2])
    if not value or abs(ours / unit - value) <= 0.5000001 * 10**-digits:
        return None
    share = (ours / unit / value - 1) * 100
    return f"{what} {abs(share):.2g} % {'above' if share > 0 else 'below'} the printed {printed}"


# Ways to write it

HEADS = ("model", "input", "params", "MACs", "printed params", "printed MACs", "top-1", "images/s", "note")


def cells(rows: Sequence[TableRow]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The heads and the cells of the columns that have anything in them."""
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
    kept = [i for i in range(len(HEADS)) if any(line[i] for line in every)]
    return tuple(HEADS[i] for i in kept), [tuple(line[i] for i in kept) for line in every]


def markdown(rows: Sequence[TableRow]) -> str:
    heads, lines = cells(rows)
    rule = ["---" if head in ("model", "input", "note") else "---:" for head in heads]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in (heads, rule, *lines))


def latex(rows: Sequence[TableRow]) -> str:
    heads, lines = cells(rows)
    columns = "".join("l" if head in ("model", "input", "note") else "r" for head in heads)
    body = [" & ".join(_tex(cell) for cell in line) + r" \\" for line in lines]
    head = " & ".join(_tex(head) for head in heads) + r" \\"
    return "\n".join(
        [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    )


def comma_separated(rows: Sequence[TableRow]) -> str:
    """All fields, in full figures."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(TableRow.model_fields)
    for row in rows:
        writer.writerow(["" if value is None else value for value in row.model_dump().values()])
    return out.getvalue().rstrip("\n")


WRITERS: dict[str, Callable[[Sequence[TableRow]], str]] = {"md": markdown, "tex": latex, "csv": comma_separated}


def _tex(text: str) -> str:
    return re.sub(r"[&%$#_{}]", lambda found: "\\" + found[0], text)


def _short(value: int | None) -> str:
    return "" if value is None else short(value)


def described(device: str) -> str:
    """The device of a measurement, in words."""
    place = parse_device(device)
    return torch.cuda.get_device_name(place) if place.type == "cuda" else f"{place}, {torch.get_num_threads()} threads"
