"""The job of analysis/speed for a head, in PyTorch on one CUDA device: a fitted head, the exact answer, and the time to beat.

usage: python3 head.py fit JOB       fits the head in f64 (L-BFGS, then Newton): JOB/head.npz
       python3 head.py exact JOB     scores in f64 by the explicit Hessian: JOB/gt_scores.npy
       python3 head.py time JOB [--head FILE]
                                     the same in f32, from the features' files to the top 100 of every query, timed
       python3 head.py overlap JOB RUN...  share of the exact top 100 in each run of ascribe, and Spearman's correlation where
                                     the run has scores.npy
JOB holds train/ and test/, each with features.npy and labels.npy. Damping and L2 term are 1e-3 and 0 as in analysis/speed.
"""

import json
import sys
import time

import numpy as np
import torch

DAMPING, TOP = 1e-3, 100


def load(job, dtype):
    sides = []
    for side in ("train", "test"):
        features = torch.from_numpy(np.load(f"{job}/{side}/features.npy")).cuda().to(dtype)
        ones = torch.ones(len(features), 1, dtype=dtype, device="cuda")
        sides.append((torch.cat([features, ones], 1), torch.from_numpy(np.load(f"{job}/{side}/labels.npy")).long().cuda()))
    return sides


def head(job, dtype):
    given = sys.argv.index("--head") + 1 if "--head" in sys.argv else None
    file = np.load(sys.argv[given] if given else f"{job}/head.npz")
    return torch.from_numpy(np.concatenate([file["weight"], file["bias"][:, None]], 1)).cuda().to(dtype)


def fit(job):
    (inputs, labels), _ = load(job, torch.float64)
    classes = int(labels.max()) + 1
    theta = torch.zeros(classes, inputs.shape[1], dtype=torch.float64, device="cuda", requires_grad=True)
    optimiser = torch.optim.LBFGS([theta], max_iter=4000, max_eval=8000, tolerance_grad=1e-9, tolerance_change=0,
                                  history_size=30, line_search_fn="strong_wolfe")

    def objective():
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(inputs @ theta.T, labels) + DAMPING / 2 * theta.square().sum()
        value.backward()
        return value

    optimiser.step(objective)
    objective()
    print("head: gradient", float(theta.grad.norm()), flush=True)
    found = theta.detach().cpu().numpy().astype("f4")
    np.savez(f"{job}/head.npz", weight=np.ascontiguousarray(found[:, :-1]), bias=np.ascontiguousarray(found[:, -1]))


def scored(job, dtype, keep):
    """Gradients of the smaller side solved with the Cholesky factor of the Hessian, then all pairs."""
    marks = [("start", time.perf_counter())]

    def mark(name):
        torch.cuda.synchronize()
        marks.append((name, time.perf_counter()))

    (train, labels), (test, queries) = load(job, dtype)
    theta = head(job, dtype)
    mark("read")
    count, columns = train.shape
    classes = theta.shape[0]
    p = torch.softmax(train @ theta.T, 1)
    p_test = torch.softmax(test @ theta.T, 1)
    hessian = torch.zeros(classes * columns, classes * columns, dtype=dtype, device="cuda")
    for c in range(classes):
        for e in range(c + 1):
            weight = p[:, c] * (float(c == e) - p[:, e]) / count
            hessian[c * columns : (c + 1) * columns, e * columns : (e + 1) * columns] = (train * weight[:, None]).T @ train
    hessian.diagonal().add_(DAMPING)
    mark("hessian")
    torch.linalg.cholesky(hessian, out=hessian)
    mark("cholesky")
    residuals, residuals_test = p.clone(), p_test.clone()
    residuals[torch.arange(count), labels] -= 1
    residuals_test[torch.arange(len(test)), queries] -= 1
    gradients = lambda r, a: (r[:, :, None] * a[:, None, :]).flatten(1)
    best, kept = [], []
    if len(test) < count:
        for rows in range(0, len(test), 2000):
            part = slice(rows, rows + 2000)
            solved = torch.cholesky_solve(gradients(residuals_test[part], test[part]).T.contiguous(), hessian)
            pieces = [gradients(residuals[s : s + 4000], train[s : s + 4000]) @ solved for s in range(0, count, 4000)]
            best.append(torch.cat(pieces).T.topk(TOP).indices.cpu())
    else:
        solved = torch.cholesky_solve(gradients(residuals, train).T.contiguous(), hessian)
        mark("solve")
        for rows in range(0, len(test), 2000):
            part = slice(rows, rows + 2000)
            scores = gradients(residuals_test[part], test[part]) @ solved
            best.append(scores.topk(TOP).indices.cpu())
            if keep:
                kept.append(scores.cpu())
    mark("scores")
    stages = {name: round(at - before, 3) for (_, before), (name, at) in zip(marks, marks[1:])}
    stages["all"] = round(marks[-1][1] - marks[0][1], 3)
    stages["GB"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return torch.cat(best).numpy(), torch.cat(kept).numpy() if keep else None, stages


def overlap(job, runs):
    import pandas

    exact = np.load(f"{job}/gt_scores.npy", mmap_mode="r")
    places = np.linspace(0, len(exact) - 1, 500).astype(int)
    truth = {int(q): exact[q] for q in places}
    for run in runs:
        ranks = pandas.read_parquet(f"{run}/rankings.parquet")
        ranks = ranks[ranks["rank"].between(1, TOP)]
        lists = {q: set(part["train"]) for q, part in ranks.groupby("query") if q in truth}
        shared = [len(lists[q] & set(np.argpartition(-row, TOP)[:TOP].tolist())) / TOP for q, row in truth.items()]
        record = json.load(open(f"{run}/run.json"))
        stages = {stage["name"]: round(stage["seconds"], 2) for stage in record["stages"]}
        line = f"{run}: top-{TOP} overlap {np.mean(shared):.5f}, stages {stages}, certified {record['results'].get('certified')}"
        try:
            scores = np.load(f"{run}/scores.npy", mmap_mode="r")
            rank = lambda row: np.argsort(np.argsort(row))
            correlations = [np.corrcoef(rank(scores[q]), rank(row))[0, 1] for q, row in truth.items()]
            line += f", Spearman at least {min(correlations):.6f}"
        except FileNotFoundError:
            pass
        print(line, flush=True)


def main():
    torch.backends.cuda.matmul.allow_tf32 = False
    task, job = sys.argv[1:3]
    if task == "fit":
        fit(job)
    elif task == "exact":
        _, scores, stages = scored(job, torch.float64, True)
        np.save(f"{job}/gt_scores.npy", scores)
        print("pytorch f64", stages, flush=True)
    elif task == "time":
        torch.ones(1, device="cuda")
        for _ in range(2):
            torch.cuda.reset_peak_memory_stats()
            print("pytorch f32", scored(job, torch.float32, False)[2], flush=True)
    else:
        overlap(job, sys.argv[3:])


if __name__ == "__main__":
    main()
