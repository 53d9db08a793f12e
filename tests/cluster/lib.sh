# Shared by the commands beside it; sourced, never run.
# shellcheck shell=bash

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
cache=${MODELCACHE_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/modelcache-test}
runs=${MODELCACHE_TEST_RUN:-/tmp/modelcache-test}
me=$(basename "$0")

base_images=(pause busybox python)

say() { printf '%s: %s\n' "$me" "$*" >&2; }

# fail CAUSE REMEDY
fail() {
  say "$1"
  say "  remedy: $2"
  exit 1
}

# Nothing ends a command here without a word: what `set -e` stops at is named.
set -o errtrace
trap 'say "ended by status $? of: $BASH_COMMAND (line $LINENO of ${BASH_SOURCE[0]##*/})"' ERR

need_root() {
  ((EUID == 0)) || fail "not root; namespaces, mounts and cgroups cannot be made" "run it as root, for instance: sudo $0 ..."
}

# use_run NAME: check the name and set the paths of that run.
use_run() {
  local name=${1:-}
  # The name becomes the node's name and part of socket paths, which may be 107 characters long.
  [[ $name =~ ^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$ ]] ||
    fail "'$name' cannot be a cluster's name" "give 1 to 30 small letters, digits and inner dashes, for instance: $me demo"
  cluster=$name
  run=$(realpath -m "$runs")/$cluster
  ((${#run} <= 70)) ||
    fail "the state folder $run is too long for the sockets in it" "set MODELCACHE_TEST_RUN to a shorter path"
  # The folder takes part, so that one name under two run folders is two clusters.
  id=modelcache-test-$cluster-$(printf '%s' "$run" | sha256sum | cut -c1-6)
  netns=/run/netns/$id
  kubeconfig=$run/kubeconfig
}

kubernetes_dir() {
  local key
  key=$(cat "$here"/../go.{mod,sum} "$here"/k8s/main.go | sha256sum | cut -c1-12)
  echo "$cache/kubernetes-$key"
}

# image_file NAME: where the archive of a base image lies, under a name that changes with its recipe.
image_file() {
  local key
  key=$(cat "$here/../../deploy/image/oci" "$here/images/$1"/* | sha256sum | cut -c1-12)
  echo "$cache/image-$1-$key.tar"
}

# Where the images lie as containerd keeps them, unpacked, for every node to start with.
store_dir() {
  local key image
  key=$({ containerd --version; for image in "${base_images[@]}"; do image_file "$image"; done; } | sha256sum | cut -c1-12)
  echo "$cache/store-$key"
}

in_netns() { nsenter --net="$netns" "$@"; }

in_run() { in_netns env KUBECONFIG="$kubeconfig" PATH="$(kubernetes_dir):$PATH" "$@"; }

k() { in_run kubectl "$@"; }

seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

# --- processes -------------------------------------------------------------------------------------------------------
# A process is recorded as its id and its start time: an id alone may meanwhile be somebody else's.

start_time() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  # The program's name, in parentheses, may hold blanks: count the fields from behind it.
  read -ra stat <<<"${stat##*) }"
  [[ ${stat[0]} != [ZX] ]] || return 1
  echo "${stat[19]}"
}

record() { echo "$2 $(start_time "$2" || echo gone)" >"$run/pids/$1"; }

# recorded NAME: the process id, if it is still that process.
recorded() {
  local pid started
  read -r pid started 2>/dev/null <"$run/pids/$1" || return 1
  [[ $(start_time "$pid") == "$started" ]] && echo "$pid"
}

# daemon NAME CMD...: start in the background with nothing of the caller's open, so that a caller reading our output
# through a pipe sees its end, and closing the terminal ends nothing.
daemon() {
  local name=$1
  shift
  (
    exec </dev/null >>"$run/logs/$name.log" 2>&1
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      ((fd <= 2)) || exec {fd}>&-
    done
    exec setsid "$@"
  ) &
  record "$name" $!
  # Not our job any more: its end is told by what waits for it, not by the shell.
  disown $!
}

cgroup_hierarchies() { awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/self/mounts; }

cgroup_processes() {
  local hierarchy
  cgroup_hierarchies | while read -r hierarchy; do
    find "$hierarchy/$id" -name cgroup.procs -exec cat {} + 2>/dev/null || true
  done
}

netns_processes() {
  [[ -e $netns ]] || return 0
  ip netns pids "$id" 2>/dev/null || true
}

# Whatever belongs to this run: what was recorded, what runs in its network (shims, and what `enter` started), and what
# runs in its cgroups (containers).
run_processes() {
  local file
  for file in "$run"/pids/*; do
    recorded "$(basename "$file")" || true
  done
  netns_processes
  cgroup_processes
}
