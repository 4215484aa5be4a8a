#!/usr/bin/env bash
# Whether a builder makes of a Containerfile what `chaos images` writes: the same files with the same modes and contents, run the same way.
#
#   containerfile_test.sh NAME ARCHIVE     NAME is a folder beside this script, ARCHIVE the OCI archive that `chaos images NAME` printed
#
# Needs buildah, mmdebstrap, jq and Debian's package mirror, and root (or buildah's own rootless set-up). No registry: the base image is
# laid out here. About 40 s.
set -euo pipefail

name=$1 archive=$(realpath "$2")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# `chroot` and `vfs` work inside a container too.
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
store=(--root "$work/root" --runroot "$work/run")

mmdebstrap --quiet --variant=apt --include=mmdebstrap bookworm "$work/base.tar" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
container=$(buildah "${store[@]}" from scratch)
buildah "${store[@]}" add --quiet "$container" "$work/base.tar" / >/dev/null
buildah "${store[@]}" commit --quiet --rm "$container" localhost/debian:bookworm >/dev/null
rm "$work/base.tar"
# A copy: the target folder may be a link, which no builder follows out of its context.
mkdir -p "$work/context/target/release" "$work/context/deploy"
cp -L target/release/{pgsteer,chaos} "$work/context/target/release/"
cp -r deploy/images "$work/context/deploy/"
cp .dockerignore "$work/context/"
buildah "${store[@]}" build --quiet --build-arg DEBIAN=localhost/debian:bookworm --tag built --file "deploy/images/$name/Containerfile" "$work/context" >"$work/log" 2>&1 ||
  { cat "$work/log" >&2; exit 1; }
buildah "${store[@]}" push --quiet built "oci-archive:$work/built.tar"

# Unpacks the image $1 into $2 and describes it: how it is run, then every file.
describe() {
  local blobs=$2.blobs manifest layer
  mkdir -p "$blobs" "$2"
  tar -C "$blobs" -xf "$1"
  blob() { echo "$blobs/blobs/sha256/${1#sha256:}"; }
  manifest=$(blob "$(jq -r '.manifests[0].digest' "$blobs/index.json")")
  jq -S '.config | {Entrypoint, User, Env}' "$(blob "$(jq -r .config.digest "$manifest")")"
  for layer in $(jq -r '.layers[].digest' "$manifest"); do tar -C "$2" --no-same-owner -xf "$(blob "$layer")"; done
  # Folders that only carry others may have been made by either.
  (cd "$2" && find . -type f -printf '%m %p ' -exec sha256sum {} \; -o -type l -printf '%p -> %l\n' | sed 's/  \S*$//' | LC_ALL=C sort -k2)
}
describe "$archive" "$work/ours" >"$work/ours.txt"
describe "$work/built.tar" "$work/theirs" >"$work/theirs.txt"
if ! diff "$work/ours.txt" "$work/theirs.txt"; then
  echo "the Containerfile of $name gives something else than chaos images"
  echo "0 passed, 1 failed"
  exit 1
fi
echo "$name: the same $(grep -c . "$work/ours.txt") lines of files and configuration"
echo "1 passed, 0 failed"
