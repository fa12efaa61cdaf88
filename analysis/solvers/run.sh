#!/usr/bin/env bash
# Products of conjugate gradients through three fine-tuned blocks, by preconditioner, and the agreement of approximations with
# the near-exact solve. Needs the transfers of analysis/figure6/run.sh.
#
# usage: analysis/solvers/run.sh [TRANSFERS] > table.csv    TRANSFERS as left by that script (default: target/figure6)
set -euo pipefail
cd "$(dirname "$0")/../.."
transfers=${1:-target/figure6}
ways=near-exact,cg,cg+low-rank,cg+ekfac,cg+ekfac+low-rank,cg+diagonal,identity,kfac,ekfac,low-rank

# model, queries, training images, damping, ways
measure() {
    cargo bench --quiet --bench solvers -- "$transfers/$1-blocks3" 3 "$2" "$3" "$4" "$5"
}

{
    measure natural 1 300 1e-2 "$ways"
    measure robust 1 300 1e-2 "$ways"
    measure natural 1 300 1e-1 "$ways"
} | awk 'NR == 1 || !/^model,/'
