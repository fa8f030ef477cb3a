#!/usr/bin/env bash
# A Slurm of two nodes, n1 and n2, on this machine alone, for tests: as root, on Debian or Ubuntu.
#
#   slurm_here.sh install          its packages
#   slurm_here.sh start FOLDER     all of its files lie there; then: export SLURM_CONF=FOLDER/slurm.conf
#   slurm_here.sh node FOLDER n1   one node again, after it was killed
#   slurm_here.sh stop FOLDER      end all of its daemons and whatever runs in its jobs
#
# It binds to the loopback alone and has no accounting, no cgroups and no systemd. UNSHARED, a folder, is one that n2
# sees as an empty folder of its own.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
folder=${2:-}

configure() {
  local host
  host=$(hostname -s)
  mkdir -p "$folder"/{state,n1,n2}
  cat >"$folder/slurm.conf" <<CONF
ClusterName=here
SlurmUser=root
SlurmdUser=root
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=17000
SlurmctldPidFile=$folder/slurmctld.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdPidFile=$folder/%n.pid
SlurmdLogFile=$folder/%n.log
SlurmdSpoolDir=$folder/%n
StateSaveLocation=$folder/state
AuthType=auth/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=10
SlurmdTimeout=30
MaxArraySize=2
GresTypes=gpu
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17001 CPUs=2 RealMemory=1024 Gres=gpu:1
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17002 CPUs=2 RealMemory=1024 Gres=gpu:1
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=20 MaxTime=UNLIMITED DefaultTime=60
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF MaxTime=60
CONF
  printf 'NodeName=n1 Name=gpu File=/dev/null\nNodeName=n2 Name=gpu File=/dev/null\n' >"$folder/gres.conf"
}

node() {
  if [ "$1" = n2 ] && [ -n "${UNSHARED:-}" ]; then
    unshare -m sh -c 'mount -t tmpfs none "$UNSHARED" && exec slurmd -N n2'
  else
    slurmd -N "$1"
  fi
}

export SLURM_CONF=$folder/slurm.conf
case ${1:-} in
  install)
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins
    ;;
  start)
    configure
    if ! munge -n >/dev/null 2>&1; then
      install -d -o munge -g munge -m 755 /run/munge
      runuser -u munge -- munged --pid-file=/run/munge/here.pid
      cp /run/munge/here.pid "$folder/munged.pid"
    fi
    slurmctld -c
    node n1
    node n2
    for _ in $(seq 120); do
      [ "$(sinfo --noheader --Node --partition=low --format=%T 2>/dev/null | grep -c '^idle$')" = 2 ] && exit 0
      sleep 1
    done
    sinfo
    tail -n 20 "$folder"/*.log
    exit 1
    ;;
  node)
    node "$3"
    ;;
  stop)
    scancel --user=root --signal=KILL >/dev/null 2>&1 || true
    for name in n1 n2 slurmctld munged; do
      [ -f "$folder/$name.pid" ] && kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
    done
    # What a killed node left behind: step daemons and runs have the cluster's file in their environment.
    for process in $(grep -lsz "^SLURM_CONF=$folder/slurm.conf\$" /proc/[0-9]*/environ | cut -d/ -f3); do
      case $(cat "/proc/$process/comm" 2>/dev/null) in
        slurmstepd | slurmd | slurmctld | srun) kill -KILL "$process" 2>/dev/null || true ;;
      esac
    done
    ;;
  *)
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
