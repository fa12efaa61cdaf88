"""Tables in Markdown from the evaluations that run.sh left: python table.py WORK"""

import json
import pathlib
import sys

work = pathlib.Path(sys.argv[1])


def results(name):
    path = work / name / "run.json"
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    return record["results"] if record["status"] == "finished" else None


def interval(value, digits=2):
    if value is None:
        return "–"
    # Rounded first, so that no zero has a sign.
    middle, low, high = (f"{round(value[key], digits) + 0.0:.{digits}f}" for key in ("value", "low", "high"))
    return f"{middle} [{low}, {high}]"


def table(*rows):
    head, *body = rows
    for row in (head, ["---"] * len(head), *body):
        print("| " + " | ".join(row) + " |")
    print()


def share(value):
    return "–" if value is None else f"{100 * value:.0f} %"


def agreement(source, blocks, at):
    found = results(f"{source}-blocks{blocks}-{at}")
    if found is None:
        return
    alone, subsets = found["leave_one_out"], found["lds"]
    where = "the head that the transfer left" if at == "run" else "the converged head"
    print(f"### {source} source, {blocks} blocks fine-tuned, scores at {where}\n")
    print(f"{subsets['retrainings']} halves, {alone['retrainings']} images left out, {subsets['queries']} queries.\n")
    others = {row["name"]: row["agreement"] for row in alone["rows"]}
    rows = [["estimator", "LDS", "p", "LOO Spearman", "LOO Pearson", "slope", "match 1", "match 100", "proven", "s", "MiB"]]
    for row in subsets["rows"]:
        name, other, match = row["name"], others[row["name"]], found["class_match"][row["name"]]
        difference, memory = row["minus_first"], row["bytes"]
        rows.append(
            [
                name,
                interval(row["agreement"]["spearman"], 3),
                "–" if difference is None else f"{difference['p']:.3f}",
                interval(other["spearman"], 3),
                interval(other["pearson"], 3),
                f"{other['slope']['value']:.3g}",
                interval(match["first"]),
                interval(match["hundredth"]),
                share(row["certified"]),
                f"{row['seconds']:.1f}",
                "–" if memory is None else f"{memory / 2**20:.0f}",
            ]
        )
    table(*rows)


def checks(source):
    found = results(f"{source}-checks")
    if found is None:
        return
    print(f"### Checks, {source} source, head alone, scores at the converged head\n")
    rows = [["ranked by", "AUC", "recall in 10 %", "in 20 %"]]
    for row in found["mislabels"]:
        rows.append([row["ranker"], interval(row["auc"], 3), *map(interval, row["recall"])])
    table(*rows)
    removal = {row["method"]: row for row in found["removal"] if row["side"] == "removal"}
    rows = [["estimator", "same at shuffled labels", "same at a random head", "copy first", "own class first", "flips", "rise without the first 500"]]
    for name in [*found["duplicates"], "random"]:
        randomised = [found["randomise"][check].get(name) for check in ("shuffled labels", "random head")]
        sanity = ["–" if value is None else f"{value:.2f}" for value in randomised]
        curve = removal[name]
        rows.append(
            [
                name,
                *sanity,
                interval(found["duplicates"].get(name, {}).get("first")),
                interval(found["classes"]["own_class"].get(name, {}).get("first")),
                interval(curve["flipped"]),
                interval(curve["points"][-1]["rise"]),
            ]
        )
    table(*rows)


for blocks in (3, 0):
    for source in ("natural", "robust"):
        for at in ("run", "fitted"):
            agreement(source, blocks, at)
for source in ("natural", "robust"):
    checks(source)
