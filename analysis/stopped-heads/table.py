"""The table of README.md: how scores of heads at each damping agree with training again.

usage: python-with-polars-and-numpy table.py WORK DAMPING…
"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from intervals import by_query, interval

REFITS = ("lds", "leave_one_out")


def refitted(run, kind):
    return f"{record(run)['results'][kind]['rows'][0]['agreement']['spearman']['value']:.2f}"


def record(run):
    with open(f"{run}/run.json") as file:
        return json.load(file)


work, *dampings = sys.argv[1:]
titles = ["target, epochs, source", "loss", "gradient norm", "λ of `trained`", *(f"λ {it}" for it in dampings)]
titles += ["`trained` minus 0", "most to expect"]
titles += ["refits, halves: λ 0, `trained`", "refits, one left out: λ 0, `trained`"]
print("| " + " | ".join(titles) + " |\n|" + " --- |" * len(titles))
for target in ("digits", "cifar10", "fashion-mnist"):
    for epochs in (15, 50, 150):
        for source in ("natural", "robust"):
            model = f"{work}/{target}-{epochs}-{source}"
            trained = record(f"{model}-at-trained")
            results, damping = trained["results"], trained["options"]["damping"]
            found = {it: by_query(f"{model}-lds-{it}") for it in dampings}
            most = record(f"{model}-again")["results"]["lds_seeds"]["most_to_expect"]
            cells = [f"{results['train_loss']:.2f}", f"{results['gradient_norm']:.3f}", f"{damping:.1e}"]
            cells += [interval(found[it]) for it in dampings]
            cells += [interval(found["trained"] - found["0"]), f"{most:.2f}"]
            cells += [", ".join(refitted(f"{model}-refit-{it}", kind) for it in ("0", "trained")) for kind in REFITS]
            print(f"| {target}, {epochs}, {source} | " + " | ".join(cells) + " |")
