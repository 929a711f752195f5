package probe

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Ours says by what a server knows Hallmark.
type Ours struct {
	Bootstrap string   `json:"bootstrap"` // a user that Hallmark makes, uses alone, and removes
	Admin     string   `json:"admin"`
	Keys      []string `json:"keys"`    // fingerprints of keys that Hallmark alone holds, as sshd writes them: SHA256:…
	Bastion   string   `json:"bastion"` // address from which Hallmark comes to the other servers
	// Servers are the addresses of the environment's servers, on its bastion: a connection from elsewhere
	// is Hallmark's, for the network lets nobody else in. Empty on the other servers.
	Servers []string `json:"servers"`
}

// connection is one connection to sshd, as all lines of its processes tell it.
type connection struct {
	user     string
	address  string
	key      string
	accepted bool
	begun    time.Time
	last     time.Time
	ended    bool
	uid      int           // of the user, once its session is open
	parts    []*connection // of a process that is known by its user alone: the connections that it may be a part of
}

// all reports whether something holds for a connection: of a process that is known by its user alone, for
// every connection that it may be a part of.
func (c *connection) all(holds func(*connection) bool) bool {
	if len(c.parts) == 0 {
		return holds(c)
	}
	return !slices.ContainsFunc(c.parts, func(c *connection) bool { return !holds(c) })
}

var (
	acceptedLine = regexp.MustCompile(`^Accepted \S+ for (\S+) from (\S+) port \d+(?:.*\b(SHA256:\S+))?`)
	// sshd's other lines on a connection; a name that no user has follows "invalid user".
	userLine  = regexp.MustCompile(`\b(?:for|user) (?:(?:invalid|illegal|authenticating) user )?(\S+) (?:from )?([0-9a-fA-F.:]*[.:][0-9a-fA-F.:]+)(?: port \d+)?`)
	plainLine = regexp.MustCompile(`\b(?:from|by|with) ([0-9a-fA-F.:]*[.:][0-9a-fA-F.:]+) port \d+`)
	openLine  = regexp.MustCompile(`session opened for user \S+?\(uid=(\d+)\)`)
	endLine   = regexp.MustCompile(`^(Connection (closed|reset) by|Disconnected from) |session closed for user `)
)

// isSSHD also takes the modules that PAM loads into it, which log as "sshd(pam_…)".
func isSSHD(program string) bool {
	name, _, _ := strings.Cut(program, "(")
	return name == "sshd" || name == "sshd-session" || name == "sshd-auth"
}

// later is how long after the end of a connection a line of a process with its number may still be
// its own: numbers are given again.
const later = time.Minute

// learn takes from a line of sshd what it says about the connection.
func (c *connection) learn(l Line) {
	if c.begun.IsZero() {
		c.begun = l.Time
	}
	c.last = l.Time
	if m := acceptedLine.FindStringSubmatch(l.Message); m != nil {
		c.user, c.address, c.key, c.accepted = m[1], m[2], m[3], true
		return
	}
	if m := userLine.FindStringSubmatch(l.Message); m != nil && !c.accepted {
		c.user, c.address = m[1], m[2]
	} else if m := plainLine.FindStringSubmatch(l.Message); m != nil && c.address == "" {
		c.address = m[1]
	}
	if m := openLine.FindStringSubmatch(l.Message); m != nil {
		c.uid, _ = strconv.Atoi(m[1])
	}
	c.ended = c.ended || endLine.MatchString(l.Message)
}

// connections finds for each line the connection to sshd that it belongs to: by the process that
// wrote it, or by the login session that logind opened for such a process. Lines are in order of time.
func connections(lines []Line) []*connection {
	of := make([]*connection, len(lines))
	leaders := make(map[string]int) // session → process
	for _, l := range lines {
		if l.opened.leader > 0 {
			leaders[l.opened.session] = l.opened.leader
		}
	}
	processes := make(map[int]*connection)
	sessions := make(map[string]*connection)
	for i, l := range lines {
		if !isSSHD(l.Program) || l.PID == 0 {
			continue
		}
		c := processes[l.PID]
		if c != nil && c.ended && l.Time.Sub(c.last) > later {
			c = nil
		}
		if leader := leaders[l.Session]; c == nil && leader > 0 && leader != l.PID {
			c = processes[leader] // the process that works for the user, forked by the one that let it in
		}
		if c == nil {
			c = new(connection)
		}
		processes[l.PID], of[i] = c, c
		c.learn(l)
		if leaders[l.Session] == l.PID {
			sessions[l.Session] = c
		}
	}
	for session, leader := range leaders {
		if sessions[session] == nil {
			sessions[session] = processes[leader]
		}
	}
	for i, l := range lines {
		if c := of[i]; c != nil && c.user == "" && c.address == "" && len(c.parts) == 0 {
			c.parts = wholes(l, of)
		}
	}
	// sudo and its like on behalf of a session; a syslog file tells it only by the process.
	type process struct {
		program string
		pid     int
	}
	for i, l := range lines {
		if of[i] == nil && l.Session != "" {
			of[i] = sessions[l.Session]
		}
	}
	known := make(map[process]int) // line
	for i, l := range lines {
		if of[i] != nil {
			known[process{l.Program, l.PID}] = i
		} else if k, ok := known[process{l.Program, l.PID}]; ok && l.Source == "syslog" && l.Time.Sub(lines[k].Time).Abs() < later {
			of[i] = of[k]
		}
	}
	return of
}

// helperLine is what a module of PAM says in a process of its own, which asks for a code: of the
// connection that process knows the user only.
var helperLine = regexp.MustCompile(` for (\S+)$`)

// partTime is how far such a line and those of its connection may be apart: PAM delays a refusal.
const partTime = 5 * time.Second

// wholes finds the connections that the process of a line may be a part of: for a module of PAM, the
// user's that log in at that time. For one that works as a user, the user's that go on: journald finds a
// process's session only while the process lives, and one whose client hangs up may say that as its last.
func wholes(l Line, of []*connection) []*connection {
	m := helperLine.FindStringSubmatch(l.Message)
	var found []*connection
	for _, c := range of {
		if c == nil || slices.Contains(found, c) || l.Time.Before(c.begun.Add(-partTime)) {
			continue
		}
		logsIn := m != nil && c.user == m[1] && !c.accepted && !l.Time.After(c.last.Add(partTime))
		goesOn := l.uid != 0 && c.uid == l.uid && (!c.ended || !l.Time.After(c.last.Add(partTime)))
		if logsIn || goesOn {
			found = append(found, c)
		}
	}
	return found
}

// caused are the troubles that a client makes for an sshd that is well, on connections that are its own.
var caused = []struct {
	re     *regexp.Regexp
	login  bool // only while it logs in
	reason string
}{
	{regexp.MustCompile(`^error: connect_to \S+ port 22: failed`), false, "Hallmark asked the bastion for a server that was away, as while it boots"},
	{regexp.MustCompile(`(Broken pipe|Connection reset by peer|Connection closed by remote host|Connection timed out|Timeout, client not responding|Timeout before authentication)`),
		false, "Hallmark ended a connection of its own, as when it knocks or is killed"},
	// sshd's own signals as it ends a session (systemd issue 18817).
	{regexp.MustCompile(`^pam_systemd\(sshd:session\): Failed to release session: Interrupted system call$`), false, "Hallmark ended a connection of its own, which interrupted what sshd told logind"},
	{regexp.MustCompile(`^(fatal|error): (userauth|kex|ssh_dispatch_run|banner)\w*.*(closed|reset|timed out)`), true, "Hallmark ended a connection of its own, as when it knocks or is killed"},
	{regexp.MustCompile(`^error: PAM: Authentication failure for |[Ii]nvalid verification code|^Trying to reuse a previously used time-based code|^error: maximum authentication attempts exceeded`),
		true, "Hallmark tried a login that ought to be refused"},
}

// bootstrapReason excuses all that sshd, PAM, sudo and logind say about the user that only Hallmark has.
const bootstrapReason = "a session of the bootstrap user, which is Hallmark's alone"

// excuse says why a troubled line of a connection is Hallmark's doing; "" if it is not, or not certainly.
// For the admin's connections it takes both: the connection is Hallmark's, and the trouble is one that a
// client makes. What else goes wrong on them is the product's: it is how admins come in.
func (o Ours) excuse(l Line, c *connection, knocked bool) string {
	program, _, _ := strings.Cut(l.Program, "(")
	if c == nil || !isSSHD(l.Program) && program != "sudo" && program != logind {
		return ""
	}
	if o.Bootstrap != "" && c.all(func(c *connection) bool { return c.user == o.Bootstrap }) {
		return bootstrapReason
	}
	if !isSSHD(l.Program) || !knocked && !o.made(c) {
		return ""
	}
	for _, trouble := range caused {
		if trouble.re.MatchString(l.Message) && (!trouble.login || c.all(func(c *connection) bool { return !c.accepted })) {
			return trouble.reason
		}
	}
	return ""
}

// made reports whether a connection is Hallmark's.
func (o Ours) made(c *connection) bool {
	switch {
	case len(c.parts) > 0:
		return c.all(o.made)
	case c.key != "":
		return slices.Contains(o.Keys, c.key)
	case len(o.Servers) > 0: // the bastion
		a, err := netip.ParseAddr(c.address)
		return err == nil && !a.IsLoopback() && !slices.Contains(o.Servers, c.address)
	}
	return !c.accepted && c.address != "" && c.address == o.Bastion
}

// knock is in a command of Hallmark's that connects to the server's own sshd and hangs up.
const knock = "/dev/tcp/127.0.0.1/22"

// knocks gives the times of such commands: sudo records them in sessions of Hallmark's.
func (o Ours) knocks(lines []Line, of []*connection) []time.Time {
	var times []time.Time
	for i, l := range lines {
		if l.Program == "sudo" && of[i] != nil && of[i].user == o.Admin && o.made(of[i]) && strings.Contains(l.Message, knock) {
			times = append(times, l.Time)
		}
	}
	return times
}

// knocked reports whether a connection is what such a command made: it takes three seconds at most.
func (c *connection) knocked(times []time.Time) bool {
	return c != nil && !c.accepted && c.address == "127.0.0.1" && slices.ContainsFunc(times, func(at time.Time) bool {
		after := c.begun.Sub(at)
		return after >= -time.Second && after <= 4*time.Second
	})
}
