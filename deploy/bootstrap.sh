#!/usr/bin/env bash
# Installs missing dependencies.
#
#   deploy/bootstrap.sh run    for `make run`: ffmpeg and a C compiler
#   deploy/bootstrap.sh test   for `make test`: also the servers and the browser that the tests use
#
# Rust and Node are only checked, because they have their own installers. If nothing is missing, this changes nothing and
# does not access the network.
set -euo pipefail

cd "$(dirname "$0")/.."
readonly NODE_MAJOR=20
readonly TOOLS=.tools
readonly REQUIREMENTS=deploy/test-requirements.txt
readonly CHROMES=(chromium chromium-browser google-chrome google-chrome-stable)
readonly MAC_CHROME="/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
readonly POLICY=/usr/sbin/policy-rc.d

say() { printf 'bootstrap: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

have_any() {
  local name
  for name in "$@"; do
    if have "$name"; then return 0; fi
  done
  return 1
}

have_chrome() { have_any "${CHROMES[@]}" || [ -x "$MAC_CHROME" ]; }

# Debian and Homebrew do not add the server's binaries to the PATH.
have_postgres() {
  have initdb ||
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
    compgen -G '/opt/homebrew/opt/postgresql@*/bin/initdb' >/dev/null ||
    compgen -G '/usr/local/opt/postgresql@*/bin/initdb' >/dev/null
}

# Changes the clock of single processes, for `make chaos`.
have_faketime() { compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || [ -e /usr/lib/faketime/libfaketime.so.1 ]; }

have_venv() { have python3 && python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

# True when version $1 is at least version $2.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

check_rust() {
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  have cargo || die "Rust is not installed: install version $wanted or newer from https://rustup.rs, then run this again"
  found=$(rustc --version | cut -d ' ' -f 2)
  at_least "$found" "$wanted" || die "Rust $found is too old: version $wanted or newer is needed; run 'rustup update stable'"
}

check_node() {
  local found
  if ! have node || ! have npm; then
    die "Node.js or npm is not installed: install version $NODE_MAJOR or newer from https://nodejs.org, then run this again"
  fi
  found=$(node --version)
  at_least "${found#v}" "$NODE_MAJOR" || die "Node.js $found is too old: install version $NODE_MAJOR or newer from https://nodejs.org"
}

# Prints the missing packages, by their names in the package manager.
missing_for_run() {
  local manager=$1
  if ! have ffmpeg || ! have ffprobe; then echo ffmpeg; fi
  if ! have cc && [ "$manager" = apt ]; then printf '%s\n' gcc libc6-dev; fi
}

missing_for_test() {
  local manager=$1
  case $manager in
    apt)
      have_postgres || echo postgresql
      have redis-server || echo redis-server
      have_faketime || echo libfaketime
      # Without fonts, screenshots have no text.
      have_chrome || printf '%s\n' chromium fonts-liberation
      have_venv || printf '%s\n' python3 python3-venv
      ;;
    brew)
      have_postgres || echo postgresql@17
      have redis-server || echo redis
      have_venv || echo python
      ;;
  esac
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "this command needs root, and sudo is not installed: $*"
  fi
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >&2; }

# The tests start their own servers, so the packages' services are not started, neither now nor at boot. Services that
# were installed before are not changed.
apt_install() {
  local policy_created=no
  if [ ! -e "$POLICY" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
    policy_created=yes
    trap 'as_root rm -f "$POLICY"' EXIT
  fi
  apt_get update
  apt_get install --no-install-recommends -y "$@"
  if [ "$policy_created" = yes ]; then
    as_root rm -f "$POLICY"
    trap - EXIT
  fi
  if have systemctl && [ -d /run/systemd/system ]; then
    local package
    for package in "$@"; do
      case $package in
        postgresql | redis-server) as_root systemctl disable --now "$package" >/dev/null 2>&1 || true ;;
      esac
    done
  fi
}

install_missing() {
  local what=$1 manager
  if have apt-get; then
    manager=apt
  elif have brew; then
    manager=brew
  else
    manager=none
  fi
  local missing=() package
  while read -r package; do missing+=("$package"); done < <(
    missing_for_run "$manager"
    if [ "$what" = test ]; then missing_for_test "$manager"; fi
  )
  if [ "${#missing[@]}" -eq 0 ]; then return 0; fi
  case $manager in
    apt)
      say "installing ${missing[*]}"
      apt_install "${missing[@]}"
      ;;
    brew)
      say "installing ${missing[*]}"
      brew install --quiet "${missing[@]}" >&2
      ;;
    none) die "neither apt-get nor brew is available: install these packages, then run this again: ${missing[*]}" ;;
  esac
}

# Fails if something is still missing.
check_all() {
  local what=$1
  have ffmpeg || die "ffmpeg is not installed: see https://ffmpeg.org/download.html"
  have ffprobe || die "ffprobe, a part of ffmpeg, is not installed: see https://ffmpeg.org/download.html"
  have cc || die "no C compiler (cc) is installed: install gcc or clang (macOS: xcode-select --install)"
  if [ "$what" != test ]; then return 0; fi
  have_postgres || die "the PostgreSQL server (initdb, postgres) is not installed"
  have redis-server || die "redis-server is not installed"
  have_chrome || die "neither Chromium nor Google Chrome is installed: the browser tests need one of them"
  have_venv || die "Python 3 with the venv module is not installed"
}

# SeaweedFS, the SQS server and an ffmpeg with VMAF, in a Python virtual environment.
install_tools() {
  local stamp=$TOOLS/requirements.txt
  if cmp -s "$REQUIREMENTS" "$stamp"; then return 0; fi
  say "installing servers and tools for the tests into $TOOLS"
  # Updated in place, because servers of a concurrent run may use it.
  python3 -m venv "$TOOLS"
  "$TOOLS/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$REQUIREMENTS" >&2
  # Copied last, so that an interrupted installation is repeated.
  cp "$REQUIREMENTS" "$stamp"
}

main() {
  local what=${1:-}
  case $what in
    run | test) ;;
    *) die "usage: deploy/bootstrap.sh run|test" ;;
  esac
  check_rust
  check_node
  install_missing "$what"
  check_all "$what"
  if [ "$what" = test ]; then install_tools; fi
}

main "$@"
