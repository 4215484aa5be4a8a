#!/usr/bin/env bash
# Renders deploy/install.yaml from the chart, for those who install without Helm.
#
#   render.sh           writes deploy/install.yaml
#   render.sh --check   fails when the committed file is not what the chart gives
#
# Needs helm on the PATH.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
NAMESPACE=pgsteer-system

render() {
  cat <<HEAD
# Rendered from deploy/chart/pgsteer by deploy/render.sh; do not edit.
apiVersion: v1
kind: Namespace
metadata:
  name: $NAMESPACE
  labels:
    pod-security.kubernetes.io/enforce: restricted
HEAD
  helm template pgsteer chart/pgsteer --namespace "$NAMESPACE" --include-crds | sed '/^# Source: /d'
}

rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT
render >"$rendered"
case ${1:-} in
  '') cp "$rendered" install.yaml && chmod 0644 install.yaml ;;
  --check)
    if ! diff -u install.yaml "$rendered"; then
      echo "deploy/install.yaml is not what the chart gives; run deploy/render.sh" >&2
      exit 1
    fi
    ;;
  *)
    echo "usage: render.sh [--check]" >&2
    exit 2
    ;;
esac
