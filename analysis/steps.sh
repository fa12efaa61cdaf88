# For the run.sh of the folders here, which source it at the top of the repository, with $work set to the folder of their results.
ascribe=${ASCRIBE:-target/release/ascribe}
python=${PYTHON:-python3}
[ -x "$ascribe" ] || cargo build --release
mkdir -p "$work"

# step OUT WORDS…: runs `ascribe WORDS… --out OUT` unless OUT holds a finished run already. What it says is in OUT.log. It may end with
# the exit code $tolerated: 3 where a solver may miss its tolerance, which run.json says.
step() {
    local out=$1
    shift
    if grep -qs '"status": *"finished"' "$out/run.json"; then return; fi
    "$ascribe" "$@" --out "$out" >"$out.log" 2>&1 || [ $? = "${tolerated:-0}" ] || { tail -3 "$out.log" >&2; exit 1; }
}
