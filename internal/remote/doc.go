// Package remote is SSH the way admins work: through the bastion with a key and a second factor, on
// to a server with the key, and there as root by sudo. It owns connections and their sharing, pinned
// host keys, the once-only use of TOTP codes, commands and files on a server, and the naming of the
// leg that broke. It does not know environments, clouds or Puppet, and it keeps nothing on disk.
//
// A Path is the way into one environment: one shared connection to its bastion, from which sessions
// to the servers behind it are opened. Direct is the way without a bastion, used where there is none
// yet: while the bastion itself, or an image, is being built. TryLogin proves that a login is refused.
package remote
