package puppet

import _ "embed"

//go:embed files/seal.sh
var seal string

//go:embed files/seal-check.sh
var sealCheck string

// SealScript is root's shell that removes from a provisioned server what an image must not keep,
// and then is SealCheck: its exit code and output are the check's. It must come from stdin of a
// session that is already open, for it removes the bootstrap user and the host keys: no new login
// works after it. The server is stopped next.
func SealScript() string { return seal + "\n(\n" + sealCheck + ")\n" }

// SealCheck is root's shell that looks whether a server is sealed, as far as it can say so itself: it prints a line for everything that
// is left ("left: …") or missing ("lost: …") and exits 1 if there is any.
func SealCheck() string { return sealCheck }
