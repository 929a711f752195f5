#!/bin/bash
# The main job on one machine: a nightly run of the reference product on the embedded default, from
# reference base to promotion. Called by `make demo`. DEMO_STATE says where the state goes.
set -euo pipefail
cd "$(dirname "$0")/.."
state=${DEMO_STATE:-$PWD/.state/demo}
mkdir -p "$state"

echo "== the product: a git repository of configs/acme with main and release/1.0"
[ -d "$state/acme" ] || configs/acme/make-repository.sh "$state/acme"

cat >"$state/hallmark.yaml" <<END
state-dir: $state/state
product:
  repository: $state/acme
END
export HALLMARK_CONFIG=$state/hallmark.yaml

echo "== a nightly run"
code=0
bin/hallmark run --kind nightly --follow || code=$?
bin/hallmark runs report -o html --file "$state/report.html"
echo "== what stays: channels, images, and nothing left over"
bin/hallmark channels
bin/hallmark images
bin/hallmark gc --dry-run
echo "== the report: $state/report.html"
exit $code
