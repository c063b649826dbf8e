#!/usr/bin/env bash
# Everything that is to be measured on a GPU; no part begins after four minutes, the tests get 100 s; results as JSON.
#
#   benchmarks/gpu.sh OUT                   on a machine with a GPU; nothing is downloaded
#   SIZES=small benchmarks/gpu.sh OUT       the same parts on a CPU: to see that they run, not how fast
#
# DATA=folder with cifar10/ for speednet, AIRBENCH=file.py for its peer: what is missing is named in the results.
set -euo pipefail
out=${1:?Usage: benchmarks/gpu.sh OUT}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out"
cd "$here/.."
export PYTHONPATH="$here/..:$here" PYTHONUNBUFFERED=1 TRANSFERKIT_CACHE="$out/cache"
python benchmarks/gpu_speed.py "$out/speeds.json" --sizes "${SIZES:-full}" --seconds "${SECONDS_FOR_SPEEDS:-240}" \
    ${DATA:+--data "$DATA"} ${AIRBENCH:+--airbench "$AIRBENCH"}
timeout "${SECONDS_FOR_TESTS:-100}" python -m pytest -n 0 -m gpu tests/runtime/test_devices.py tests/ood/test_ood.py \
    > "$out/tests.txt" 2>&1 || echo "tests ended with exit code $? (5: there were none, 124: no time was left)"
tail -n 3 "$out/tests.txt"
rm -rf "$out/cache"
