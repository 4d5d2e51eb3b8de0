#!/usr/bin/env bash
# Every check that needs a GPU, within ten minutes: numbers first, then speed, memory and tuning.
#   benchmarks/on_a_gpu.sh [FOLDER]      tables and logs go there (default: $OUT, or gpu)
#   PYTHON=python3.12 BUDGET=540         the interpreter; seconds in all
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-${OUT:-gpu}}
python=${PYTHON:-python3}
budget=${BUDGET:-540}
mkdir -p "$out"
begun=$SECONDS
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} METABLOCK_CACHE=$out/cache
failed=0

left() { echo $((budget - (SECONDS - begun))); }

# name, the share of the remaining seconds in percent, command
part() {
    local name=$1 seconds=$(($(left) * $2 / 100))
    shift 2
    ((seconds < 10)) && { echo "== $name: no time left"; failed=1; return; }
    echo "== $name (at most $seconds s)"
    BUDGET_LEFT=$seconds timeout "$seconds" "$@" >"$out/$name.log" 2>&1 || { echo "   failed or out of time ($?)"; failed=1; }
    tail -n 40 "$out/$name.log"
}

"$python" -c 'import torch; print(torch.cuda.get_device_name(), torch.__version__)' || exit 1
part numbers 25 "$python" -m benchmarks.gpu_numbers
part inference 45 "$python" -m benchmarks.against_timm --quick --mode infer --batch 64 1 256 --budget $(($(left) * 35 / 100)) -o "$out/inference.md"
part training 45 "$python" -m benchmarks.against_timm --quick --mode train --batch 64 --modes default reduce-overhead --budget $(($(left) * 35 / 100)) -o "$out/training.md"
part memory 50 "$python" -m benchmarks.training_memory --quick -o "$out/memory.md"
part tuning 90 "$python" -c '
import torch, metablock
model = metablock.build("mobilenetv2_100", device="cuda", dtype="bfloat16").eval()
x = torch.randn(64, 3, 224, 224, device="cuda", dtype=torch.bfloat16)
metablock.compile(model, tune=x, mode="reduce-overhead")  # all modes would take too long here
'
echo "== done in $((SECONDS - begun)) s"
exit $failed
