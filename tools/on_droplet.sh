#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Run a command with a stand-in droplet of its own: on_droplet.sh NAME COMMAND ... When it fails, the droplet stays to be looked at.
set -eu
cd "$(dirname "$0")/.."
name=$1
shift

droplet/engine.sh start
ansible-playbook droplet/build.yml
ansible-playbook droplet/destroy.yml -e droplet_name="$name"
ansible-playbook droplet/create.yml -e droplet_name="$name"
"$@"
ansible-playbook droplet/destroy.yml -e droplet_name="$name"
