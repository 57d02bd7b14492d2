#!/usr/bin/env bash
# Builds the images: storaged, gateway, federated, oblivious (an outer relay), relay (the operator's command) and front
# (TLS). Where a registry can be reached everything is built inside of containers; elsewhere the programs are built on
# this host and the front is made of its caddy package. It says which. Tags: relay/NAME:latest and relay/NAME:VERSION.
#
#   deploy/docker/build.sh [storaged|gateway|federated|oblivious|relay|front]...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

targets=("$@")
((${#targets[@]})) || targets=(storaged gateway federated oblivious relay front)

staging=target/docker
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
revision=$(git describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null || echo unknown)
ref=$(git rev-parse --abbrev-ref HEAD 2>/dev/null || echo unknown)
# The commit's time and not the clock's: building twice makes the same image.
created=$(git log -1 --format=%cI 2>/dev/null || echo unknown)
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 0)

command -v docker >/dev/null || { echo "please install Docker" >&2; exit 69; }
docker buildx version >/dev/null 2>&1 || { echo "please install Docker's buildx plugin" >&2; exit 69; }

# Whether a public image can be had: it is here already, or a registry answers.
can_have() {
  docker image inspect "$1" >/dev/null 2>&1 || timeout 20 docker pull -q "$1" >/dev/null 2>&1
}

build_on_host() {
  local target
  command -v cargo >/dev/null || { echo "no registry can be reached, and there is no Rust here: https://rustup.rs" >&2; exit 69; }
  target=$(rustc -vV | sed -n 's/^host: //p')
  RUSTFLAGS='-C target-feature=+crt-static' RELAY_BUILD_SHA=$revision RELAY_BUILD_REF=$ref RELAY_BUILD_TIME=$created \
    cargo build --release --locked -p storaged -p gateway -p federated -p relay --target "$target"
  rm -rf "$staging/programs"
  mkdir -p "$staging/programs/data" "$staging/programs/certs"
  cp "target/$target/release/"{storaged,gateway,federated,oblivious,relay} "$staging/programs/"
  certificates >"$staging/programs/certs/ca-certificates.crt"
}

certificates() {
  cat /etc/ssl/certs/ca-certificates.crt 2>/dev/null || { echo "please install ca-certificates" >&2; exit 69; }
}

# The package's program with the libraries it names, each at its own path.
take_caddy() {
  command -v caddy >/dev/null || { echo "no registry can be reached, and there is no caddy here: apt-get install caddy" >&2; exit 69; }
  local file
  rm -rf "$staging/front"
  mkdir -p "$staging/state" "$staging/front/etc/ssl/certs" "$staging/front/usr/bin"
  cp -L "$(command -v caddy)" "$staging/front/usr/bin/caddy"
  { ldd "$(command -v caddy)" || true; } | grep -o '/[^ ]*' | while read -r file; do
    mkdir -p "$staging/front$(dirname "$file")"
    cp -L "$file" "$staging/front$file"
  done
  certificates >"$staging/front/etc/ssl/certs/ca-certificates.crt"
}

mkdir -p "$staging"
programs=compiled caddy=pulled
if ! can_have rust:1-bookworm; then
  echo "the public Rust image cannot be had: programs are built on this host"
  programs=host
  build_on_host
fi
if [[ " ${targets[*]} " == *" front "* ]] && ! can_have caddy:2; then
  echo "the public Caddy image cannot be had: the front is made of this host's caddy"
  caddy=packaged
  take_caddy
fi
for target in "${targets[@]}"; do
  docker buildx build --quiet --load -f deploy/docker/Dockerfile --target "$target" \
    --build-arg PROGRAMS="$programs" --build-arg CADDY="$caddy" \
    --build-arg REVISION="$revision" --build-arg REF="$ref" --build-arg CREATED="$created" --build-arg VERSION="$version" \
    -t "relay/$target:latest" -t "relay/$target:$version" . >/dev/null
  echo "relay/$target:$version, programs $programs, $(docker image inspect -f '{{.Size}}' "relay/$target:latest" | awk '{ printf "%.1f MB", $1 / 1e6 }')"
done
