#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# A container engine for the stand-in droplet: the one that answers, else Debian's own, started from here.
# Usage: engine.sh start | stop | status
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
state="$checkout/.state/engine"
pid_file="$state/started" # "PID START-TIME HOW" of the dockerd that was started here
log_file="$state/dockerd.log"
installed_file="$state/installed"
label="org.composeops.hotfix.checkout=$(printf '%s' "$checkout" | sha256sum | cut -c1-8)"

say() { printf 'engine: %s\n' "$*"; }
die() {
  printf 'engine: %s\n' "$*" >&2
  exit 1
}

answers() { command -v docker >/dev/null && timeout 10 docker info >/dev/null 2>&1; }
version() { docker version --format '{{.Server.Version}}'; }

# Clock ticks since boot at which a process started: the 22nd field, counted behind the name, which may hold blanks.
start_time() { sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20; }

# True while the recorded process is the very dockerd that was started here: a pid can be given out again.
ours_runs() {
  [ -r "$pid_file" ] && read -r pid started how <"$pid_file" || return 1
  [ -r "/proc/$pid/stat" ] && [ "$(cat "/proc/$pid/comm")" = dockerd ] && [ "$(start_time "$pid")" = "$started" ]
}

record() { printf '%s %s %s\n' "$1" "$(start_time "$1")" "$2" >"$pid_file"; }

installable() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && grep -qE '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release
}

# debian-archive-keyring is what debootstrap checks Debian with; Debian has it already, Ubuntu has not.
install_missing() {
  local package missing=()
  for package in docker.io debootstrap debian-archive-keyring iptables; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' && continue
    # An engine of another make does as well as Debian's, and both cannot be installed.
    [ "$package" = docker.io ] && command -v dockerd >/dev/null && continue
    missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"
  } >"$state/apt.log" 2>&1 </dev/null || die "installing ${missing[*]} failed; what apt-get said is in $state/apt.log"
  printf '%s\n' "${missing[@]}" >>"$installed_file"
}

start_dockerd() {
  say "starting dockerd; its log is $log_file"
  # Left behind by a killed dockerd, these files keep the next one from starting once their pids belong to others.
  rm -f "$state/docker.pid"
  pgrep -x containerd >/dev/null || rm -f /run/docker/containerd/containerd.pid
  # A session of its own with all three streams in the log: neither a closing terminal nor a pipe is held by it.
  # shellcheck disable=SC2016  # expanded by the inner shell, whose pid becomes that of dockerd
  setsid --fork sh -c 'echo $$ >"$1/pid"; exec dockerd --pidfile "$1/docker.pid"' sh "$state" \
    >"$log_file" 2>&1 </dev/null
  local _
  for _ in $(seq 1 50); do
    if [ -s "$state/pid" ] && [ "$(cat "/proc/$(cat "$state/pid")/comm" 2>/dev/null)" = dockerd ]; then
      record "$(cat "$state/pid")" background
      rm -f "$state/pid"
      return 0
    fi
    sleep 0.1
  done
  die "dockerd did not start; the end of $log_file: $(tail -n 1 "$log_file")"
}

start() {
  if answers; then
    say "in use: Docker Engine $(version)"
    return 0
  fi
  if ! installable; then
    command -v dockerd >/dev/null || [ -S /var/run/docker.sock ] ||
      die "there is no container engine: install Docker, or run this as root on Debian or Ubuntu, which installs it"
    die "Docker does not answer: start it and let this user use it (group docker), or run this as root"
  fi
  mkdir -p "$state"
  install_missing
  if [ "$(cat /proc/1/comm)" = systemd ]; then
    systemctl start docker </dev/null || die "systemctl start docker failed; journalctl -u docker says why"
    record "$(systemctl show --property MainPID --value docker)" systemd
  elif ! ours_runs; then
    ! pgrep -x dockerd >/dev/null || die "a dockerd that was not started here runs but does not answer: see its own log"
    start_dockerd
  fi
  local _
  for _ in $(seq 1 60); do
    if answers; then
      say "ready: Docker Engine $(version)"
      return 0
    fi
    ours_runs || die "dockerd ended; the end of $log_file: $(tail -n 1 "$log_file" 2>/dev/null)"
    sleep 1
  done
  die "dockerd has not answered for 60 seconds; see $log_file"
}

stop() {
  if ! ours_runs; then
    rm -f "$pid_file"
    say "nothing to stop: no dockerd was started here"
  else
    docker ps --quiet --filter "label=$label" | xargs --no-run-if-empty docker stop >/dev/null
    if [ -n "$(docker ps --quiet)" ]; then
      say "left running: containers that are not of this checkout use it"
      return 0
    fi
    if [ "$how" = systemd ]; then
      systemctl stop docker.socket docker.service </dev/null
    else
      kill "$pid"
      timeout 60 tail --pid="$pid" -f /dev/null || die "dockerd (pid $pid) does not end; see $log_file"
    fi
    rm -f "$pid_file"
    say "stopped"
  fi
  if [ -s "$installed_file" ]; then
    say "installed here and left installed: $(sort -u "$installed_file" | paste -s -d ' ')"
  fi
}

status() {
  answers || die "not answering"
  if ours_runs; then
    say "running: Docker Engine $(version), started here (pid $pid)"
  else
    say "running: Docker Engine $(version), not started here"
  fi
}

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  status) status ;;
  *) die "usage: engine.sh start | stop | status" ;;
esac
