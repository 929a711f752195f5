# Looks whether a server is sealed, as far as it can say so itself; the look at its stopped disk proves it.
# Prints a line "left: …" or "lost: …" for each thing that is wrong and exits 1 if there is any. Needs root.
set -u
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
bad=0
left() { echo "left: $*"; bad=1; }
lost() { echo "lost: $*"; bad=1; }

for f in /etc/hallmark /etc/facter/facts.d/hallmark.json /run/hallmark /var/lib/hallmark/* \
	/etc/ssh/ssh_host_* /etc/apt/apt.conf.d/01hallmark-cache /var/lib/systemd/random-seed /var/lib/systemd/credential.secret \
	/etc/systemd/system/hallmark-deadline.* /etc/systemd/system/*.wants/hallmark-deadline.* \
	/etc/sudoers.d/90-cloud-init-users /var/lib/cloud/* /etc/puppet/ssl /var/cache/puppet/* /var/lib/puppet/* \
	/var/lib/apt/lists/* /var/cache/apt/archives/*.deb /var/cache/apt/*.bin /var/log/journal/* /run/log/journal/* \
	/root/.ssh /root/.*_history /home/*/.*_history /home/*/.ssh/id_* /tmp/* /var/tmp/* /etc/passwd- /etc/shadow-; do
	case $f in
	/var/lib/hallmark/baked) continue ;;
	/var/lib/cloud/scripts | /var/lib/cloud/handlers | /var/lib/cloud/seed)
		[ -z "$(find "$f" -type f 2>/dev/null | head -1)" ] && continue ;;
	esac
	[ -e "$f" ] && left "$f"
done
[ -s /etc/machine-id ] && left "/etc/machine-id: $(cat /etc/machine-id)"
find /var/log -type f -size +0c 2>/dev/null | while read -r f; do echo "left: $f"; done | grep . && bad=1
grep -q '^hallmark-bootstrap:' /etc/passwd && left "user hallmark-bootstrap"
[ -d /home/hallmark-bootstrap ] && left /home/hallmark-bootstrap
if grep -rlsE 'BEGIN [A-Z ]*PRIVATE KEY' /etc/ssh /root /home /opt/hallmark 2>/dev/null; then left "private keys"; fi
if grep -rlsE 'hallmark-bootstrap|^secret::' /etc /root /home /var/lib/cloud /var/lib/hallmark /var/log 2>/dev/null; then
	left "names of the bootstrap user or secrets in these files"
fi

[ -x /usr/local/sbin/hallmark-provision ] || lost /usr/local/sbin/hallmark-provision
systemctl is-enabled -q hallmark-provision.service || lost "hallmark-provision.service is not enabled"
commit=$(cat /var/lib/hallmark/baked 2>/dev/null)
[ -n "$commit" ] && [ -r "/opt/hallmark/product/$commit/puppet/manifests/site.pp" ] || lost "code of commit '$commit'"
exit $bad
