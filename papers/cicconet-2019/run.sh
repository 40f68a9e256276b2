#!/usr/bin/env bash
# Train SN and SN[G], fill the table and draw the figures, of the shipped network too. Stopped, it goes on where it stopped.
#
#   papers/cicconet-2019/run.sh [--minutes 480] [--threads 2] [--faithful] [--runs DIR] [--figures DIR] [--json FILE]
#                               [--keep DIR] [--steps N] [--batch N] [--every N] [--classes N]
#
# --minutes is the time of both trainings together; --steps, --batch, --every and --classes make a run small enough to try it.
# --faithful trains networks of their own, beside the mended ones; rows whose networks are not at hand stay in the table.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=papers/cicconet-2019
python=${PYTHON:-.venv/bin/python}

minutes=480 threads=2 runs=.cache/train figures=.cache/$here json=$here/results/accuracy.json keep=$here/figures classes=402
training=() run='' method=''
while [ $# -gt 0 ]; do
  case $1 in
    --faithful) training+=("$1") run=-faithful method=', faithful'; shift; continue ;;
    --minutes|--threads|--runs|--figures|--keep|--json|--classes|--steps|--batch|--every) ;;
    *) echo "run.sh: $1 is not an option; see the head of this file" >&2; exit 2 ;;
  esac
  [ $# -gt 1 ] || { echo "run.sh: $1 needs a value" >&2; exit 2; }
  case $1 in
    --minutes) minutes=$2 ;;
    --threads) threads=$2 ;;
    --runs) runs=$2 ;;
    --figures) figures=$2 ;;
    --keep) keep=$2 ;;
    --json) json=$2 ;;
    --classes) classes=$2 ;;
    *) training+=("$1" "$2") ;;
  esac
  shift 2
done
half=$(awk "BEGIN { print $minutes / 2 }")

train() { # name, then its own options
  local name=$1
  shift
  "$python" -m twinscope.train.triplets --name "$name" --version v02 "$@" --watch --minutes "$half" \
    --threads "$threads" --runs "$runs" ${training[@]+"${training[@]}"}
}
train "sn-v02$run"
train "sn-g-v02$run" --manipulations geometric

draw() { # folder, then its own options
  local folder=$1
  shift
  "$python" $here/sn_figures.py "$@" --runs "$runs" --classes "$classes" -o "$figures/$folder" --keep "$keep"
}
"$python" $here/sn_accuracy.py --keep --runs "$runs" --classes "$classes" --json "$json"
for network in "SN$method" "SN[G]$method"; do
  draw "$network" --network "$network"
done
draw shipped
"$python" docs/generate.py
