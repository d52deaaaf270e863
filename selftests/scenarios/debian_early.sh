# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=sh
#
# Before anything else of a boot: Debian in memory, with lud as its packages would
# install it, and systemd as the first process. systemd runs debian.sh.

ROOT=/debian

mkdir -p $ROOT
mount -t tmpfs -o size=60% debian $ROOT
tar -xf /host/debian.tar -C $ROOT
load_module

cp /userspace/lud $ROOT/usr/sbin/lud
cp /userspace/lud_client $ROOT/usr/bin/lud_client
cp /userspace/lud.service /userspace/lud.socket $ROOT/usr/lib/systemd/system/
mkdir -p $ROOT/usr/lib/liveupdate $ROOT/lib/modules $ROOT/host
cp /lib/guest.sh /scenarios/debian.sh $ROOT/usr/lib/liveupdate/
cat >$ROOT/etc/lud.toml <<END
[[rule]]
user = 1000
prefix = "vm-"
allow = ["create", "retrieve", "discard", "list"]
END

cat >$ROOT/usr/lib/systemd/system/debian.service <<END
[Unit]
Description=Tests of the agent
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh /usr/lib/liveupdate/debian.sh
[Install]
WantedBy=default.target
END
wants=$ROOT/etc/systemd/system/multi-user.target.wants
mkdir -p $wants $ROOT/etc/systemd/system/sockets.target.wants
ln -s /usr/lib/systemd/system/debian.service $wants/
ln -s /usr/lib/systemd/system/lud.service $wants/
ln -s /usr/lib/systemd/system/lud.socket $ROOT/etc/systemd/system/sockets.target.wants/
echo 0123456789abcdef0123456789abcdef >$ROOT/etc/machine-id

stty -F "$REPORT" raw -echo
echo "=== stage $STAGE begin" >"$REPORT"
for folder in proc sys dev host; do
	mount -o move /$folder $ROOT/$folder
done
exec switch_root $ROOT /usr/lib/systemd/systemd
