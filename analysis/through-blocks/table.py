"""Tables in Markdown from what run.sh left, and class_match.csv beside this file: python table.py WORK"""

import json
import pathlib
import sys

import numpy
import polars

work = pathlib.Path(sys.argv[1])
draws = numpy.random.default_rng(0)


def record(name):
    path = work / name / "run.json"
    found = json.loads(path.read_text()) if path.exists() else None
    return found if found and found["status"] == "finished" else None


def mean(values, digits=2):
    """Mean over queries and its 95 % bootstrap interval."""
    values = numpy.asarray(values, dtype=numpy.float64)
    again = values[draws.integers(len(values), size=(2000, len(values)))].mean(axis=1)
    low, high = numpy.percentile(again, [2.5, 97.5])
    return f"{values.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def ranks(values):
    return numpy.argsort(numpy.argsort(values))


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def head(*cells):
    row(*cells)
    row(*["---"] * len(cells))


def class_match():
    print("### Class match\n")
    head("source", "through", "rank 1", "ranks 1–10", "ranks 1–100", "s", "MiB")
    for source in ("natural", "robust"):
        for through in ("head", "blocks"):
            found = record(f"{source}-{through}")
            if found is None:
                continue
            rankings = polars.read_parquet(work / f"{source}-{through}" / "rankings.parquet").filter(polars.col("rank") > 0)
            match = rankings.with_columns((polars.col("query_label") == polars.col("train_label")).cast(polars.Float64).alias("match"))
            upto = lambda last: mean(match.filter(polars.col("rank") <= last).group_by("query", maintain_order=True).agg(polars.col("match").mean())["match"])
            memory = max(stage["peak_memory_bytes"] or 0 for stage in found["stages"]) / 2**20
            row(source, through, upto(1), upto(10), upto(100), f"{found['seconds']:.0f}", f"{memory:.0f}")


def curves():
    parts = []
    for source in ("natural", "robust"):
        for through in ("head", "blocks"):
            if record(f"{source}-{through}") is None:
                continue
            rankings = polars.read_parquet(work / f"{source}-{through}" / "rankings.parquet").filter(polars.col("rank") > 0)
            match = (polars.col("query_label") == polars.col("train_label")).mean() * 100
            by_rank = rankings.group_by("rank").agg(match.alias("match_percent")).sort("rank")
            parts.append(by_rank.select(polars.lit(source).alias("source"), polars.lit(through).alias("through"), "rank", "match_percent"))
    if parts:
        polars.concat(parts).write_csv(pathlib.Path(__file__).parent / "class_match.csv")


def changed():
    print("\n### How the rankings differ, head and blocks\n")
    head("source", "Spearman", "same in the top 10", "in the top 100", "same first image", "‖scores‖ blocks ÷ head")
    for source in ("natural", "robust"):
        if record(f"{source}-blocks") is None:
            continue
        first, second = (numpy.load(work / f"{source}-{through}" / "scores.npy").astype(numpy.float64) for through in ("head", "blocks"))
        spearman = [numpy.corrcoef(ranks(a), ranks(b))[0, 1] for a, b in zip(first, second)]
        top = lambda count: [len(set(numpy.argsort(-a)[:count]) & set(numpy.argsort(-b)[:count])) / count for a, b in zip(first, second)]
        size = numpy.linalg.norm(second, axis=1) / numpy.linalg.norm(first, axis=1)
        row(source, mean(spearman), mean(top(10)), mean(top(100)), mean(top(1)), mean(size))


def shares():
    print("\n### Where the first ten scores come from, in per cent of their sum of sizes\n")
    for source in ("natural", "robust"):
        path = work / f"{source}-blocks" / "shares.parquet"
        if not path.exists():
            continue
        table = polars.read_parquet(path).filter((polars.col("rank") > 0) & (polars.col("rank") <= 10))
        parts = [name for name in table.columns if name not in ("query", "rank", "train")]
        sizes = table.select(parts).to_numpy()
        share = 100 * sizes / numpy.abs(sizes).sum(axis=1, keepdims=True)
        by_query = [share[table["query"].to_numpy() == query].mean(axis=0) for query in table["query"].unique(maintain_order=True)]
        if source == "natural":
            head("source", *parts)
        row(source, *(mean(column, 0) for column in numpy.array(by_query).T))


def truth():
    print("\n### Held against training again\n")
    head("source", "scores", "LDS", "minus blocks", "p")
    for source in ("natural", "robust"):
        trained = record(f"{source}-trained")
        if trained is None:
            continue
        found, seeds = trained["results"], trained["results"]["lds_seeds"]
        value = lambda found: f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"
        for compared in found["lds"]["rows"]:
            difference = compared["minus_first"]
            name = {"run": "through the blocks", "direct": "head alone"}.get(compared["name"], f"head alone, {compared['name']}")
            cells = ("–", "–") if difference is None else (value(difference["spearman"]), f"{difference['p']:.3f}")
            row(source, name, value(compared["agreement"]["spearman"]), *cells)
        row(source, "one seed with another", f"{seeds['one_with_another']:.3f}", "–", "–")
        row(source, f"the true effects would reach with the mean of {seeds['seeds']}", f"{seeds['mean_with_another_mean'] ** 0.5:.3f}", "–", "–")


class_match()
curves()
changed()
shares()
truth()
