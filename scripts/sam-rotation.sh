#!/usr/bin/env bash
# Rotates a secret by the function in SAM's container: `sam local start-lambda`
# serves it, and the simulator calls it. Needs Docker on Linux, the SAM CLI, the
# AWS CLI, and what `make build` and `sam build` make for x86-64.
set -euo pipefail
cd "$(dirname "$0")/.."
logs="$(mktemp -d)"
function=arn:aws:lambda:us-east-1:123456789012:function:RotatorFunction
bridge=172.17.0.1:7788 # Docker's, which the container knows as host.docker.internal
export AWS_ENDPOINT_URL_SECRETS_MANAGER="http://$bridge" AWS_ENDPOINT_URL_STS="http://$bridge"
export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=simulated AWS_SECRET_ACCESS_KEY=simulated

sam local start-lambda --parameter-overrides Architecture=x86_64 > "$logs/sam" 2>&1 &
sam=$!
build/rotatorctl sim --listen "$bridge" --force --fault none --function "$function=url:http://127.0.0.1:3001" > "$logs/sim" 2>&1 &
sim=$!
finish() {
  status=$?
  kill "$sam" "$sim" || true
  wait || true
  [ "$status" = 0 ] || tail -n 50 "$logs"/*
  rm -rf "$logs"
}
trap finish EXIT

# ready PID COMMAND...: waits until the command succeeds, while the process lives.
ready() {
  local pid=$1
  shift
  for _ in $(seq 300); do
    "$@" && return
    kill -0 "$pid" || return 1
    sleep 1
  done
  return 1
}
answers() { (: < "/dev/tcp/127.0.0.1/3001") 2> "$logs/tcp"; }
ready "$sim" grep -q ready "$logs/sim"
ready "$sam" answers

aws secretsmanager create-secret --name demo/key --secret-string placeholder-placeholder --tags Key=rotator:engine,Value=generic
build/rotatorctl rotate demo/key --function "$function"
