#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The whole story on one screen: a droplet that is broken for real, its symptoms, the hot-fix over SSH, the proof.
set -euo pipefail
cd "$(dirname "$0")/.."
name=demo
state=.state/droplets/$name
inventory=$state/inventory/hosts.yml

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
on_droplet() {
  printf '\033[2mdroplet# %s\033[0m\n' "$1"
  # Braces in it are docker's, not Ansible's, which takes a text that begins with one for JSON.
  ansible droplet -i "$inventory" -m ansible.builtin.shell -a " {% raw %}$1{% endraw %}" | sed '1d; s/^/    /'
}
status() { curl --silent --output /dev/null --write-out '%{http_code}' --header "X-API-Key: $1" "$url/api/v1/search?q=saving"; }
load() { DROPLET_API_KEY=$1 droplet/load.py --url "$url" --seconds 20 | sed 's/^/    /'; }

title "1 of 6  A container engine"
droplet/engine.sh start

title "2 of 6  A droplet with the application of the runbook, broken (images are built once)"
ansible-playbook droplet/build.yml
ansible-playbook droplet/destroy.yml -e droplet_name=$name
ansible-playbook droplet/create.yml -e droplet_name=$name
(umask 077 && python -c 'import secrets; print(secrets.token_urlsafe(32))' >"$state/vault-password")
url=$(ansible-inventory -i "$inventory" --host droplet | python -c 'import json, sys; print(json.load(sys.stdin)["droplet_api_url"])')

title "3 of 6  Its symptoms"
echo "The development key of the runbook is accepted: HTTP $(status dev-key-12345); without a key: HTTP $(status '')"
on_droplet "docker inspect --format 'effective restart policy: {{.HostConfig.RestartPolicy.Name}}' wealth_coach_backend"
on_droplet "cd /opt/wealth-coach-ai && docker compose restart backend 2>/dev/null; docker logs wealth_coach_backend 2>&1 | grep -o 'Shutdown error.*close' | sort | uniq -c"
echo "Twenty seconds of load, as the workers get it in production:"
load dev-key-12345
on_droplet "docker logs wealth_coach_backend 2>&1 | grep -oE 'Development API keys detected|Child process .* died' | sort | uniq -c"

title "4 of 6  Why the workers die: ansible-playbook composeops.hotfix.diagnose (changes nothing)"
ansible-playbook composeops.hotfix.diagnose -i "$inventory" -e diagnose_watch=5

title "5 of 6  The hot-fix, over SSH: ansible-playbook composeops.hotfix.apply"
ansible-playbook composeops.hotfix.apply -i "$inventory" -e @droplet/hotfix.yml

title "6 of 6  The same load again, with the key that was handed off"
handoff=$(ls $state/handoff/*.vault.yml)
key=$(ansible-vault view --vault-password-file "$state/vault-password" "$handoff" | cut -d' ' -f2)
echo "The development key: HTTP $(status dev-key-12345); the new key: HTTP $(status "$key")"
load "$key"
on_droplet "docker logs wealth_coach_backend 2>&1 | grep -cE 'Development API|died|Shutdown error' || true"

cat <<TEXT

The droplet is left running. Look around, after: . .venv/bin/activate; export ANSIBLE_HOME=\$PWD/.ansible
  log in                ssh -F none -i $state/ssh_key -o UserKnownHostsFile=$state/known_hosts -p $(ansible-inventory -i "$inventory" --host droplet | python -c 'import json, sys; print(json.load(sys.stdin)["ansible_port"])') root@127.0.0.1
  the API               curl $url/api/v1/health
  the hand-off          ansible-vault view --vault-password-file $state/vault-password $handoff
  mobile configuration  $state/mobile.env
  prove it again        ansible-playbook composeops.hotfix.verify -i $inventory -e @droplet/hotfix.yml
  remove everything     make clean
TEXT

title "What became of it"
report=$PWD/$state/report/droplet
ansible localhost -m composeops.hotfix.show_lines -a "lines={{ lookup('ansible.builtin.file', '$report.json') | from_json | composeops.hotfix.summary_table('$report.html') }}" |
  sed '/^localhost | /,$d'
