// Package puppet owns what happens on a server to configure it: the hallmark-provision script and
// its unit, the files they read (settings, facts, secrets), the reports they and Puppet write, and
// the shell that delivers code, and that seals a server before its image is taken. It makes text
// and reads text; carrying it to a server and waiting there is for its callers.
package puppet

import "time"

// Paths on a server.
const (
	Unit            = "hallmark-provision.service"
	DeadlineTimer   = "hallmark-deadline.timer"
	ScriptPath      = "/usr/local/sbin/hallmark-provision"
	UnitPath        = "/etc/systemd/system/" + Unit
	SettingsPath    = "/etc/hallmark/provision.env"
	SecretsPath     = "/etc/hallmark/secrets.yaml"
	FactsPath       = "/etc/facter/facts.d/hallmark.json"
	AptPath         = "/etc/apt/apt.conf.d/01hallmark-cache"
	StatusPath      = "/var/lib/hallmark/report.json"
	ReportPath      = "/var/lib/hallmark/last_run_report.yaml"
	AgainReportPath = "/var/lib/hallmark/again_run_report.yaml"
	LogPath         = "/var/log/hallmark/provision.log"
	HandOverPath    = "/run/hallmark/hand-over" // exists once the bootstrap user is on its way out
)

// AgainCommand is for the test that a further Puppet run changes nothing: it exits as puppet apply
// --detailed-exitcodes does (0: nothing changed, 2: changes) and writes AgainReportPath.
const AgainCommand = ScriptPath + " again"

// SourcesCommand exits 0 if the package sources of the base answer from inside a server, by Hallmark's
// cache; sources that the product added are not asked. It needs root.
const SourcesCommand = ScriptPath + " sources"

// ConsolePrefix begins the line in which a server says its Status on its console when it is done, for
// a server that lets nobody in. ParseStatus reads what follows.
const ConsolePrefix = "hallmark-provision: report "

// HandOverPrefix begins the line in which a server says on its console that the bootstrap user is on its
// way out: nobody may log in as that user from then on, and sessions that are open must end.
const HandOverPrefix = "hallmark-provision: hand-over: "

// HandOverPatience is how long a server waits for the bootstrap user's sessions before it ends them.
const HandOverPatience = 2 * time.Minute

// ProductDir is where a server keeps the product's code of one commit.
func ProductDir(commit string) string { return "/opt/hallmark/product/" + commit }
