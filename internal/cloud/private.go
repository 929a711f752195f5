package cloud

import "log/slog"

// PrivateFile is a file for root alone on one server, such as its secrets.
type PrivateFile struct {
	Path    string // absolute; folders that are missing are made, root's and open to all
	Content Secret
}

// Secret is text that prints as ***, and is stored as that by whoever stores what holds it.
type Secret string

// String hides the text.
func (Secret) String() string { return "***" }

// GoString hides the text from %#v.
func (Secret) GoString() string { return "***" }

// LogValue hides the text from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalText hides the text from JSON, YAML and the like.
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }

// Confidant is a provider that brings ServerSpec.Private to a server: see there for what it warrants. One that is
// none refuses (CodeRefused) a server with private files, rather than put them where they would be read or kept.
type Confidant interface {
	// Confidential does nothing.
	Confidential()
}
