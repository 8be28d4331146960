#!/bin/bash
# The first process under a kernel under test: what an init system would mount; then one command, or systemd with it.
exchange=$(dirname "$0")
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /dev/pts /dev/shm "/lib/modules/$(uname -r)"
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t virtiofs modules "/lib/modules/$(uname -r)"
hostname "$(uname -r | cut -d. -f1,2 | tr . -)"
ip link set lo up
# The compiler takes minutes here: what it made for this kernel before, it need not make again.
cache=$HOME/.cache/otel-kernel
mkdir -p "$cache/go" /mnt/go
mount --bind "$cache/go" /mnt/go
mount -t virtiofs programs "$cache"
mkdir -p "$cache/go"
mount --bind /mnt/go "$cache/go"
if [[ $(cat "$exchange/init-system") == systemd ]]; then
    mkdir -p /run/systemd/system
    # No target of the distribution's: nothing that is installed here is started.
    cat >/run/systemd/system/under-test.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
Environment=PATH=$PATH HOME=$HOME LANG=$LANG
ExecStart=/bin/bash $exchange/finish
StandardOutput=append:/dev/ttyS0
StandardError=append:/dev/ttyS0
TasksMax=infinity
UNIT
    exec /lib/systemd/systemd --unit=under-test.service --show-status=no
fi
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
exec bash "$exchange/finish"
