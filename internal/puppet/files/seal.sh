# Takes from this server what an image must not keep: whatever belongs to this one machine, to the
# environment that it was built in, or to nobody any more. Run as root from stdin by the bootstrap
# user's open session, as the last thing before the server is stopped; the session's processes live
# on until then. Afterwards the check that follows must find nothing.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /
commit= bootstrap=
[ -r /etc/hallmark/provision.env ] && . /etc/hallmark/provision.env
commit=${HALLMARK_COMMIT:-$(cat /var/lib/hallmark/baked 2>/dev/null)} bootstrap=${HALLMARK_BOOTSTRAP_USER:-}

# A further start of the server without being told anything must do nothing: no settings, no facts.
rm -rf /etc/hallmark /etc/facter/facts.d/hallmark.json /run/hallmark
rm -rf /var/lib/hallmark /var/log/hallmark
mkdir -p -m 0755 /var/lib/hallmark
# The script needs no package lists on a server launched with this commit.
echo "$commit" >/var/lib/hallmark/baked

# The deadline of the environment that it was built in.
systemctl disable --quiet --now hallmark-deadline.timer 2>/dev/null
rm -f /etc/systemd/system/hallmark-deadline.* /etc/systemd/system/timers.target.wants/hallmark-deadline.timer

# Puppet: state, reports, buckets, catalogs, certificates.
rm -rf /var/cache/puppet/* /var/lib/puppet/* /etc/puppet/ssl /etc/puppetlabs/puppet/ssl /opt/puppetlabs/puppet/cache

# Other commits' code, from an earlier try on this server.
find /opt/hallmark/product -mindepth 1 -maxdepth 1 ! -name "$commit" -exec rm -rf {} +

# Packages: caches, lists, the way to our cache.
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /etc/apt/apt.conf.d/01hallmark-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old

# The bootstrap user. Its processes are ours, so they are not killed.
if [ -n "$bootstrap" ] && getent passwd "$bootstrap" >/dev/null; then
	userdel --force --remove "$bootstrap" >/dev/null 2>&1
fi
rm -f /etc/sudoers.d/90-cloud-init-users /etc/sudoers.d/"${bootstrap:-none}"
# Backups of the user database still name it.
rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid- /var/lib/systemd/linger/*

# cloud-init: what it knows of this server. Its own configuration stays.
cloud-init clean --logs --seed >/dev/null 2>&1
rm -rf /var/lib/cloud/instances /var/lib/cloud/instance /var/lib/cloud/data /var/lib/cloud/sem /var/lib/cloud/seed
sed -i '/^127\.0\.1\.1[[:space:]]/d' /etc/hosts
echo localhost >/etc/hostname

# Logs stop before they are emptied; nothing that is said from here on may be kept. Files stay,
# since packages gave them their owners.
systemctl stop rsyslog.service syslog.socket 2>/dev/null
# It notes in wtmp that the server goes down, when it is stopped itself.
systemctl stop systemd-update-utmp.service 2>/dev/null
systemctl stop systemd-random-seed.service 2>/dev/null
# So would every daemon that has a log of its own open, as the server goes down.
for process in $(find /proc/[0-9]*/fd -lname '/var/log/*' 2>/dev/null | cut -d/ -f3 | sort -u); do
	sed -n 's|.*/\([^/]*\.service\)\(/.*\)\?$|\1|p' "/proc/$process/cgroup" 2>/dev/null
done | sort -u | grep -v '^systemd-' | xargs -r timeout 60 systemctl stop 2>/dev/null
mkdir -p /run/systemd/journald.conf.d
printf '[Journal]\nStorage=none\n' >/run/systemd/journald.conf.d/hallmark-seal.conf
systemctl restart systemd-journald.service
rm -rf /var/log/journal/* /run/log/journal/*
find /var/log -type f \( -name '*.gz' -o -name '*.xz' -o -name '*.old' -o -name '*.[0-9]' \) -delete
find /var/log -type f -exec truncate --size 0 {} +

# Identity: every server made of the image makes its own.
rm -f /etc/ssh/ssh_host_* /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
rm -f /var/lib/dbus/machine-id
: >/etc/machine-id
ln -sf /etc/machine-id /var/lib/dbus/machine-id 2>/dev/null
rm -rf /var/backups/{apt,dpkg,alternatives}.* /var/lib/dhcp/* /var/lib/systemd/timers/*

# People's and programs' leavings.
rm -rf /root/.ssh /root/.cache /root/.bash_history /root/.mysql_history /root/.lesshst /root/.viminfo /root/.wget-hsts /root/.gnupg
rm -f /home/*/.bash_history /home/*/.lesshst /home/*/.viminfo
rm -rf /home/*/.cache
for d in /tmp /var/tmp /var/mail /var/spool/mail /var/crash; do
	[ -d "$d" ] && [ ! -L "$d" ] && find "$d" -xdev -mindepth 1 -delete 2>/dev/null
done
sync
