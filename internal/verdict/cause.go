package verdict

import (
	"errors"
	"fmt"
	"regexp"
)

// Cause is a coded reason for trouble. The code survives being stored as text (durable steps store
// errors as text), so a verdict can be reached after a crash from the stored text alone.
type Cause string

// Causes. The prefix before the dot says where it broke; the table of Judge says what each means.
const (
	None Cause = ""

	CloudRefused   Cause = "cloud.refused"   // the provider would not do it (bad state, quota, name)
	CloudCapacity  Cause = "cloud.capacity"  // no room for a server
	CloudThrottled Cause = "cloud.throttled" // too many calls, after retries
	CloudLost      Cause = "cloud.lost"      // a server, network or volume vanished
	CloudDown      Cause = "cloud.down"      // the provider does not answer
	RemoteBastion  Cause = "remote.bastion"  // the bastion could not be entered, or does not let connections through
	RemoteFactor   Cause = "remote.factor"   // the bastion refused the second factor
	Transport      Cause = "remote.transport"
	PackageSource  Cause = "packages.unreachable" // package cache or sources do not answer

	ServerLogin    Cause = "server.login"          // sshd answers, but lets no admin in
	ServerPort     Cause = "server.port"           // runs and has reported, but an admin's connection does not reach its sshd
	ServerSudo     Cause = "server.sudo"           // the admin may not become root
	ServerBoot     Cause = "server.boot"           // runs, but the system does not come up in time
	ServerStopped  Cause = "server.stopped"        // stopped although Hallmark did not stop it
	StoppedItself  Cause = "server.stopped-itself" // stopped at the same step in every fresh environment
	PuppetFailed   Cause = "puppet.failed"         // a resource failed or the catalog did not compile
	PuppetTimeout  Cause = "puppet.timeout"        // did not converge in its time on a healthy server
	TestFailed     Cause = "test.failed"           // a test said no
	TestTimeout    Cause = "test.timeout"          // a command outlived its time on a healthy server
	HealthFailed   Cause = "health.failed"         // a health check did not pass in its time
	ProcedureFails Cause = "procedure.failed"      // a step of the product's procedure failed
	ImageNotSealed Cause = "image.not-sealed"      // the image kept what it must not keep
	CheckFailed    Cause = "check.failed"          // product file, parser or unit tests said no

	TestBroken Cause = "test.broken" // the test's own script is wrong

	Unexplained Cause = "unexplained" // trouble of Hallmark's own, or not understood
	Cancelled   Cause = "run.cancelled"
)

// Error is trouble with a cause. Its text carries the code in brackets, so CauseOf finds it again
// in a stored or wrapped message.
type Error struct {
	Cause  Cause
	Server string // the server it happened on, if one
	Leg    Leg    // the part of an admin's way that is closed, if that is the trouble
	Detail string // what was attempted and what was said, for people
	Err    error  // may be nil
}

// Errorf makes an Error; server may be empty. A %w verb is kept for errors.Is and As.
func Errorf(cause Cause, server, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Cause: cause, Server: server, Detail: err.Error(), Err: errors.Unwrap(err)}
}

// Error is "[cause] server: detail"; with a leg, "[cause] server: leg "sudo": detail".
func (e *Error) Error() string {
	text := fmt.Sprintf("[%s] ", e.Cause)
	if e.Server != "" {
		text += e.Server + ": "
	}
	if e.Leg != "" {
		text += fmt.Sprintf("leg %q: ", e.Leg)
	}
	return text + e.Detail
}

// Unwrap gives the underlying error, if any.
func (e *Error) Unwrap() error { return e.Err }

var coded = regexp.MustCompile(`\[([a-z]+\.[a-z-]+|unexplained)\]`)

// CauseOf finds the cause of an error, by type or from the code in its text (the outermost wins).
// An error without a known code is Unexplained; nil is None.
func CauseOf(err error) Cause {
	if err == nil {
		return None
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Cause
	}
	for _, m := range coded.FindAllStringSubmatch(err.Error(), -1) {
		if _, known := blame[Cause(m[1])]; known {
			return Cause(m[1])
		}
	}
	return Unexplained
}

var named = regexp.MustCompile(`\[(?:[a-z]+\.[a-z-]+|unexplained)\] ([a-z0-9][a-z0-9.-]*): `)

// ServerOf finds the server that an error names, by type or in its text; "" if it names none. In a
// text the first word of the detail may be taken for a server: compare with the servers that there are.
func ServerOf(err error) string {
	if err == nil {
		return ""
	}
	var e *Error
	for inner := err; errors.As(inner, &e); inner = e.Err {
		if e.Server != "" {
			return e.Server
		}
	}
	if m := named.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}
