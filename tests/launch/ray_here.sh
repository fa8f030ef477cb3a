#!/usr/bin/env bash
# Run a command, for tests that start a Ray, in a network of its own that has nothing but the loopback:
#
#   ray_here.sh .venv/bin/pytest -m ray tests/launchers
#
# Elsewhere Ray takes the machine's address for its own: others could reach it, and it them. Where no network can be
# made, the command runs as it is, and those tests are skipped.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
[ $# -gt 0 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
apart=(unshare --net)
[ "$(id -u)" = 0 ] || apart+=(--map-root-user)
"${apart[@]}" true 2>/dev/null || exec "$@"
exec "${apart[@]}" bash -c 'ip link set lo up && RAY_HERE=1 exec "$@"' ray_here "$@"
