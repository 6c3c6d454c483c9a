#!/usr/bin/env bash
# Installs what Reelmill needs and this machine lacks.
#
#   deploy/bootstrap.sh run    what `make run` needs: ffmpeg and a C compiler
#   deploy/bootstrap.sh test   that, and the real servers and the browser that `make test` talks to
#
# Rust and Node come from their own installers: here they are only checked. Nothing is done, and
# nothing is asked of the network, when everything is there.
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

# Debian and Homebrew keep the server's programs off the PATH.
have_postgres() {
  have initdb ||
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
    compgen -G '/opt/homebrew/opt/postgresql@*/bin/initdb' >/dev/null ||
    compgen -G '/usr/local/opt/postgresql@*/bin/initdb' >/dev/null
}

have_venv() { have python3 && python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

# True when version $1 is at least version $2.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

check_rust() {
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  have cargo || die "Rust is missing: install it from https://rustup.rs (at least $wanted), then run this again"
  found=$(rustc --version | cut -d ' ' -f 2)
  at_least "$found" "$wanted" || die "Rust $found is too old, $wanted is needed: run 'rustup update stable'"
}

check_node() {
  local found
  if ! have node || ! have npm; then
    die "Node.js is missing: install it from https://nodejs.org (at least $NODE_MAJOR, with npm), then run this again"
  fi
  found=$(node --version)
  at_least "${found#v}" "$NODE_MAJOR" || die "Node.js $found is too old: install at least $NODE_MAJOR from https://nodejs.org"
}

# Prints the packages that are missing, by the package manager's names.
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
      # Without a font the browser's pictures have no text.
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
    die "root is needed for: $* (there is no sudo here)"
  fi
}

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >&2; }

# The tests start servers of their own: the packages' services are neither started now nor at boot.
# Services that were there before are not touched.
apt_install() {
  local held=no
  if [ ! -e "$POLICY" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
    held=yes
    trap 'as_root rm -f "$POLICY"' EXIT
  fi
  apt_get update
  apt_get install --no-install-recommends -y "$@"
  if [ "$held" = yes ]; then
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
    none) die "install these with this system's package manager, then run this again: ${missing[*]}" ;;
  esac
}

# What no package manager could be told to install, or did not.
check_all() {
  local what=$1
  have ffmpeg || die "ffmpeg is missing: see https://ffmpeg.org/download.html"
  have ffprobe || die "ffprobe is missing: it comes with ffmpeg, see https://ffmpeg.org/download.html"
  have cc || die "a C compiler (cc) is missing: install gcc or clang (macOS: xcode-select --install)"
  if [ "$what" != test ]; then return 0; fi
  have_postgres || die "the PostgreSQL server (initdb, postgres) is missing"
  have redis-server || die "redis-server is missing"
  have_chrome || die "Chromium or Google Chrome is missing: the browser test plays a video in it"
  have_venv || die "Python 3 with its venv module is missing"
}

# SeaweedFS, the SQS server and the ffmpeg that knows VMAF, in a Python environment of our own.
install_tools() {
  local stamp=$TOOLS/requirements.txt
  if cmp -s "$REQUIREMENTS" "$stamp"; then return 0; fi
  say "installing the servers and tools of the tests into $TOOLS"
  # Over what may be there: another run's servers may be at work in it.
  python3 -m venv "$TOOLS"
  "$TOOLS/bin/pip" install --quiet --disable-pip-version-check --no-input -r "$REQUIREMENTS" >&2
  # Copied last: a broken installation is taken up again.
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
