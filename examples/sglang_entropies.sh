#!/usr/bin/env bash
# Entropies from an SGLang server: install, serve, ask. Runs on a CPU; with a GPU, serve by `sglang serve`.
#   bash examples/sglang_entropies.sh [MODEL_FOLDER [PORT]]        (from the root of the repository)
set -euo pipefail
python="uv run --no-sync python"
$python -c "import sglang, eduprm.sglang" 2>/dev/null || uv sync --extra sglang # 9 GB
model=${1:-$($python -c "from eduprm.policy import resolve_model; print(resolve_model('smollm2-135m-instruct'))")}
url=http://127.0.0.1:${2:-30000}

$python -m eduprm.sglang.cpu_server --model-path "$model" --port "${url##*:}" >sglang.log 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server || true' EXIT
until curl -sf $url/health >/dev/null; do kill -0 $server || { tail -n 5 sglang.log && exit 1; } && sleep 1; done

curl -s $url/generate -H 'Content-Type: application/json' -d '{"text": "7 * 8 =", "return_entropy": true,
  "sampling_params": {"max_new_tokens": 8, "temperature": 0}}'
