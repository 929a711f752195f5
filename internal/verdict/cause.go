package verdict

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
)

// Cause is a coded reason for trouble. The code survives being stored as text (durable steps store
// errors as text), so a verdict can be reached after a crash from the stored text alone.
type Cause string

// Causes. The prefix before the dot says where it broke; Judge says what it means.
const (
	None Cause = ""

	// Infrastructure: the cloud or the way to the server.
	CloudRefused   Cause = "cloud.refused"   // the provider would not do it (bad state, quota, name)
	CloudCapacity  Cause = "cloud.capacity"  // no room for a server
	CloudThrottled Cause = "cloud.throttled" // too many calls, after retries
	CloudLost      Cause = "cloud.lost"      // a server, network or volume vanished
	CloudDown      Cause = "cloud.down"      // the provider does not answer
	RemoteBastion  Cause = "remote.bastion"  // no connection to the bastion, or its key was refused
	RemoteFactor   Cause = "remote.factor"   // the bastion refused the second factor
	Transport      Cause = "remote.transport"
	PackageSource  Cause = "packages.unreachable" // package cache or sources do not answer

	// The product: a server that runs, but not as it should.
	ServerLogin    Cause = "server.login"     // boots, but never lets an admin in
	ServerSudo     Cause = "server.sudo"      // the admin may not become root
	ServerBoot     Cause = "server.boot"      // runs, but the system does not come up in time
	PuppetFailed   Cause = "puppet.failed"    // a resource failed or the catalog did not compile
	PuppetTimeout  Cause = "puppet.timeout"   // did not converge in its time on a healthy server
	TestFailed     Cause = "test.failed"      // a test said no
	TestTimeout    Cause = "test.timeout"     // a command outlived its time on a healthy server
	HealthFailed   Cause = "health.failed"    // a health check did not pass in its time
	ProcedureFails Cause = "procedure.failed" // a step of the product's procedure failed
	ImageNotSealed Cause = "image.not-sealed" // the image kept what it must not keep
	CheckFailed    Cause = "check.failed"     // product file, parser or unit tests said no

	// The test itself: its own script is wrong. It blocks, as a failure does.
	TestBroken Cause = "test.broken"

	// Ours: what cannot be explained is never blamed on an image.
	Unexplained Cause = "unexplained"
	Cancelled   Cause = "run.cancelled"
)

var infrastructure = map[Cause]bool{
	CloudRefused: true, CloudCapacity: true, CloudThrottled: true, CloudLost: true, CloudDown: true,
	RemoteBastion: true, RemoteFactor: true, Transport: true, PackageSource: true,
}

var product = map[Cause]bool{
	ServerLogin: true, ServerSudo: true, ServerBoot: true, PuppetFailed: true, PuppetTimeout: true,
	TestFailed: true, TestTimeout: true, HealthFailed: true, ProcedureFails: true, ImageNotSealed: true,
}

// known is every cause but None, so that brackets in a foreign text are not taken for a code.
var known = func() map[Cause]bool {
	all := map[Cause]bool{TestBroken: true, CheckFailed: true, Unexplained: true, Cancelled: true}
	maps.Copy(all, infrastructure)
	maps.Copy(all, product)
	return all
}()

// Infrastructure reports whether a fresh environment may cure this cause.
func (c Cause) Infrastructure() bool { return infrastructure[c] || c == Unexplained }

// Error is trouble with a cause. Its text carries the code in brackets, so CauseOf finds it again
// in a stored or wrapped message.
type Error struct {
	Cause  Cause
	Server string // the server it happened on, if one
	Detail string // what was attempted and what was said, for people
	Err    error  // may be nil
}

// Errorf makes an Error; server may be empty. A %w verb is kept for errors.Is and As.
func Errorf(cause Cause, server, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Cause: cause, Server: server, Detail: err.Error(), Err: errors.Unwrap(err)}
}

// Error is "[cause] server: detail".
func (e *Error) Error() string {
	if e.Server == "" {
		return fmt.Sprintf("[%s] %s", e.Cause, e.Detail)
	}
	return fmt.Sprintf("[%s] %s: %s", e.Cause, e.Server, e.Detail)
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
		if c := Cause(m[1]); known[c] {
			return c
		}
	}
	return Unexplained
}
