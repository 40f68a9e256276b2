#!/usr/bin/env bash
# Train the search network and the hashing heads, then fill table 1 and draw figure 4. Stopped, it goes on.
#
#   papers/black-2021/retrieval/run.sh [--minutes 60] [--distractors 1000000] [--queries 500] [--looked 150]
#       [--threads 1] [--runs DIR] [--cache DIR] [--json FILE] [--figures DIR] [--imagenet FILE] [--split test]
#       [--steps N] [--pictures N] [--every N] [--looks N] [--batches N]
#
# A run that has had its minutes is left as it is; asked for more, it goes on. A shard of 10,000 distractors takes one to
# three minutes of one core; those that are there are not made again. --steps to --batches make a run small enough to try.
#
# The table of validation (results/choice.json: which network the desk ships) is a script of its own, not called here:
#
#   .venv/bin/python papers/black-2021/retrieval/ir_choice.py --json papers/black-2021/retrieval/results/choice.json
set -euo pipefail
cd "$(dirname "$0")/../../.."
here=papers/black-2021/retrieval
python=${PYTHON:-.venv/bin/python}

minutes=60 threads=1 runs=.cache/train json=$here/results/retrieval.json figures=$here/figures batches=120
training=() asking=()
while [ $# -gt 0 ]; do
  case $1 in
    --minutes|--threads|--runs|--json|--figures|--batches) ;;
    --distractors|--queries|--looked|--cache|--imagenet|--split) ;;
    --steps|--pictures|--every|--looks) ;;
    *) echo "run.sh: $1 is not an option; see the head of this file" >&2; exit 2 ;;
  esac
  [ $# -gt 1 ] || { echo "run.sh: $1 needs a value" >&2; exit 2; }
  case $1 in
    --minutes) minutes=$2 ;;
    --threads) threads=$2 ;;
    --runs) runs=$2 ;;
    --json) json=$2 ;;
    --figures) figures=$2 ;;
    --batches) batches=$2 ;;
    --steps|--pictures|--every|--looks) training+=("$1" "$2") ;;
    *) asking+=("$1" "$2") ;;
  esac
  shift 2
done

finished() { # name, minutes: whether the run has come to its end with at least so many minutes
  local record=$runs/$1/run.json had
  [ -f "$record" ] && grep -q '"wall_s"' "$record" || return 1
  [ $# -gt 1 ] || return 0
  had=$(sed -n 's/.*"minutes": \([0-9.]*\).*/\1/p' "$record")
  awk "BEGIN { exit !($had >= $2) }"
}

finished search-small "$minutes" || "$python" -m twinscope.train.search --name search-small --minutes "$minutes" \
  --rate 2e-3 --pictures 24 --threads "$threads" --runs "$runs" ${training[@]+"${training[@]}"}
for kind in hashnet csq; do
  finished "search-$kind" || "$python" -m twinscope.train.hashing --kind "$kind" --start "$runs/search-small/start.pt" \
    --threads "$threads" --runs "$runs" --batches "$batches"
done
"$python" $here/ir_tables.py --runs "$runs" --json "$json" ${asking[@]+"${asking[@]}"}
"$python" $here/ir_figures.py --json "$json" -o "$figures/recall.png"
"$python" docs/generate.py
