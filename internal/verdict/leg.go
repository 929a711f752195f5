package verdict

import "regexp"

// Leg is one part of the way that an admin goes: to the bastion, in there with two factors, on to a
// server, in there with the key, and to root. An error that says which one is closed carries it.
type Leg string

// The legs, in the order in which an admin meets them.
const (
	LegBastionPort Leg = "bastion port"       // tcp/22 of the bastion, up to sshd's greeting
	LegBastionKey  Leg = "bastion key"        // the bastion's sshd refuses the admin or the key
	LegFactor      Leg = "second factor"      // the bastion refuses the code, does not ask for one, or a server asks for one
	LegForwarding  Leg = "bastion forwarding" // the bastion's sshd does not pass connections on
	LegNetwork     Leg = "network between"    // sshd listens, and the bastion or the server filters what goes between them
	LegServerPort  Leg = "server port"        // tcp/22 of a server, up to sshd's greeting
	LegServerKey   Leg = "server key"         // the server's sshd refuses the admin or the key
	LegAccount     Leg = "account"            // the key is right, and the account may not log in: expired, refused by PAM
	LegShell       Leg = "shell"              // let in, and the login shell or the home does not let commands run
	LegSudo        Leg = "sudo"               // the admin does not become root
)

// cause is what a lock-out on a leg is recorded as.
func (l Leg) cause() Cause {
	switch l {
	case LegBastionPort, LegServerPort, LegForwarding, LegNetwork:
		return ServerPort
	case LegSudo:
		return ServerSudo
	}
	return ServerLogin
}

var legInText = regexp.MustCompile(`leg "([a-z ]+)"`)

// LegOf finds the leg that an error names in its text, the innermost; "" if it names none.
func LegOf(err error) Leg {
	if err == nil {
		return ""
	}
	all := legInText.FindAllStringSubmatch(err.Error(), -1)
	if len(all) == 0 {
		return ""
	}
	return Leg(all[len(all)-1][1])
}

// Lockout is an admin's way that an audit found closed, by the product for certain: the server that
// closes it had converged and runs, and either its own sshd, kernel or sudo said no, or a control server
// of Hallmark's own in the same network shows that the network carries what that server does not answer.
type Lockout struct {
	Leg    Leg
	Server string // the one that closes it
	Said   string // how the way ended, for people
}
