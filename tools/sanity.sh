#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Run ansible-test sanity on a copy of the committed and uncommitted tree. usage: tools/sanity.sh [ansible-test options]
set -eu
cd "$(dirname "$0")/.."
state=$PWD/.state/sanity
copy=$state/ansible_collections/composeops/hotfix
version=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# ansible-test refuses a linked collection, and wants a git tree to list the files from.
rm -rf "$copy"
mkdir -p "$copy"
git ls-files --cached --others --exclude-standard -- . ':!droplet' ':!molecule' ':!tools' ':!benchmarks' ':!.ci' ':!.config' |
  while IFS= read -r file; do [ ! -e "$file" ] || printf '%s\n' "$file"; done |
  tar -cf - -T - | tar -xf - -C "$copy"
git -C "$copy" init -q
git -C "$copy" add -A

# ansible-test fetches a pip bootstrap script from a host that a closed network does not reach; pip itself comes from
# PyPI, so a script that runs the wheel stands in for it. HOME keeps the operator's own ~/.ansible out of this.
cache=$state/home/.ansible/test/cache
mkdir -p "$cache"
[ -n "$(find "$cache" -name 'pip-*.whl')" ] || python -m pip download --quiet --no-deps --dest "$cache" pip
cat >"$cache/get_pip.py" <<'PYTHON'
import glob
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, sorted(glob.glob(os.path.join(os.path.expanduser("~/.ansible/test/cache"), "pip-*.whl")))[-1])
from pip._internal.cli.main import main

unknown = ("--no-setuptools", "--no-wheel")
sys.exit(main(["install", "--upgrade", "--force-reinstall"] + [word for word in sys.argv[1:] if word not in unknown]))
PYTHON
for name in get_pip_24_2.py get_pip_25_2.py; do cp "$cache/get_pip.py" "$cache/$name"; done

cd "$copy"
HOME=$state/home ANSIBLE_HOME=$state/home/.ansible ansible-test sanity --color no --python "$version" "$@"
