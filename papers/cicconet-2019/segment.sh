#!/usr/bin/env bash
# Fill the second table (segmentation) and draw IoU against the number of annotated images. Stopped, it goes on.
#
#   papers/cicconet-2019/segment.sh [--runs DIR] [--steps N] [--draws N] [--unet-draws N] [--methods NAME ...]
#
# SN and SN[G] are those that run.sh has trained; a row whose network is not there is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=papers/cicconet-2019
python=${PYTHON:-.venv/bin/python}

runs=.cache/train
if [ "${1:-}" = --runs ]; then
  [ $# -gt 1 ] || { echo "segment.sh: --runs needs a value" >&2; exit 2; }
  runs=$2
  shift 2
fi
for pair in sn-v02:maps-sn sn-g-v02:maps-sn-g; do
  [ -e "$runs/${pair%%:*}/best.pt" ] || continue
  "$python" -m twinscope.train.export_maps "$runs/${pair%%:*}/best.pt" --id "${pair##*:}" --into .cache/maps
done
"$python" $here/sn_segment.py --json $here/results/segmentation.json \
  --figure $here/figures/segmentation/few-annotations.png "$@"
"$python" docs/generate.py
