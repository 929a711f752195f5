// Package sandbox runs one command of code that nobody vouches for: in a copy of a folder that is thrown away,
// as an unprivileged user, in namespaces of its own (user, PID, mount, network, IPC, UTS, cgroup). The command
// sees the tools of this machine read-only, its copy, and nothing else: no other process, no socket, no network,
// no file of root's or of another user's, no variable that is not named. What it uses is bounded, and everything
// that it started ends with it.
//
// The walls are bubblewrap's (bwrap) and the kernel's; this package only names them. It does not judge what the
// command said, and it does not clean it. See docs/decisions/0012.
package sandbox
