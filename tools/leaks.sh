#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Look for secrets in everything that the collection prints, records and leaves: tests/leaks/sweep.py on a droplet of its own.
set -eu
cd "$(dirname "$0")/.."

droplet/engine.sh start
ansible-playbook droplet/destroy.yml -e droplet_name=leaks
ansible-playbook droplet/create.yml -e droplet_name=leaks
python tests/leaks/sweep.py leaks "$@" || failed=$?
[ -n "${failed:-}" ] || ansible-playbook droplet/destroy.yml -e droplet_name=leaks
exit "${failed:-0}"
