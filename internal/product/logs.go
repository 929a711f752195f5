package product

import (
	"fmt"
	"regexp"

	"github.com/hallmark-ci/hallmark/internal/config"
)

// unrelated are troubled lines of many programs, as the scan of logs matches rules against them (program,
// colon, message). They have nothing in common, so a rule that matches many of them names none.
var unrelated = []string{
	`kernel: EXT4-fs error (device sdb1): ext4_lookup:1785: inode #262146: comm tar: deleted inode referenced: 262183`,
	`kernel: Out of memory: Killed process 4121 (php-fpm8.2) total-vm:812344kB, anon-rss:401232kB, file-rss:0kB`,
	`kernel: blk_update_request: I/O error, dev sdc, sector 8392704 op 0x0:(READ) flags 0x80700`,
	`systemd: Failed to start nginx.service - A high performance web server and a reverse proxy server.`,
	`systemd: mariadb.service: Main process exited, code=killed, status=6/ABRT`,
	`systemd: Dependency failed for var-lib-mysql.mount - Data of the database.`,
	`systemd-udevd: sdb: Process '/usr/bin/false' failed with exit code 1.`,
	`systemd-resolved: Using degraded feature set TCP instead of UDP for DNS server 192.0.2.53.`,
	`systemd-networkd: eth0: Could not set route: Network is unreachable`,
	`systemd-logind: Failed to abandon session scope, ignoring: Transport endpoint is not connected`,
	`systemd-coredump: Process 911 (memcached) of user 114 dumped core.`,
	`sshd: error: kex_exchange_identification: Connection closed by remote host`,
	`sshd: fatal: Timeout before authentication for 198.51.100.20 port 51122`,
	`sshd: error: PAM: Authentication failure for deploy from 203.0.113.9`,
	`sudo: pam_unix(sudo:auth): conversation failed`,
	`cron: (root) CAN'T OPEN SYMLINK (/etc/cron.d/backup)`,
	`CRON: pam_env(cron:session): Unable to open env file: /etc/default/locale: No such file or directory`,
	`rsyslogd: omfwd: remote server at 192.0.2.14:514 seems to have closed connection [v8.2302.0]`,
	`rsyslogd: imjournal: 2182 messages lost due to rate-limiting (600 allowed within 300 seconds)`,
	`nginx: 2026/03/02 09:15:01 [crit] 812#812: *1 open() "/var/www/a.html" failed (13: Permission denied)`,
	`nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)`,
	`apache2: AH00558: could not reliably determine the server's fully qualified domain name`,
	`haproxy: Server app/web-2 is DOWN, reason: Layer4 connection problem, info: "Connection refused"`,
	`varnishd: Child (2210) died signal=11`,
	`php-fpm: PHP Fatal error:  Uncaught Error: Call to undefined function mb_strlen() in /srv/a.php:7`,
	`mariadbd: [ERROR] InnoDB: Operating system error number 28 in a file operation.`,
	`mariadbd: [ERROR] Slave SQL: Could not execute Write_rows event on table shop.orders; Duplicate entry '7'`,
	`postgres: FATAL:  password authentication failed for user "app"`,
	`postgres: PANIC:  could not locate a valid checkpoint record`,
	`redis-server: Can't save in background: fork: Cannot allocate memory`,
	`memcached: failed to listen on TCP port 11211: Address already in use`,
	`rabbitmq-server: closing AMQP connection <0.912.0> (10.0.0.4:41022 -> 10.0.0.5:5672): missed heartbeats`,
	`java: Exception in thread "main" java.lang.OutOfMemoryError: Java heap space`,
	`gunicorn: Traceback (most recent call last):`,
	`puma: /srv/app/config/boot.rb:3:in 'require': cannot load such file -- bundler (LoadError)`,
	`node: UnhandledPromiseRejectionWarning: TypeError: undefined is not a function`,
	`dockerd: level=error msg="Handler for POST /containers/create returned an error: no such image"`,
	`postfix/smtp: warning: SASL authentication failure: No worthy mechs found`,
	`dovecot: imap-login: Error: SSL handshake: wrong version number`,
	`named: client @0x7f2c 192.0.2.7#53044 (example.org): query (cache) denied`,
	`chronyd: System clock wrong by 13.254883 seconds`,
	`ntpd: no reply received within maxtime`,
	`smartd: Device: /dev/sda [SAT], 8 Currently unreadable (pending) sectors`,
	`mdadm: DegradedArray event detected on md device /dev/md/0`,
	`multipathd: sdd: checker msg is "tur checker reports path is down"`,
	`dhclient: No DHCPOFFERS received.`,
	`snmpd: /etc/snmp/snmpd.conf: line 12: unknown configuration token: rocomunity`,
	`puppet-agent: Could not retrieve catalog from remote server: execution expired`,
	`keepalived: (VI_1) Receive advertisement timeout`,
	`slapd: conn=1003 op=2 do_search: invalid dn (ou=people;dc=example)`,
}

// mostExcused is how many of these lines a rule for one kind of harmless line may match. More than this share
// no program and no subject.
const mostExcused = 5

func (l *fileLogRule) Check(at config.Place) {
	const remedy = "name the harmless line more narrowly: its program, and the words that only it has"
	rule, err := regexp.Compile(l.Match)
	switch {
	case err != nil:
		at.Problem("match", fmt.Sprintf("%q is no regular expression: %v", l.Match, err), "see the syntax of Go's regexp")
	case rule.MatchString(""):
		at.Problem("match", fmt.Sprintf("%q matches every line", l.Match), remedy)
	default:
		matched := 0
		for _, line := range unrelated {
			if rule.MatchString(line) {
				matched++
			}
		}
		if matched > mostExcused {
			at.Problem("match", fmt.Sprintf("%q matches %d of %d lines that have nothing in common, so it would excuse real trouble", l.Match, matched, len(unrelated)), remedy)
		}
	}
	filled(at, "reason", l.Reason)
}
