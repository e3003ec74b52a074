#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Run a command with stand-in droplets of its own, whose names it finds in DROPLET: on_droplet.sh "NAME ..." COMMAND ...
# When it fails, they stay to be looked at.
set -eu
cd "$(dirname "$0")/.."
export DROPLET="$1"
shift

droplet/engine.sh start
ansible-playbook droplet/build.yml
for name in $DROPLET; do
  ansible-playbook droplet/destroy.yml -e droplet_name="$name"
  ansible-playbook droplet/create.yml -e droplet_name="$name"
done
"$@"
for name in $DROPLET; do ansible-playbook droplet/destroy.yml -e droplet_name="$name"; done
