"""Draws groups of training images, and tells what happened without them.

groups.py draw FEATURES STEM    writes STEM-KIND-SHARE.csv (train,group) for every kind and share
groups.py table WORK            the table of README.md from the evaluations in WORK
"""

import json
import sys
from pathlib import Path

import numpy as np

TARGETS = ["digits-natural", "digits-robust", "cifar10-natural", "cifar10-robust"]
# What a group is drawn from, and which parts of it: all training images, those nearest to one of them, those of a class.
SHARES = {"random": [0.01, 0.05, 0.2, 0.5], "alike": [0.01, 0.05, 0.2], "class": [0.1, 0.5, 0.9, 1.0]}
GROUPS = 20


def tensors(path):
    """The arrays of a safetensors file of f32 and i64."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    kinds = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "U32": np.uint32, "I32": np.int32}
    arrays = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            arrays[name] = np.frombuffer(data[begin:end], kinds[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def draw(path, stem):
    arrays = tensors(Path(path))
    features, labels = arrays["features"].astype(np.float64), arrays["labels"]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    count = len(labels)
    random = np.random.default_rng(0)

    def members(kind, share, group):
        if kind == "random":
            return random.choice(count, round(share * count), replace=False)
        if kind == "alike":
            return np.argsort(-(unit @ unit[random.integers(count)]), kind="stable")[: round(share * count)]
        own = np.flatnonzero(labels == group)
        return random.choice(own, max(1, round(share * len(own))), replace=False)

    for kind, shares in SHARES.items():
        for share in shares:
            names = sorted(set(labels.tolist())) if kind == "class" else range(GROUPS)
            rows = [f"{image},{group:02}" for group in names for image in sorted(members(kind, share, group))]
            Path(f"{stem}-{kind}-{share}.csv").write_text("\n".join(["train,group", *rows]) + "\n")


def results(folder):
    return json.loads((folder / "run.json").read_text())["results"]


def agreements(found):
    return {row["name"]: row["agreement"] for row in found["leave_group_out"]["rows"]}


def row(folder):
    """What happens, means over groups and queries; and how well sums of scores say it, query by query."""
    left_out, fitted = results(folder), results(folder.with_name(folder.name + "-fitted"))
    groups = left_out["groups_left_out"]["groups"]
    rise = np.mean([group["actual"]["value"] for group in groups])
    change = np.mean([group["correct_change"]["value"] for group in groups])
    at_run, at_minimum = agreements(left_out)["run"], agreements(fitted)
    numbers = [f"{rise:+.4f}", f"{100 * change:+.1f}"]
    for agreement in [at_run, at_minimum["run"]]:
        numbers.append("{value:.2f} [{low:.2f}, {high:.2f}]".format(**agreement["spearman"]))
    numbers += [f"{agreement['slope']['value']:.2f}" for agreement in [at_minimum["run"], at_minimum["leverage"]]]
    return [number.replace("-", "−") for number in numbers]


def table(work):
    head = ["rise (nats)", "right (points)", "order", "order at the minimum", "slope there", "slope, leverage"]
    for target in TARGETS:
        print(f"\n**{target.replace('-', ', ')}**\n")
        print("| group | " + " | ".join(head) + " |\n|" + " --- |" * (len(head) + 1))
        for kind, shares in SHARES.items():
            for share in shares:
                name = f"{kind}, {share:.0%}".replace("%", " %")
                print(f"| {name} | " + " | ".join(row(Path(work) / f"{target}-{kind}-{share}")) + " |")


if __name__ == "__main__":
    {"draw": draw, "table": table}[sys.argv[1]](*sys.argv[2:])
