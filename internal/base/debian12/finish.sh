#!/bin/sh
# Turns a freshly unpacked Debian into the reference base. The argument is the tree; this runs
# outside of it. What is taken away here cannot work in a container and would only leave errors in
# the journal of every server, where tests look for errors.
set -eu
root=$1

# Nobody logs in as root.
chroot "$root" passwd --quiet --lock root

# Every server makes its own.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/hostname"

systemctl --quiet --root="$root" enable systemd-networkd.service systemd-resolved.service
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"

# No terminal anywhere, and one on the console would hang `systemctl is-system-running --wait`.
# Package lists and file systems are not looked after behind a test's back.
for unit in \
	console-getty.service serial-getty@ttyS0.service getty@tty1.service \
	apt-daily.timer apt-daily-upgrade.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer; do
	ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# The host's kernel log and device nodes are the host's.
sed -i 's/^module(load="imklog")/#&  # no kernel log in a container/' "$root/etc/rsyslog.conf"
ln -sf /dev/null "$root/etc/tmpfiles.d/static-nodes-permissions.conf"
sed -E '/static_node=(net\/tun|fuse)"/d' "$root/lib/udev/rules.d/50-udev-default.rules" \
	>"$root/etc/udev/rules.d/50-udev-default.rules"

# The build's own traces.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
rm -rf "$root"/var/log/apt "$root"/var/log/*.log "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
