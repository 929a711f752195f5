package probe

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var theBoot = time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC)

// onServer and onBastion are by what a server, and the bastion, know Hallmark.
var (
	onServer  = Ours{Bootstrap: "boot", Admin: "admin", Keys: []string{"SHA256:OURS"}, Bastion: "10.0.0.2"}
	onBastion = Ours{Bootstrap: "boot", Admin: "admin", Keys: []string{"SHA256:OURS"}, Servers: []string{"10.0.0.2", "10.0.0.3"}}
)

// lines makes lines of text such as "sshd[3] err: message", one a second. A session stands behind the
// process, or the user that it works as: "sshd[3]@7", "sshd[3]#1000".
func lines(texts ...string) []Line {
	var all []Line
	for i, text := range texts {
		l := Line{Source: "journal", Time: theBoot.Add(time.Duration(i) * time.Second), Priority: 6}
		head, said, _ := strings.Cut(text, ": ")
		head, priority, _ := strings.Cut(head, " ")
		head, l.Session, _ = strings.Cut(head, "@")
		head, user, _ := strings.Cut(head, "#")
		l.uid, _ = strconv.Atoi(user)
		if i := strings.LastIndex(head, "["); i > 0 {
			fmt.Sscanf(head[i:], "[%d]", &l.PID)
			head = head[:i]
		}
		l.Program, l.Message = head, said
		if priority == "err" {
			l.Priority = 3
		}
		if l.Program == logind {
			fmt.Sscanf(said, "New session %s of %d", &l.opened.session, &l.opened.leader)
		}
		all = append(all, l)
	}
	return all
}

// What Hallmark makes a server say is told from the same words of others by the connection that said
// them: its user, its key, where it comes from.
func TestOnlyWhatHallmarkCausedIsExcused(t *testing.T) {
	const race = "pam_env(sshd:session): No such user!?"
	const pipe = "fatal: ssh_packet_send_debug: send DEBUG: Broken pipe"
	const opened, closed = "sshd[5]: pam_unix(sshd:session): session opened for user admin(uid=1000) by (uid=0)", "sshd[5]: pam_unix(sshd:session): session closed for user admin"
	const released = "pam_systemd(sshd:session): Failed to release session: "
	const away = "error: connect_to 10.0.0.3 port 22: failed."
	const usedCode = `Trying to reuse a previously used time-based code ("/var/lib/google-authenticator/admin"). Retry again in 30 seconds. Warning! This might mean, you are currently subject to a man-in-the-middle attack.`
	const tooMany = `Too many concurrent login attempts ("/var/lib/google-authenticator/admin"). Please try again.`
	const wrongCode = "error: PAM: Authentication failure for admin from 203.0.113.9"
	for name, c := range map[string]struct {
		ours  Ours
		lines []string
		want  []string // messages that are found
	}{
		"the bootstrap user's session ends while it is opened": {onServer, []string{
			"sshd[5]: Accepted publickey for boot from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:OURS",
			"sshd[5] err: pam_motd(sshd:session): Unable to drop privileges", "sshd[5] err: " + race,
			"sshd[5] err: error: PAM: pam_open_session(): User not known to the underlying authentication module",
		}, nil},
		"the same words of another user's": {onServer, []string{
			"sshd[5]: Accepted publickey for deploy from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:THEIRS",
			"sshd[5] err: " + race,
			"sshd[5] err: error: PAM: pam_open_session(): User not known to the underlying authentication module",
		}, []string{race, "error: PAM: pam_open_session(): User not known to the underlying authentication module"}},
		"the same words of an admin's": {onServer, []string{
			"sshd[5]: Accepted publickey for admin from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:OURS", "sshd[5] err: " + race,
		}, []string{race}},
		"the same words beside the bootstrap user's": {onServer, []string{
			"sshd[5]: Accepted publickey for boot from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:OURS", "sshd[5] err: " + race,
			"sshd[6]: Accepted publickey for deploy from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:THEIRS", "sshd[6] err: " + race,
		}, []string{race}},
		"a process that has the number of an earlier one": {onServer, append(append([]string{
			"sshd[5]: Accepted publickey for boot from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:OURS",
			"sshd[5]: pam_unix(sshd:session): session closed for user boot",
		}, slices.Repeat([]string{"app: fine"}, 90)...), "sshd[5] err: error: no such thing"), []string{"error: no such thing"}},
		"sudo's trouble in the bootstrap user's session": {onServer, []string{
			"sshd[5]: Accepted publickey for boot from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:OURS",
			"systemd-logind[2]: New session 7 of 5", "sudo[9]@7 err: pam_unix(sudo:session): could not identify user",
			"app[10]@7 err: it broke", // what else runs there is the product
		}, []string{"it broke"}},
		"sudo's trouble in a cron job": {onServer, []string{
			"sudo[9]@8 err: www-data : a password is required ; PWD=/ ; USER=root ; COMMAND=/usr/bin/true",
		}, []string{"www-data : a password is required ; PWD=/ ; USER=root ; COMMAND=/usr/bin/true"}},
		"sudo's trouble in an admin's session": {onServer, []string{
			"sshd[5]: Accepted publickey for admin from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:OURS",
			"systemd-logind[2]: New session 7 of 5", "sudo[9]@7 err: pam_unix(sudo:session): could not identify user",
		}, []string{"pam_unix(sudo:session): could not identify user"}},
		"Hallmark hangs up": {onServer, []string{
			"sshd[5]: Accepted publickey for admin from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:OURS", "sshd[5] err: " + pipe,
		}, nil},
		"another hangs up": {onServer, []string{
			"sshd[5]: Accepted publickey for admin from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:THEIRS", "sshd[5] err: " + pipe,
		}, []string{pipe}},
		"Hallmark hangs up, and the process has gone before journald looks at it": {onBastion, []string{
			"sshd[5]: Accepted keyboard-interactive/pam for admin from 203.0.113.9 port 4000 ssh2", opened, "sshd[6]#1000 err: " + pipe, closed,
		}, nil},
		"another hangs up so": {onBastion, []string{
			"sshd[5]: Accepted keyboard-interactive/pam for admin from 10.0.0.3 port 4000 ssh2", opened, "sshd[6]#1000 err: " + pipe, closed,
		}, []string{pipe}},
		"Hallmark or another hangs up so": {onBastion, []string{
			"sshd[5]: Accepted keyboard-interactive/pam for admin from 203.0.113.9 port 4000 ssh2", opened,
			"sshd[7]: Accepted keyboard-interactive/pam for admin from 10.0.0.3 port 4000 ssh2", strings.Replace(opened, "[5]", "[7]", 1), "sshd[6]#1000 err: " + pipe,
		}, []string{pipe}},
		"such a process of a user whom Hallmark is not": {onBastion, []string{
			"sshd[5]: Accepted keyboard-interactive/pam for admin from 203.0.113.9 port 4000 ssh2", opened, "sshd[6]#1001 err: " + pipe, closed,
		}, []string{pipe}},
		"such a process of root": {onBastion, []string{
			"sshd[5]: Accepted keyboard-interactive/pam for admin from 203.0.113.9 port 4000 ssh2", opened, "sshd[6]#0 err: " + pipe, closed,
		}, []string{pipe}},
		"such a process before Hallmark comes": {onBastion, append(append([]string{"sshd[6]#1000 err: " + pipe}, slices.Repeat([]string{"app: fine"}, 10)...),
			"sshd[5]: Accepted keyboard-interactive/pam for admin from 203.0.113.9 port 4000 ssh2", opened,
		), []string{pipe}},
		"such a process after Hallmark has gone": {onBastion, append(append([]string{
			"sshd[5]: Accepted keyboard-interactive/pam for admin from 203.0.113.9 port 4000 ssh2", opened, closed,
		}, slices.Repeat([]string{"app: fine"}, 10)...), "sshd[6]#1000 err: "+pipe), []string{pipe}},
		"such a process in other trouble": {onBastion, []string{
			"sshd[5]: Accepted keyboard-interactive/pam for admin from 203.0.113.9 port 4000 ssh2", opened, "sshd[6]#1000 err: fatal: " + race, closed,
		}, []string{"fatal: " + race}},
		"such a process of the bootstrap user": {onServer, []string{
			"sshd[5]: Accepted publickey for boot from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:OURS",
			strings.Replace(opened, "admin", "boot", 1), "sshd[6]#1000 err: " + race,
		}, nil},
		"Hallmark hangs up, and sshd is interrupted as it ends the session": {onServer, []string{
			"sshd[5]: Accepted publickey for admin from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:OURS", "sshd[5] err: " + released + "Interrupted system call",
		}, nil},
		"another hangs up so, or logind refuses": {onServer, []string{
			"sshd[5]: Accepted publickey for admin from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:THEIRS", "sshd[5] err: " + released + "Interrupted system call",
			"sshd[6]: Accepted publickey for admin from 10.0.0.2 port 4001 ssh2: ED25519 SHA256:OURS", "sshd[6] err: " + released + "Access denied",
		}, []string{released + "Interrupted system call", released + "Access denied"}},
		"Hallmark asks the bastion for a server that boots": {onBastion, []string{
			"sshd[5]: Accepted keyboard-interactive/pam for admin from 203.0.113.9 port 4000 ssh2",
			"systemd-logind[2]: New session 7 of 5", "sshd[6]@7 err: " + away,
		}, nil},
		"a server asks the bastion for another": {onBastion, []string{
			"sshd[5]: Accepted keyboard-interactive/pam for admin from 10.0.0.3 port 4000 ssh2",
			"systemd-logind[2]: New session 7 of 5", "sshd[6]@7 err: " + away,
		}, []string{away}},
		"Hallmark tries a wrong code": {onBastion, []string{
			"sshd[5] err: " + wrongCode, "sshd[5]: Connection closed by authenticating user admin 203.0.113.9 port 4000 [preauth]",
		}, nil},
		"Hallmark tries a wrong code, and PAM has a process of its own": {onBastion, []string{
			"sshd(pam_google_authenticator)[6] err: Invalid verification code for admin",
			"sshd[5] err: " + wrongCode, "sshd[5]: Connection closed by authenticating user admin 203.0.113.9 port 4000 [preauth]",
		}, nil},
		"Hallmark tries a used code": {onBastion, []string{
			"sshd(pam_google_authenticator)[6] err: " + usedCode, "sshd(pam_google_authenticator)[6] err: Invalid verification code for admin",
			"sshd[5] err: " + wrongCode, "sshd[5]: Connection closed by authenticating user admin 203.0.113.9 port 4000 [preauth]",
		}, nil},
		"another tries a used code": {onBastion, []string{
			"sshd(pam_google_authenticator)[6] err: " + usedCode, "sshd(pam_google_authenticator)[6] err: Invalid verification code for admin",
			"sshd[5]: Connection closed by authenticating user admin 10.0.0.3 port 4000 [preauth]",
		}, []string{usedCode, "Invalid verification code for admin"}},
		"Hallmark is refused for too many attempts": {onBastion, []string{
			"sshd(pam_google_authenticator)[6] err: " + tooMany, "sshd[5] err: " + wrongCode,
			"sshd[5]: Connection closed by authenticating user admin 203.0.113.9 port 4000 [preauth]",
		}, []string{tooMany}},
		"another tries a wrong code, and PAM has a process of its own": {onBastion, []string{
			"sshd(pam_google_authenticator)[6] err: Invalid verification code for admin",
			"sshd[5]: Connection closed by authenticating user admin 10.0.0.3 port 4000 [preauth]",
		}, []string{"Invalid verification code for admin"}},
		"both try a wrong code": {onBastion, []string{
			"sshd(pam_google_authenticator)[6] err: Invalid verification code for admin",
			"sshd[5]: Connection closed by authenticating user admin 203.0.113.9 port 4000 [preauth]",
			"sshd[7]: Connection closed by authenticating user admin 10.0.0.3 port 4000 [preauth]",
		}, []string{"Invalid verification code for admin"}},
		"Hallmark tries more than one login": {onBastion, []string{
			"sshd[4]: Connection closed by authenticating user admin 203.0.113.9 port 3999 [preauth]",
			"sshd(pam_google_authenticator)[6] err: Invalid verification code for admin",
			"sshd[5]: Connection closed by authenticating user admin 203.0.113.9 port 4000 [preauth]",
		}, nil},
		"a wrong code long before Hallmark tries one": {onBastion, append(append([]string{
			"sshd(pam_google_authenticator)[6] err: Invalid verification code for admin"}, slices.Repeat([]string{"app: fine"}, 10)...),
			"sshd[5]: Connection closed by authenticating user admin 203.0.113.9 port 4000 [preauth]",
		), []string{"Invalid verification code for admin"}},
		"a server tries a wrong code": {onBastion, []string{
			"sshd[5] err: error: PAM: Authentication failure for admin from 10.0.0.3", "sshd[5]: Connection closed by authenticating user admin 10.0.0.3 port 4000 [preauth]",
		}, []string{"error: PAM: Authentication failure for admin from 10.0.0.3"}},
		"PAM breaks under Hallmark's login": {onBastion, []string{
			"sshd[5] err: PAM unable to dlopen(pam_google_authenticator.so): cannot open shared object file", "sshd[5]: Connection closed by authenticating user admin 203.0.113.9 port 4000 [preauth]",
		}, []string{"PAM unable to dlopen(pam_google_authenticator.so): cannot open shared object file"}},
		"Hallmark knocks from the bastion": {onServer, []string{
			"sshd[5] err: error: kex_exchange_identification: Connection closed by remote host", "sshd[5]: Connection closed by 10.0.0.2 port 4000",
		}, nil},
		"another server knocks": {onServer, []string{
			"sshd[5] err: error: kex_exchange_identification: Connection closed by remote host", "sshd[5]: Connection closed by 10.0.0.4 port 4000",
		}, []string{"error: kex_exchange_identification: Connection closed by remote host"}},
		"a command of Hallmark's knocks from the server itself": {onServer, []string{
			"sshd[5]: Accepted publickey for admin from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:OURS", "systemd-logind[2]: New session 7 of 5",
			"sudo[9]@7: admin : PWD=/ ; USER=root ; COMMAND=/usr/bin/bash -s -- 'timeout 3 bash -c \\': </dev/tcp/127.0.0.1/22\\''",
			"sshd[6] err: error: kex_exchange_identification: Connection closed by remote host", "sshd[6]: Connection closed by 127.0.0.1 port 4000",
		}, nil},
		"the product knocks from the server itself": {onServer, []string{
			"sudo[9]@7: admin : PWD=/ ; USER=root ; COMMAND=/usr/bin/bash -s -- 'timeout 3 bash -c \\': </dev/tcp/127.0.0.1/22\\''",
			"sshd[6] err: error: kex_exchange_identification: Connection closed by remote host", "sshd[6]: Connection closed by 127.0.0.1 port 4000",
		}, []string{"error: kex_exchange_identification: Connection closed by remote host"}},
	} {
		t.Run(name, func(t *testing.T) {
			// The copies in the syslog file know neither session nor priority.
			written := lines(c.lines...)
			all := slices.Clone(written)
			for _, l := range written {
				l.Source, l.Session, l.Priority, l.opened, l.uid = "syslog", "", 3, login{}, 0
				if slices.ContainsFunc(written, func(other Line) bool { return other.Priority == 3 && other.Message == l.Message }) {
					all = append(all, l)
				}
			}
			got, err := Scan(all, Rules{Ours: c.ours}, "")
			var found []string
			for _, l := range got.Lines {
				found = append(found, l.Message)
			}
			if err != nil || !slices.Equal(found, c.want) {
				t.Errorf("found %q, %v; want %q", found, err, c.want)
			}
			excused := 0
			for _, i := range got.Ignored {
				if excused += i.Lines; i.From != FromHallmark || i.Reason == "" {
					t.Errorf("excused by %+v", i)
				}
			}
			troubled := 0
			for _, l := range written {
				if l.Priority == 3 {
					troubled++
				}
			}
			if excused != troubled-len(c.want) {
				t.Errorf("%d lines were excused of %d", excused, troubled)
			}
		})
	}
}

// Records of a command quote words that are not the system's; their priority counts all the same.
func TestRecordsOfCommandsAreNoMessages(t *testing.T) {
	for name, c := range map[string]struct{ line, want string }{
		"sudo":                     {"sudo[3]: admin : PWD=/ ; USER=root ; COMMAND=/usr/bin/bash -s -- 'echo No space left on device'", ""},
		"the rest of a long one":   {"sudo[3]: admin : (command continued) No space left on device", ""},
		"sudo refuses":             {"sudo[3] err: admin : command not allowed ; PWD=/ ; USER=root ; COMMAND=/bin/df", "priority err or worse"},
		"sudo's own disk":          {"sudo[3]: admin : No space left on device ; PWD=/ ; USER=root ; COMMAND=/bin/df", "disk full"},
		"sudo says so":             {"sudo[3]: write error: No space left on device", "disk full"},
		"cron":                     {"CRON[3]: (root) CMD (grep -q 'segfault at' /var/log/syslog || mail -s 'No space left on device')", ""},
		"cron's own":               {"CRON[3]: (root) MAIL (mailed 10 bytes; but: No space left on device)", "disk full"},
		"output of a cron job":     {"CRON[3]: (root) CMDOUT (No space left on device)", "disk full"},
		"a unit with such a name":  {"systemd[1]: Started watch.service - Tell when No space left on device.", ""},
		"a unit that fails":        {"systemd[1]: Failed to start watch.service - Tell when all is well.", "unit failed to start"},
		"audit":                    {"audit[3]: EXECVE argc=3 a0=\"echo\" a1=\"No space left on device\"", ""},
		"another in sudo's format": {"app[3]: x : COMMAND=y No space left on device", "disk full"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Trouble(lines(c.line)[0]); got != c.want {
				t.Errorf("trouble %q, want %q", got, c.want)
			}
		})
	}
}

// A log that lost messages, or of which almost everything is excused, proves nothing.
func TestWhatProvesNothing(t *testing.T) {
	own := []string{"sshd[5]@7: Accepted publickey for admin from 10.0.0.2 port 4000 ssh2: ED25519 SHA256:OURS", "systemd-logind[2]: New session 7 of 5"}
	for name, c := range map[string]struct {
		lines   []string
		rule    string
		why     string // part; "": all is proved
		product bool
	}{
		"nothing lost":                  {[]string{"app: fine"}, "", "", false},
		"journald limits a rate":        {[]string{"systemd-journald[9]: Suppressed 1000 messages from app.service"}, "", "Suppressed 1000 messages from app.service", true},
		"of Hallmark's own session":     {append(own, "systemd-journald[9]: Suppressed 10 messages from session-7.scope"), "", "session-7.scope", false},
		"the kernel's messages":         {[]string{"systemd-journald[9]: Missed 12 kernel messages"}, "", "Missed 12", false},
		"journald cannot write":         {[]string{"systemd-journald[9]: Failed to write entry (9 items, 300 bytes), ignoring: No space"}, "", "Failed to write", true},
		"rsyslog limits a rate":         {[]string{"rsyslogd: imuxsock lost 4711 messages from pid 77 due to rate-limiting [v8.2302.0]"}, "", "imuxsock lost 4711", true},
		"rsyslog begins to":             {[]string{"rsyslogd: imuxsock[pid: 77, name: /usr/bin/app] from <app:x>: begin to drop messages due to rate-limiting"}, "", "begin to drop", true},
		"imjournal":                     {[]string{"rsyslogd: imjournal: 52 messages lost due to rate-limiting (20000 allowed within 600 seconds)"}, "", "52 messages lost", true},
		"another's words":               {[]string{"app: Suppressed 1000 messages from app.service", "app: imuxsock lost 4711 messages"}, "", "", false},
		"a rule for one chatty program": {manyLines(15, 15), "^app: ", "", false},
		"a rule for almost everything":  {manyLines(99, 1), "^app: ", "excuses 99 % of all lines", true},
		"a short log":                   {manyLines(9, 0), "^app: ", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			all := lines(c.lines...)
			for i := range all {
				if all[i].Session != "" {
					all[i].Unit = "session-" + all[i].Session + ".scope"
				}
			}
			rules := Rules{Ours: onServer}
			if c.rule != "" {
				rules.Ignore = []Ignore{{c.rule, "known"}}
			}
			got, err := Scan(all, rules, "")
			if err != nil {
				t.Fatal(err)
			}
			if c.why == "" {
				if len(got.Unproved) > 0 {
					t.Errorf("unproved: %+v", got.Unproved)
				}
			} else if len(got.Unproved) != 1 || !strings.Contains(got.Unproved[0].Why, c.why) || got.Unproved[0].Product != c.product {
				t.Errorf("unproved: %+v, want %q, the product's: %v", got.Unproved, c.why, c.product)
			}
		})
	}
}

// manyLines is a log with so many different lines of the program app, and of others.
func manyLines(app, others int) []string {
	var all []string
	for i := range app {
		all = append(all, fmt.Sprintf("app: line %d", i))
	}
	for i := range others {
		all = append(all, fmt.Sprintf("other: line %d", i))
	}
	return all
}
