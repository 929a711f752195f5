#!/usr/bin/env bash
# Makes a Debian 12 machine a host for Hallmark: Incus with a storage pool, and a package cache that
# servers reach although everything else is closed to them. Called by `make host`; running it again
# changes nothing. It works with systemd and without, and after everything was killed.
#
#   setup.sh                      all of it
#   setup.sh cache ADDRESS:PORT   only the package cache, at an address that this machine has: where servers
#                                 are not this machine's own, as on EC2
#
# What it owns, and all that it changes:
#   packages      those listed below that are missing (Incus from backports, see README.md)
#   lxcfs, Incus  started if they are not running; nothing in Incus but the pool `hallmark`
#   hallmark0     an interface that belongs to nobody else, 10.90.0.1/24, where the cache listens
#   cache         apt-cacher-ng with its own configuration (/etc/hallmark), data and log
#   kernel        limits that would stop a dozen servers: raised if lower, never lowered
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

PACKAGES=(
	apt-cacher-ng                                             # the package cache
	git puppet-agent puppet-lint bubblewrap                   # products and their checks
)
SERVER_PACKAGES=(
	lxcfs dnsmasq-base btrfs-progs uidmap nftables iproute2   # servers
	procps                                                    # this script
	mmdebstrap zstd                                           # the reference base
	python3-venv                                              # tests: make moto
	incus-base incus-client                                   # in backports only
)

readonly POOL=hallmark
readonly POOL_GIB=30 POOL_SPARE_GIB=5 NEED_DISK_GIB=15 NEED_MEMORY_MIB=3500
readonly LINK=hallmark0
readonly NEED_IDS=6553600 SUBIDS=${SUBIDS:-/etc/sub} # /etc/subuid and /etc/subgid
CACHE_ADDRESS=10.90.0.1 CACHE_PORT=3142 # where all of it is set up
readonly ETC=/etc/hallmark LOGS=/var/log/hallmark STATE=/var/lib/hallmark RUN=/run/hallmark
readonly CACHE_ETC=$ETC/apt-cacher-ng CACHE_DATA=/var/cache/hallmark/apt CACHE_PID=$RUN/apt-cacher-ng/pid
readonly INCUS_SOCKET=/var/lib/incus/unix.socket INCUSD=/usr/libexec/incus/incusd
readonly HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The client writes its own files somewhere; not into the home of whoever runs this.
export INCUS_CONF=$STATE/incus-client

say() { printf 'host: %-9s %s\n' "$1" "$2"; }
die() {
	printf 'host: %-9s %s\n' "$1" "$2" >&2
	exit 1
}
with_systemd() { [ -d /run/systemd/system ]; }

# check_machine refuses what cannot work before anything is changed.
check_machine() {
	[ "$(id -u)" = 0 ] || die root 'this needs root: it installs packages and starts Incus. Use: sudo make host'
	local id version
	id=$(. /etc/os-release && echo "$ID") version=$(. /etc/os-release && echo "${VERSION_ID:-}")
	[ "$id $version" = 'debian 12' ] || die system "this needs Debian 12; here is $id $version"
	cache_only || check_room
}

cache_only() { [ ${#SERVER_PACKAGES[@]} = 0 ]; }

# check_room is about what servers need.
check_room() {
	local memory
	memory=$(($(awk '/^MemTotal:/ {print $2}' /proc/meminfo) / 1024))
	[ "$memory" -ge "$NEED_MEMORY_MIB" ] ||
		die memory "$memory MiB; an environment of a few servers needs $NEED_MEMORY_MIB MiB"
	if [ ! -e /var/lib/incus/disks/$POOL.img ]; then # what exists has its place already
		local disk
		disk=$(free_gib)
		[ "$disk" -ge "$NEED_DISK_GIB" ] ||
			die disk "$disk GiB free under /var/lib; images and servers need $NEED_DISK_GIB GiB. Free some, or mount a bigger disk at /var/lib/incus"
		say machine "Debian 12, $memory MiB of memory, $disk GiB of disk free"
	else
		say machine "Debian 12, $memory MiB of memory"
	fi
}

free_gib() {
	local dir=/var/lib/incus
	[ -d $dir ] || dir=/var/lib
	echo $(($(df --output=avail -k "$dir" | tail -1) / 1024 / 1024))
}

# debian_sources prints "URI suite component" for each of the machine's own sources of Debian 12,
# whichever way they are written: apt itself reads them. Backports and others' archives are left out.
# Release files say that "stable" is bookworm, and whose an archive is; before the first update there
# are none, and the sources' own words must do.
debian_sources() {
	local all
	all=$(targets | debian_only)
	[ -n "$all" ] || all=$(targets --no-release-info | debian_only)
	echo "$all"
}

targets() {
	apt-get indextargets "$@" --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(CODENAME) $(ORIGIN)' 'Created-By: Packages'
}

debian_only() {
	local uri release component codename origin
	while read -r uri release component codename origin; do
		case $codename in bookworm*) ;; *) codename=$release ;; esac
		case $codename in bookworm | bookworm-updates | bookworm-security) ;; *) continue ;; esac
		case $origin in Debian | '$(ORIGIN)' | '') ;; *) continue ;; esac
		uri=$(mirror_of "$uri")
		case $uri in http://* | https://*) echo "${uri%/} $codename $component" ;; esac
	done | sort -u
}

# mirror_of gives the first mirror of a mirror list kept in a file, as Debian's cloud images have it.
mirror_of() {
	case $1 in
	mirror+file:*)
		local list=${1#mirror+file:}
		while [[ $list == //* ]]; do list=${list#/}; done
		grep -m1 -oE '^https?://[^[:space:]]+' "${list%/}" || true
		;;
	*) echo "$1" ;;
	esac
}

missing() {
	local have
	have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | awk '$2 == "installed" {print $1}') || true
	local p
	for p in "$@"; do grep -qx -- "$p" <<<"$have" || echo "$p"; done
}

install_packages() {
	local want
	mapfile -t want < <(missing "${PACKAGES[@]}" "${SERVER_PACKAGES[@]}")
	if [ ${#want[@]} = 0 ]; then
		say packages 'all installed'
		return
	fi
	say packages "install ${want[*]}"
	update
	if [[ " ${want[*]} " == *' incus-'* ]] && [[ $(targets --no-release-info) != *' bookworm-backports '* ]]; then
		local main
		main=$(awk '$2 == "bookworm" && $3 == "main" {print $1; exit}' <<<"$SOURCES")
		say packages 'add backports of the same mirror: /etc/apt/sources.list.d/hallmark-backports.sources'
		printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
			"$main" >/etc/apt/sources.list.d/hallmark-backports.sources
		update
	fi
	# Nothing is started while packages are unpacked: an apt-cacher-ng open to the world, for one.
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		trap 'rm -f /usr/sbin/policy-rc.d' EXIT
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
		chmod 755 /usr/sbin/policy-rc.d
	fi
	apt_get install "${want[@]}"
	SOURCES=$(debian_sources) # the update may have told more
	local service
	for service in apt-cacher-ng puppet; do # brought by us, wanted by nobody as a service of its own
		if [[ " ${want[*]} " == *" $service"[\ -]* ]]; then
			if with_systemd; then systemctl disable --quiet $service 2>/dev/null || true; else update-rc.d $service disable >/dev/null 2>&1 || true; fi
		fi
	done
}

# update reads the mirrors' lists anew. One archive out of reach need not matter; installing will tell.
update() { (apt_get update) || say packages 'go on with the lists that could be read'; }

apt_get() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
		-o Dpkg::Options::=--force-confold "$@" >"$LOGS/apt.log" 2>&1 9>&- ||
		{ tail -n 20 "$LOGS/apt.log" >&2; die packages "apt-get $1 went wrong; all of it is in $LOGS/apt.log"; }
}

# background starts a daemon that outlives us and holds nothing of ours: no terminal, no lock, no pipe of make's.
background() {
	local log=$1
	shift
	setsid --fork env -i PATH="$PATH" HOME=/root LC_ALL=C.UTF-8 "$@" </dev/null >>"$log" 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
}

# until_true tries a command ten times a second for some seconds.
until_true() {
	local tries=$(($1 * 10))
	shift
	until "$@"; do
		[ $((tries--)) -gt 0 ] || return 1
		sleep 0.1
	done
}

# raise sets a kernel limit that is lower than needed.
raise() {
	local file=/proc/sys/${1//.//}
	if [ -e "$file" ] && [ "$(<"$file")" -lt "$2" ]; then
		echo "$2" >"$file" 2>/dev/null || { say kernel "$1 is $(<"$file"), should be $2, and cannot be changed here"; return; }
		say kernel "$1 = $2"
		if with_systemd; then echo "$1 = $2" >>/etc/sysctl.d/60-hallmark.conf; fi
	fi
}

lxcfs_answers() { timeout 2 head -c1 /var/lib/lxcfs/proc/uptime >/dev/null 2>&1; }

start_lxcfs() {
	if lxcfs_answers; then
		say lxcfs running
		return
	fi
	if mountpoint -q /var/lib/lxcfs || grep -q ' /var/lib/lxcfs ' /proc/mounts; then
		say lxcfs 'clear the mount of one that was killed'
		umount -l /var/lib/lxcfs
	fi
	if with_systemd && [ "$(systemd-detect-virt --container)" = none ]; then
		systemctl restart lxcfs
	else # its unit refuses to start in a container
		background $LOGS/lxcfs.log lxcfs /var/lib/lxcfs
	fi
	until_true 10 lxcfs_answers || die lxcfs "does not answer; see $LOGS/lxcfs.log or journalctl -u lxcfs"
	say lxcfs started
}

# A container's monitor has the daemon's program, and survives it.
incusd_runs() { pgrep -f "^$INCUSD( --|\$)" >/dev/null; }

incus_answers() { [ -S $INCUS_SOCKET ] && timeout 5 incus query /1.0 >/dev/null 2>&1; }

# give_ids sees to it that there is a range of user and group ids for each server.
give_ids() {
	local name most
	for name in uid gid; do
		most=$(awk -F: '$1 == "root" && $3 > most {most = $3} END {print most + 0}' "$SUBIDS$name" 2>/dev/null) || most=0
		if [ "$most" = 0 ]; then
			say incus "give root a range in $SUBIDS$name"
			echo root:1000000:1000000000 >>"$SUBIDS$name"
		elif [ "$most" -lt "$NEED_IDS" ]; then
			die ids "$SUBIDS$name gives root $most ids; each server takes 65536, and a hundred of them $NEED_IDS. Make the range of root larger there (root:1000000:1000000000, if no other line there overlaps it), and restart Incus"
		fi
	done
}

start_incus() {
	give_ids
	if incus_answers; then
		say incus running
	else
		if with_systemd; then
			systemctl start incus.service
		else
			grep -q ' /sys/fs/cgroup' /proc/mounts || die incus 'no control groups: mount cgroup2 at /sys/fs/cgroup'
			incusd_runs || background $LOGS/incusd.log $INCUSD --group incus-admin
		fi
		timeout 120 $INCUSD waitready --timeout 110 9>&- ||
			die incus "is not ready after 110 s; see $LOGS/incusd.log or journalctl -u incus"
		say incus started
	fi
	if with_systemd; then systemctl is-enabled --quiet incus.service incus-startup.service 2>/dev/null || systemctl enable --quiet incus.service incus-startup.service; fi
	local state
	if state=$(incus query /1.0/storage-pools/$POOL 2>/dev/null); then
		grep -q '"status": *"Created"' <<<"$state" || die pool "$POOL exists, but Incus cannot use it: incus storage info $POOL"
		say pool "$POOL is there"
		return
	fi
	local size=$(($(free_gib) - POOL_SPARE_GIB))
	[ $size -le $POOL_GIB ] || size=$POOL_GIB
	incus storage create $POOL btrfs size=${size}GiB >/dev/null 9>&- ||
		die pool "Incus cannot create $POOL (btrfs, $size GiB); the reason is above"
	say pool "$POOL created: btrfs in a sparse file, up to $size GiB"
}

start_link() {
	if ip -o -4 address show dev $LINK 2>/dev/null | grep -q " $CACHE_ADDRESS/"; then
		say network "$LINK has $CACHE_ADDRESS"
	else
		sh "$HERE/link.sh" $LINK $CACHE_ADDRESS/24
		say network "$LINK made, $CACHE_ADDRESS"
	fi
}

# cache_config prints a configuration that serves the mirrors of $SOURCES and refuses all others.
cache_config() {
	cat <<-END
		# Written by Hallmark's configs/host/setup.sh at every run: changes are lost.
		CacheDir: $CACHE_DATA
		LogDir: $LOGS/apt-cacher-ng
		SupportDir: /usr/lib/apt-cacher-ng
		BindAddress: $CACHE_ADDRESS
		Port: $CACHE_PORT
		PidFile: $CACHE_PID
		VerboseLog: 0
		ExThreshold: 4
		# Only what a Remap line below names is fetched; all else is answered with 403: no other host or port, no
		# redirection to one, no tunnel (by default there is one to bugs.debian.org), no forwarded bug reports.
		ForceManaged: 1
		AllowUserPorts: $(cut -d' ' -f1 <<<"$SOURCES" | sed -nE 's|^http://[^/]*:([0-9]+)(/.*)?$|\1|p; s|^http://[^/:]*(/.*)?$|80|p; s|^https://.*|80|p' | sort -un | xargs)
		RedirMax: 0
		PassThroughPattern: ^-$
		ForwardBtsSoap: 0
		# Of the mirrors, only indices and packages, without a query.
		VfilePattern: ^([^?%]*/)?dists/[^?%]+/(InRelease|Release|Release\.gpg|(Packages|Sources|Contents-[a-z0-9-]+|Translation-[A-Za-z_]+|Components-[a-z0-9-]+\.yml|icons-[0-9x@]+\.tar)(\.(gz|bz2|xz|lzma|zst))?|(Packages|Sources|Contents-[a-z0-9-]+|Translation-[A-Za-z_]+)\.diff/Index)$
		PfilePattern: ^([^?%]*/)?(pool/[^?]+\.(deb|udeb|dsc|(tar|diff)(\.(gz|bz2|xz|lzma|zst))?(\.asc)?)|dists/[^?%]+/by-hash/(MD5Sum|SHA1|SHA256|SHA512)/[0-9a-f]+|dists/[^?%]+\.diff/[^/?%]+\.gz)$
		SPfilePattern: ^-$
		SVfilePattern: ^-$
	END
	local proxy='' n=0 uri
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	proxy=${proxy:-${http_proxy:-}}
	case $proxy in '' | DIRECT) ;; *) echo "Proxy: ${proxy%/}" ;; esac
	# Servers ask by plain HTTP in any case (signatures protect packages); the cache asks as the machine does.
	while read -r uri; do
		n=$((n + 1))
		echo "Remap-hallmark$n: http://${uri#*://} ; $uri"
	done < <(cut -d' ' -f1 <<<"$SOURCES" | sort -u)
}

cache_answers() { (exec 3<>/dev/tcp/$CACHE_ADDRESS/$CACHE_PORT) 2>/dev/null; }

cache_running() {
	local pid
	pid=$(cat $CACHE_PID 2>/dev/null) && [ -n "$pid" ] &&
		grep -qzx -- "$CACHE_ETC" "/proc/$pid/cmdline" 2>/dev/null && cache_answers
}

# put writes standard input to a file if that changes it; true if it did.
put() {
	cat >"$1.new"
	if cmp -s "$1.new" "$1"; then
		rm "$1.new"
		return 1
	fi
	mv "$1.new" "$1"
}

start_cache() {
	local changed=no
	mkdir -p $CACHE_ETC $CACHE_DATA $LOGS/apt-cacher-ng $RUN/apt-cacher-ng
	chown apt-cacher-ng: $CACHE_DATA $LOGS/apt-cacher-ng $RUN/apt-cacher-ng
	if cache_config | put $CACHE_ETC/acng.conf; then changed=yes; fi
	chown root:apt-cacher-ng $CACHE_ETC/acng.conf && chmod 640 $CACHE_ETC/acng.conf # a proxy's password
	if with_systemd; then
		local unit
		local units=(hallmark-link hallmark-cache)
		if cache_only; then units=(hallmark-cache); fi
		for unit in "${units[@]}"; do
			if sed "s|@LINK@|$LINK $CACHE_ADDRESS/24|; s|@ETC@|$CACHE_ETC|; s|@DATA@|$CACHE_DATA|" "$HERE/$unit.service" |
				put /etc/systemd/system/$unit.service; then changed=yes; fi
		done
		if put $STATE/link.sh <"$HERE/link.sh"; then changed=yes; fi
	fi
	if [ $changed = no ] && cache_running; then
		say cache "running at http://$CACHE_ADDRESS:$CACHE_PORT"
		return
	fi
	if with_systemd; then
		systemctl daemon-reload
		systemctl enable --quiet "${units[@]}"
		systemctl restart "${units[@]}"
	else
		if cache_running; then kill "$(<$CACHE_PID)" && until_true 10 cache_gone; fi
		! cache_answers || die cache "another program has port $CACHE_PORT on $CACHE_ADDRESS: ss -lntp 'sport = :$CACHE_PORT'"
		rm -f $CACHE_PID
		background $LOGS/apt-cacher-ng.log setpriv --reuid apt-cacher-ng --regid apt-cacher-ng --init-groups \
			/usr/sbin/apt-cacher-ng -c $CACHE_ETC ForeGround=1
	fi
	until_true 10 cache_running || die cache "does not answer; see $LOGS/apt-cacher-ng.log or journalctl -u hallmark-cache"
	say cache "started at http://$CACHE_ADDRESS:$CACHE_PORT, for $(grep -c ^Remap- $CACHE_ETC/acng.conf) mirror(s) of this machine's apt sources"
}

cache_gone() { ! cache_answers; }

# cache_at makes the cache at one of this machine's own addresses the whole job.
cache_at() {
	[[ $1 =~ ^([0-9.]+):([0-9]+)$ ]] || die usage "where is the cache to listen? setup.sh cache ADDRESS:PORT, as in 10.20.1.10:3142"
	CACHE_ADDRESS=${BASH_REMATCH[1]} CACHE_PORT=${BASH_REMATCH[2]} SERVER_PACKAGES=()
	[[ " $(hostname -I) " == *" $CACHE_ADDRESS "* ]] || die cache "this machine does not have the address $CACHE_ADDRESS; it has: $(hostname -I)"
}

main() {
	case ${1:-} in
	'') ;;
	cache) cache_at "${2:-}" ;;
	*) die usage "$1 is nothing that setup.sh does: give nothing, or cache ADDRESS:PORT" ;;
	esac
	check_machine
	mkdir -p $ETC $LOGS $STATE $RUN
	chmod go-rwx $STATE # hallmark's own state, too
	exec 9>$RUN/host.lock # one at a time
	flock 9
	SOURCES=$(debian_sources)
	if [ -z "$SOURCES" ]; then # written as "stable", say, and never updated: apt does not know yet what that is
		update
		SOURCES=$(debian_sources)
	fi
	grep -q ' bookworm main$' <<<"$SOURCES" ||
		die sources 'no HTTP source of Debian 12 (bookworm, main) in /etc/apt: servers would have nowhere to get packages from'
	install_packages
	if cache_only; then
		start_cache
		say ready "servers get packages at $CACHE_ADDRESS:$CACHE_PORT"
		return
	fi
	raise fs.inotify.max_user_instances 1024
	raise fs.inotify.max_user_watches 524288
	raise kernel.keys.maxkeys 2000
	raise kernel.keys.maxbytes 2000000
	start_lxcfs
	start_incus
	start_link
	start_cache
	# What servers are to put into their own apt sources, through the cache; internal/base reads it.
	sed -E 's|^https?://([^ ]+) (.*)$|deb http://\1 \2|' <<<"$SOURCES" | put $ETC/debian.list || true
	say ready 'servers can be launched'
}

main "$@"
