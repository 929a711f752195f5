package sim

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Console is what Debian with cloud-init prints: a line per boot at once, and, when the first boot is
// done, the block from which host keys are learnt.
func (c *Cloud) Console(ctx context.Context, id cloud.ServerID) (said []byte, err error) {
	err = c.on(ctx, cloud.VerbConsole, id, func(_ *world, s *server, now time.Time) error {
		var b bytes.Buffer
		for boot := 1; boot <= s.Boots; boot++ {
			fmt.Fprintf(&b, "systemd[1]: Booting %s, boot %d\n", s.Name, boot)
			if boot == s.Boots && s.state(now) == cloud.Pending {
				break
			}
			if boot == 1 {
				fmt.Fprintf(&b, "-----BEGIN SSH HOST KEY KEYS-----\n%s root@%s\n-----END SSH HOST KEY KEYS-----\n",
					hostKeyLine(s.ID), s.Name)
			}
			fmt.Fprintf(&b, "[  OK  ] Reached target multi-user.target\n\n%s login: \n", s.Name)
		}
		said = b.Bytes()
		return nil
	})
	return said, err
}

// Screenshot is an empty picture with a comment (JPEG's marker COM) that says of which boot it is.
func (c *Cloud) Screenshot(ctx context.Context, id cloud.ServerID) (picture []byte, err error) {
	err = c.on(ctx, cloud.VerbScreenshot, id, func(_ *world, s *server, _ time.Time) error {
		if !s.On {
			return refuse(cloud.CodeRefused, "server %s is not running", s.Name)
		}
		comment := fmt.Sprintf("%s, boot %d", s.Name, s.Boots)
		picture = fmt.Appendf([]byte("\xff\xd8\xff\xfe"), "\x00%c%s\xff\xd9", len(comment)+2, comment)
		return nil
	})
	return picture, err
}

// HostKey is the key of a server's sshd. It follows from the id, so a launch anew changes it. It keeps
// nothing secret: whoever plays the server in a test needs it.
func HostKey(id cloud.ServerID) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("host key of simulated server " + id))
	return ed25519.NewKeyFromSeed(seed[:])
}

func hostKeyLine(id cloud.ServerID) []byte {
	signer, err := ssh.NewSignerFromKey(HostKey(id))
	if err != nil {
		return nil // ed25519 keys are always accepted
	}
	return bytes.TrimSpace(ssh.MarshalAuthorizedKey(signer.PublicKey()))
}
