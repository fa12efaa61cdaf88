"""Lists of suspects, decisions and the table of run.sh.

python decide.py split TEST WORK     halves of the test images, chosen-by.parquet and held-out.parquet
python decide.py decide WORK SEED    decisions by each list, from the run WORK/SEED-rank
python decide.py table WORK SEED…    what was found and gained, as Markdown
"""

import json
import pathlib
import sys

import numpy
import polars
import pyarrow
import pyarrow.parquet

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from intervals import half_width

SHARE = 0.05
BUDGETS = (0.05, 0.1, 0.2)


def split(test, work):
    # By pyarrow, which keeps the class names that the file's metadata hold.
    images = pyarrow.parquet.read_table(test)
    even = numpy.arange(len(images)) % 2 == 0
    for name, chosen in (("chosen-by", even), ("held-out", ~even)):
        pyarrow.parquet.write_table(images.filter(pyarrow.array(chosen)), work / f"{name}.parquet")


def results(folder):
    return json.loads((folder / "run.json").read_text())["results"]


def suspects(work, seed):
    """Training ids, most suspected first, by each list; and the flipped ones."""
    rank = work / f"{seed}-rank"
    images = polars.read_parquet(rank / "self_influence.parquet")
    ids = images["train"].to_numpy()
    # Positive scores help the test images.
    help_of_all = numpy.load(rank / "scores.npy").astype(numpy.float64).mean(axis=0)
    draws = numpy.random.default_rng(int(seed))
    suspicion = {
        "loss": images["loss"].to_numpy(),
        "self-influence": images["self_influence"].to_numpy(),
        "harm": -help_of_all,
        "random": draws.random(len(ids)),
    }
    lists = {name: ids[numpy.argsort(-value, kind="stable")] for name, value in suspicion.items()}
    return lists, set(results(work / f"{seed}-flipped")["flipped"])


def write(path, rows):
    path.write_text("train,decision,label\n" + "".join(f"{train},{decision},{label}\n" for train, decision, label in rows))


def decide(work, seed):
    lists, flips = suspects(work, seed)
    count = round(SHARE * len(lists["loss"]))
    lists["flips"] = sorted(flips)
    for name, ids in lists.items():
        write(work / f"{seed}-exclude-{name}.csv", [(train, "exclude", "") for train in ids[:count]])
    # The model's own prediction is the label that an auditor would look at first.
    rankings = polars.read_parquet(work / f"{seed}-rank" / "train_rankings.parquet").filter(polars.col("rank") == 1)
    predicted = dict(zip(rankings["query"], rankings["query_prediction"]))
    given = dict(zip(rankings["query"], rankings["query_label"]))
    believed = [(train, "relabel", predicted[train]) for train in lists["loss"][:count] if predicted[train] != given[train]]
    write(work / f"{seed}-relabel-loss.csv", believed)
    # The true labels, as a perfect auditor would give them.
    clean = results(work / f"{seed}-flipped")["relabelled"]
    assert {int(train) for train in clean} == flips
    train_file = json.loads((work / f"{seed}-flipped" / "run.json").read_text())
    path = next(source["path"] for source in train_file["inputs"] if source["role"] == "train")
    truth = polars.read_parquet(path, columns=["label"])["label"]
    write(work / f"{seed}-relabel-flips.csv", [(train, "relabel", truth[train]) for train in sorted(flips)])


def interval(values, digits, scale=100.0):
    """Mean and 95 % interval over seeds."""
    values = scale * numpy.asarray(values, dtype=numpy.float64)
    half = half_width(values) if len(values) > 1 else float("nan")
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def table(work, seeds):
    found = {}
    for seed in seeds:
        lists, flips = suspects(work, seed)
        for name, ids in lists.items():
            for budget in BUDGETS:
                first = ids[: round(budget * len(ids))]
                found.setdefault((name, budget), []).append(len(flips.intersection(first.tolist())) / len(flips))
    print("| list | flips in the first 5 % | 10 % | 20 % |")
    print("| --- | --- | --- | --- |")
    for name in ("loss", "self-influence", "harm", "random"):
        print(f"| {name} | " + " | ".join(interval(found[name, budget], 1) for budget in BUDGETS) + " |")
    accuracy = lambda seed, way: results(work / f"{seed}-{way}")["test"]["accuracy"]
    print("\n| labels | accuracy, % | gained on the flipped labels, points |")
    print("| --- | --- | --- |")
    rows = {
        "none flipped": "clean",
        "5 % flipped": "flipped",
        "first 5 % by loss left out": "exclude-loss",
        "first 5 % by self-influence left out": "exclude-self-influence",
        "first 5 % by harm left out": "exclude-harm",
        "5 % at random left out": "exclude-random",
        "first 5 % by loss given the predicted label": "relabel-loss",
        "all flips left out": "exclude-flips",
        "all flips given their true label": "relabel-flips",
    }
    for row, way in rows.items():
        values = [accuracy(seed, way) for seed in seeds]
        gains = [value - accuracy(seed, "flipped") for seed, value in zip(seeds, values)]
        gain = "–" if way == "flipped" else interval(gains, 2)
        print(f"| {row} | {interval(values, 2)} | {gain} |")


if __name__ == "__main__":
    command, *words = sys.argv[1:]
    if command == "split":
        split(words[0], pathlib.Path(words[1]))
    elif command == "decide":
        decide(pathlib.Path(words[0]), words[1])
    else:
        table(pathlib.Path(words[0]), words[1:])
