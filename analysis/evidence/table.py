"""Tables in Markdown from the evaluations that run.sh left: python table.py WORK"""

import json
import pathlib
import sys

work = pathlib.Path(sys.argv[1])


def results(name):
    return json.loads((work / name / "run.json").read_text())["results"]


def interval(value, digits=2):
    if value is None:
        return "–"
    low, high = (f"{value[key]:.{digits}f}" for key in ("low", "high"))
    return f"{value['value']:.{digits}f} [{low}, {high}]"


def rows(found):
    return {row["name"]: row for row in found["rows"]}


for source in ("natural", "robust"):
    for blocks in (0, 3):
        for at in ("run", "fitted"):
            found = results(f"{source}-blocks{blocks}-{at}")
            alone, subsets = found["leave_one_out"], found["lds"]
            where = "the transfer's head" if at == "run" else "the converged head"
            print(f"### {source} source, {blocks} blocks fine-tuned, scores at {where}\n")
            print(
                f"{subsets['retrainings']} halves and {alone['retrainings']} images left out, {subsets['queries']} queries.\n"
            )
            print("| estimator | LDS | LOO Spearman | LOO Pearson | LOO slope | match 1 | match 100 | p | seconds |")
            print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
            lds, loo = rows(subsets), rows(alone)
            for name, row in lds.items():
                match = found["class_match"][name]
                other = loo[name]["agreement"]
                difference = row["minus_first"]
                cells = [
                    name,
                    interval(row["agreement"]["spearman"], 3),
                    interval(other["spearman"], 3),
                    interval(other["pearson"], 3),
                    f"{other['slope']['value']:.3g}",
                    interval(match["first"]),
                    interval(match["hundredth"]),
                    "–" if difference is None else f"{difference['p']:.3f}",
                    f"{row['seconds']:.2f}",
                ]
                print("| " + " | ".join(cells) + " |")
            print()

for source in ("natural", "robust"):
    found = results(f"{source}-checks")
    print(f"### Checks, {source} source\n")
    print("| ranker | AUC | recall in 10 % | in 20 % |\n| --- | --- | --- | --- |")
    for row in found["mislabels"]:
        recall = " | ".join(interval(value) for value in row["recall"])
        print(f"| {row['ranker']} | {interval(row['auc'], 3)} | {recall} |")
    print("\n| estimator | same ranking, shuffled labels | random head | copy first | own class first | flips by removal |")
    print("| --- | --- | --- | --- | --- | --- |")
    flips = {row["method"]: row["flipped"] for row in found["removal"] if row["side"] == "removal"}
    for name, copies in found["duplicates"].items():
        cells = [
            name,
            interval(found["randomise"]["shuffled labels"][name]),
            interval(found["randomise"]["random head"][name]),
            interval(copies["first"]),
            interval(found["classes"]["own_class"][name]["first"]),
            interval(flips.get(name)),
        ]
        print("| " + " | ".join(cells) + " |")
    print(f"| random | – | – | – | – | {interval(flips.get('random'))} |\n")
