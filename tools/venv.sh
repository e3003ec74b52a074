#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Make the virtual environment .venv with the pinned tools. usage: tools/venv.sh PYTHON
set -eu
cd "$(dirname "$0")/.."
python=$1

fail() {
  echo "$1" >&2
  exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  fail "$python is missing or older than Python 3.11. Install python3.11 or newer, or name one: make PYTHON=/path/to/python3.12."
[ -x .venv/bin/python ] || {
  echo "Making the virtual environment .venv with $("$python" --version)"
  "$python" -m venv .venv 2>/dev/null || {
    rm -rf .venv
    fail "This Python cannot make virtual environments. Install its venv package (Debian, Ubuntu: apt-get install python3-venv)."
  }
}
echo "Installing the pinned tools of requirements-dev.txt"
.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt 2>&1 |
  grep -v '^WARNING: Location' >&2 || true
.venv/bin/ansible --version >/dev/null || fail "The tools of requirements-dev.txt could not be installed; see above."
