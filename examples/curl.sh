#!/usr/bin/env bash
# A chat completion, a stream and the trace of a call, with curl. Works without a provider's key.
#
#   cargo xtask run                      # in another terminal
#   examples/curl.sh
#   OPENTRACY_MODEL=openai/gpt-4o-mini examples/curl.sh
set -euo pipefail

gateway="${OPENTRACY_URL:-http://127.0.0.1:8080}"
management="${OPENTRACY_MANAGEMENT_URL:-http://127.0.0.1:8000}"
model="${OPENTRACY_MODEL:-auto}"
# Set OPENTRACY_KEY to a client key once the gateway requires keys.
key="Authorization: Bearer ${OPENTRACY_KEY:-anything}"
headers="$(mktemp)"
trap 'rm -f "$headers"' EXIT

echo "== A chat completion"
curl --silent --show-error --fail-with-body --dump-header "$headers" \
  "$gateway/v1/chat/completions" -H 'content-type: application/json' -H "$key" \
  -d "{\"model\": \"$model\", \"messages\": [{\"role\": \"user\", \"content\": \"Say hello.\"}]}"
echo

echo "== A stream"
curl --silent --show-error --fail-with-body --no-buffer \
  "$gateway/v1/chat/completions" -H 'content-type: application/json' -H "$key" \
  -d "{\"model\": \"$model\", \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}"

echo "== The trace of the first call"
trace_id="$(tr -d '\r' < "$headers" | awk 'tolower($1) == "x-opentracy-trace-id:" {print $2}')"
# A trace can be read about a second after its call.
for _ in 1 2 3 4 5; do
  if trace="$(curl --silent --fail -H "$key" "$management/v1/traces/$trace_id")"; then
    echo "$trace"
    exit
  fi
  sleep 1
done
echo "there is no trace $trace_id at $management" >&2
exit 1
