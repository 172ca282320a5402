#!/bin/sh
# A worker in plain curl: sh docs/curl-worker.sh http://127.0.0.1:8765 [STUDY]
# docs/curl-worker.md explains it line by line. It ends when the study has no trial left.
set -eu
API="$1/api/v1" STUDY="${2:-parabola}" WORKER="curl-$$" FILES=$(mktemp -d)
trap 'rm -rf "$FILES"' EXIT

call() { curl -fsS --retry 5 --retry-connrefused -H "Authorization: Bearer ${TUNEFLEET_TOKEN:-none}" "$@"; }
post() { call -H 'Content-Type: application/json' -d "$2" "$API/$1"; }
json() { python3 -c "import json, sys; a = json.load(sys.stdin); print(*[$1])"; }  # a: the answer
train() { awk -v x="$1" -v step="$2" 'BEGIN { print (x - 0.3) ^ 2 + 1 / (step + 1) }'; }  # stands for real training

claims=0
while :; do
  claims=$((claims + 1))  # the same request_id again gives the same lease again, so that a lost answer loses no trial
  claim=$(post claims "{\"worker\": \"$WORKER\", \"study\": \"$STUDY\", \"wait_s\": 10, \"request_id\": \"$WORKER-$claims\", \"facts\": {\"allow_code\": true}}")
  [ "$(echo "$claim" | json 'len(a["leases"])')" = 1 ] || break
  set -- $(echo "$claim" | json '*(a["leases"][0][key] for key in ("trial_id", "attempt", "steps")), a["leases"][0]["params"]["x"]')
  id=$1 attempt=$2 steps=$3 x=$4
  for step in $(seq 0 $((steps - 1))); do
    loss=$(train "$x" "$step") || { post "trials/$id/fail" "{\"attempt\": $attempt, \"message\": \"train failed\"}"; continue 2; }
    answer=$(post "trials/$id/reports" "{\"attempt\": $attempt, \"reports\": [{\"step\": $step, \"metrics\": {\"loss\": $loss}}]}")
    post heartbeats "{\"worker\": \"$WORKER\", \"leases\": [{\"trial_id\": $id, \"attempt\": $attempt}]}" > "$FILES/beat"
    [ "$(echo "$answer" | json 'a["directive"]')" = continue ] || break
  done
  echo "{\"x\": $x, \"loss\": $loss}" > "$FILES/model.json"
  sha256=$(sha256sum "$FILES/model.json" | cut -d ' ' -f 1)
  call -T "$FILES/model.json" "$API/trials/$id/artifacts/model.json?attempt=$attempt&sha256=$sha256" > "$FILES/stored"
  end=$(post "trials/$id/complete" "{\"attempt\": $attempt}")
  echo "trial $id: x = $x, loss = $loss, $(echo "$end" | json 'a["state"]')"
  [ "$(echo "$end" | json 'a["study_state"]')" = running ] || break
done
