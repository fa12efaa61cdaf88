"""`ascribe rank --solver pinv --rcond 5e-2` beside SciPy's pinv of the whole data Hessian, d = 256 (2,570 parameters, f64).

usage: python analysis/speed/pinv.py JOB ASCRIBE OUT

JOB is a folder as prepare.py leaves it ($BENCH/features/d256), OUT a folder that is made. Prints one line and exits with 1
where the top-100 overlap is below 0.999.
"""
import shutil
import subprocess
import sys

import numpy as np
import polars
from scipy.linalg import pinv

RCOND, RANKS, QUERIES, REQUIRED = 5e-2, 100, 500, 0.999
job, ascribe, out = sys.argv[1:]


def side(name, weight, bias):
    """Features with a constant 1, probabilities, and residuals p − onehot, of one folder."""
    features = np.load(f"{job}/{name}/features.npy").astype(np.float64)
    labels = np.load(f"{job}/{name}/labels.npy")
    logits = features @ weight.T + bias
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    inputs = np.c_[features, np.ones(len(features))]
    return inputs, probabilities, probabilities - np.eye(len(bias))[labels]


def hessian(inputs, probabilities):
    """(1/n) Σ (diag π − π πᵀ) ⊗ a aᵀ, all classes."""
    count, columns = inputs.shape
    classes = probabilities.shape[1]
    matrix = np.empty((classes, columns, classes, columns))
    for c in range(classes):
        for e in range(classes):
            weights = probabilities[:, c] * ((c == e) - probabilities[:, e])
            matrix[c, :, e, :] = (inputs * weights[:, None]).T @ inputs / count
    return matrix.reshape(classes * columns, classes * columns)


head = np.load(f"{job}/head.npz")
weight, bias = head["weight"].astype(np.float64), head["bias"].astype(np.float64)
train, probabilities, residuals = side("train", weight, bias)
test, _, test_residuals = side("test", weight, bias)
inverse, rank = pinv(hessian(train, probabilities), rtol=RCOND, return_rank=True)

shutil.rmtree(out, ignore_errors=True)
options = f"--solver pinv --rcond {RCOND} --precision f64 --skip-train --top {RANKS}".split()
sides = ["--train", f"{job}/train", "--test", f"{job}/test", "--head", f"{job}/head.npz"]
subprocess.run([ascribe, "rank", *sides, *options, "--out", out], check=True, stdout=subprocess.DEVNULL)
ranks = polars.read_parquet(f"{out}/rankings.parquet").filter(polars.col("rank") <= RANKS)

overlaps, errors = [], []
for query in range(0, len(test), max(1, len(test) // QUERIES)):
    gradient = (test_residuals[query][:, None] * test[query]).ravel()
    solved = (inverse @ gradient).reshape(len(bias), -1)
    scores = np.einsum("nc,nc->n", residuals, train @ solved.T) / len(train)
    ours = ranks.filter(polars.col("query") == query)
    found = ours["train"].to_numpy()
    overlaps.append(len(set(found) & set(np.argpartition(-scores, RANKS)[:RANKS])) / RANKS)
    errors.append(np.abs(ours["score"].to_numpy() - scores[found]).max() / np.abs(scores).max())
overlap = float(np.mean(overlaps))
print(
    f"SciPy keeps {rank} eigenpairs; top-{RANKS} overlap {overlap:.4f} over {len(overlaps)} queries, "
    f"scores differ by at most {max(errors):.1e} of the largest"
)
sys.exit(overlap < REQUIRED)
