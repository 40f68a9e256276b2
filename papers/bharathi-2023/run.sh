#!/usr/bin/env bash
# Train the generators, ask every method about them, fill the tables and draw the figures. Stopped, it goes on.
#
#   papers/bharathi-2023/run.sh [--shared DIR] [--runs DIR] [--json FILE] [--figures DIR] [--threads 1] [--steps 1.0]
#                               [--each 40] [--side 32] [--drawn 400] [--backbone embedder] [--weights FILE] [--no-docs]
#
# About an hour and a half on one core. --steps is a share of all training steps, and with --each and --drawn makes a
# run small enough to try it. --backbone resnet101 --weights FILE asks the paper's methods with a ResNet of torchvision.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=papers/bharathi-2023
python=${PYTHON:-.venv/bin/python}
export PYTHONPATH=src

runs=.cache/bharathi-2023 json=$here/results/fingerprints.json figures=$here/figures docs=yes
common=() training=() asking=()
while [ $# -gt 0 ]; do
  case $1 in
    --no-docs) docs=no; shift; continue ;;
    --shared|--runs|--json|--figures|--threads|--steps|--each|--side|--drawn|--backbone|--weights) ;;
    *) echo "run.sh: $1 is not an option; see the head of this file" >&2; exit 2 ;;
  esac
  [ $# -gt 1 ] || { echo "run.sh: $1 needs a value" >&2; exit 2; }
  case $1 in
    --runs) runs=$2 ;;
    --json) json=$2 ;;
    --figures) figures=$2 ;;
    --shared|--each|--side) common+=("$1" "$2") ;;
    --steps|--drawn) training+=("$1" "$2") ;;
    --backbone|--weights) asking+=("$1" "$2") ;;
    --threads) training+=("$1" "$2"); asking+=("$1" "$2") ;;
  esac
  shift 2
done

"$python" $here/gan_train.py --runs "$runs" ${common[@]+"${common[@]}"} ${training[@]+"${training[@]}"}
"$python" $here/gan_score.py --runs "$runs" --json "$json" ${common[@]+"${common[@]}"} ${asking[@]+"${asking[@]}"}
"$python" $here/gan_figures.py --runs "$runs" -o "$figures" ${common[@]+"${common[@]}"}
[ $docs = no ] || "$python" docs/generate.py
