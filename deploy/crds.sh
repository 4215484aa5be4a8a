#!/usr/bin/env bash
# Writes the custom resource definitions, as `pgsteer crd` prints them, to deploy/crd and into the chart.
# A test (controller/tests/custom_resources.rs) fails when the committed files are not what it prints.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

for kind in postgresroutes postgresledgers; do
  file=pgsteer.io_$kind.yaml
  cargo run --locked --quiet --package pgsteer -- crd "$kind" >"deploy/crd/$file"
  cp "deploy/crd/$file" "deploy/chart/pgsteer/crds/$file"
done
