#!/usr/bin/env bash
# Train the flow, the whole network and its ablations, then fill the tables. Stopped, it goes on where it stopped.
#
#   papers/black-2021/run.sh [--flow-minutes 60] [--minutes 30] [--only "full no-align ..."] [--threads 1] [--runs DIR]
#                            [--cache DIR] [--json FILE] [--figures DIR] [--keep DIR] [--pairs 500] [--each 12]
#                            [--side 128] [--steps N] [--batch N] [--every N] [--looks N] [--imagenet FILE] [--no-tables]
#
# --flow-minutes is the time of the flow, --minutes that of each of the eight networks: 5 hours in all, a thread each.
# A run that has had its minutes is left as it is; asked for more, it goes on. --only names some rows, and "" none.
# --steps, --batch, --every, --looks and --pairs make a run small enough to try it.
# Rows of networks that are not here any more stay in the tables, each with the commit and date of its own run.
#
# The network that ships is asked anew alone, without any of these trainings and checkpoints, by
#
#   .venv/bin/python papers/black-2021/tables.py --only desk --json papers/black-2021/results/tables.json
set -euo pipefail
cd "$(dirname "$0")/../.."
here=papers/black-2021
python=${PYTHON:-.venv/bin/python}

flow_minutes=60 minutes=30 threads=1 runs=.cache/train cache=.cache/black-2021 json=$here/results/tables.json
figures=.cache/$here keep=$here/figures pairs=500 each=12 side=128 tables=yes
only="full no-align no-predict frozen-predict frozen-align no-class-loss no-heat-loss photometric"
training=() asking=()
while [ $# -gt 0 ]; do
  case $1 in
    --no-tables) tables=no; shift; continue ;;
    --flow-minutes|--minutes|--only|--threads|--runs|--cache|--json|--figures|--keep|--pairs|--each|--side) ;;
    --steps|--batch|--every|--looks|--imagenet) ;;
    *) echo "run.sh: $1 is not an option; see the head of this file" >&2; exit 2 ;;
  esac
  [ $# -gt 1 ] || { echo "run.sh: $1 needs a value" >&2; exit 2; }
  case $1 in
    --flow-minutes) flow_minutes=$2 ;;
    --minutes) minutes=$2 ;;
    --only) only=$2 ;;
    --threads) threads=$2 ;;
    --runs) runs=$2 ;;
    --cache) cache=$2 ;;
    --json) json=$2 ;;
    --figures) figures=$2 ;;
    --keep) keep=$2 ;;
    --pairs) pairs=$2 ;;
    --each) each=$2 ;;
    --side) side=$2 ;;
    --imagenet) asking+=("$1" "$2") ;;
    *) training+=("$1" "$2") ;;
  esac
  shift 2
done

finished() { # name, minutes: whether the run has come to its end with at least so many minutes
  local record=$runs/$1/run.json had
  [ -f "$record" ] && grep -q '"wall_s"' "$record" || return 1
  had=$(sed -n 's/.*"minutes": \([0-9.]*\).*/\1/p' "$record")
  awk "BEGIN { exit !($had >= $2) }"
}
train() { # name, minutes, then its own options
  local name=$1 time=$2
  shift 2
  if finished "$name" "$time"; then
    echo "$name: has had its $time minutes"
    return
  fi
  "$python" -m twinscope.train.comparator --name "$name" --minutes "$time" --side "$side" --size small \
    --threads "$threads" --runs "$runs" "$@" ${training[@]+"${training[@]}"}
}

# Mirrored queries are benign in the paper. The flow cannot follow them; the classes can learn them.
train black-flow "$flow_minutes" --stage flow
for name in $only; do
  options=(--stage joint --ablation "$name" --flips)
  [ "$name" = no-align ] || options+=(--start "$runs/black-flow/best.pt")
  [ "$name" != no-predict ] || options+=(--resnet resnet18)
  train "black-$name" "$minutes" "${options[@]}"
done
[ $tables = yes ] || exit 0

"$python" $here/tables.py --runs "$runs" --cache "$cache" --json "$json" --pairs "$pairs" --each "$each" --side "$side" \
  --threads "$threads" ${asking[@]+"${asking[@]}"}
"$python" $here/sheets.py --runs "$runs" --side "$side" -o "$figures" --keep "$keep"
"$python" docs/generate.py
