# Sourced by the scripts that work in the tree of a Debian 13: its making, what it must see of this machine, and its end.
# They set TREE, the folder of the tree, which is removed when they end unless KEEP is set.
# shellcheck shell=bash

MOUNTS=() # in the order in which they were made
KEEP=
VARIABLES=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root)
while IFS= read -r variable; do VARIABLES+=("$variable"); done < <(
  env | grep -E '^(PIP_|SSL_CERT_|REQUESTS_CA_BUNDLE|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)' || true
)

say() { printf '\n=== %s\n' "$*"; }

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}

# The last lines of file $1, without addresses.
show_end() { sed 's#://[^ ]*#://…#g' "$1" | tail -n 40; }

# The pids of all whose root is the tree.
inside() {
  local process root
  for process in /proc/[0-9]*; do
    root=$(readlink "$process/root" 2>/dev/null) || continue
    [[ $root != "$TREE" ]] || printf '%s\n' "${process#/proc/}"
  done
}

# End what runs in the tree, unmount what was mounted there, and remove it.
clean_up() {
  local status=$? pid at
  trap - EXIT
  for at in 1 2 3; do # a parent may have started another meanwhile
    for pid in $(inside); do kill -KILL "$pid" 2>/dev/null || true; done
  done
  for ((at = ${#MOUNTS[@]} - 1; at >= 0; at--)); do
    umount "${MOUNTS[at]}" 2>/dev/null || umount --lazy "${MOUNTS[at]}" || true
  done
  if grep -qF " $TREE/" /proc/self/mounts; then
    echo "left as it is, for something is mounted there: $TREE" >&2 # rm would go through the mount
  elif [[ -z $KEEP ]]; then
    rm -rf --one-file-system "$TREE"
  fi
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Show the same file or folder at the same place in the tree, to be read only.
show() {
  local at=$TREE$1
  if [[ -d $1 ]]; then mkdir -p "$at"; else mkdir -p "${at%/*}" && { [[ -e $at ]] || : >"$at"; }; fi
  mount --bind "$1" "$at"
  MOUNTS+=("$at")
  mount -o remount,bind,ro "$at" 2>/dev/null || true
}

# The mirror that apt uses here for Debian's main archive.
mirror() {
  if [[ -n ${DEBIAN_MIRROR:-} ]]; then
    printf '%s\n' "$DEBIAN_MIRROR"
    return
  fi
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -v security | sort | uniq -c | sort -rn |
    awk 'NR == 1 { print $2 }'
}

# Each local file or folder that pip's configuration and variables name, one a line.
local_places() {
  {
    python3 -m pip config list 2>/dev/null | sed 's/^[^=]*=//'
    env | sed -n 's/^PIP_[A-Z_]*=//p'
    env | sed -n 's/^\(SSL_CERT_FILE\|SSL_CERT_DIR\|REQUESTS_CA_BUNDLE\)=//p'
  } | tr -d "'\"" | sed 's/\\n/ /g' | tr ' ' '\n' | sed 's#^file://\(localhost\)\?##' | grep '^/' | sort -u
}

# pip's configuration of this machine as one file, and what it names, for the tree.
pip_settings() {
  local place
  python3 -m pip config list 2>/dev/null | sed -n "s/^global\.\([a-z-]*\)=/\1 = /p" | tr -d "'" |
    sed 's/\\n/ /g' | { echo '[global]' && cat; } >"$TREE/etc/pip.conf"
  while read -r place; do
    # An index may lie in …/simple and its files beside it.
    [[ ${place##*/} != simple ]] || place=${place%/simple}
    [[ ! -e $place || $place == / ]] || show "$place"
  done < <(local_places)
}

# Make TREE with a Debian 13.
make_tree() {
  local from log
  log=$(mktemp)
  from=$(mirror)
  [[ -n $from ]] || fail "apt tells no mirror: name one in DEBIAN_MIRROR"
  mmdebstrap --quiet --variant=minbase --keyring=/usr/share/keyrings \
    --include=python3,python3-venv,systemd,systemd-sysv trixie "$TREE" "$from" >"$log" 2>&1 ||
    { show_end "$log"; rm -f "$log"; fail "mmdebstrap"; }
  rm -f "$log"
}

# Copy the tree $1, or make one if there is none, to TREE; with /proc, /dev, a network and pip's settings.
enter_tree() {
  local file
  [[ $(id -u) == 0 ]] || fail "it needs root"
  chmod 0755 "$TREE"
  if [[ -n $1 ]]; then cp -a --reflink=auto "$1/." "$TREE"; else make_tree; fi
  mount -t proc proc "$TREE/proc"
  MOUNTS+=("$TREE/proc")
  mount --rbind --make-rslave /dev "$TREE/dev" 2>/dev/null && MOUNTS+=("$TREE/dev")
  for file in /etc/resolv.conf /etc/hosts; do [[ ! -e $file ]] || cp -L "$file" "$TREE$file"; done
  pip_settings
}

# A copy of this checkout at $1 in the tree.
copy_checkout() {
  mkdir -p "$TREE$1"
  git ls-files -z | xargs -0 cp --parents -t "$TREE$1"
}

# Run a command in the tree.
within() { env -i "${VARIABLES[@]}" chroot "$TREE" "$@"; }
