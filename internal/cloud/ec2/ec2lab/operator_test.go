package ec2lab_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/crypto/ssh"
)

// operator is somebody who works on the host: an SSH key, and what the console said of host keys.
type operator struct {
	*testing.T
	api    *ec2.Client
	signer ssh.Signer
	key    string // authorized_keys
}

func newOperator(t *testing.T, api *ec2.Client) *operator {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	key, err := ssh.NewPublicKey(public)
	must(t, err)
	return &operator{t, api, signer, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))}
}

func (o *operator) userData() *string {
	return aws.String(base64.StdEncoding.EncodeToString([]byte(`#cloud-config
users:
  - name: admin
    shell: /bin/bash
    lock_passwd: true
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys: [` + o.key + `]
ssh_genkeytypes: [ed25519]
write_files:
  - {path: /etc/from-user-data, content: "yes\n"}
`)))
}

// hostKey waits until the console tells the host's key of this boot's first-time set-up.
func (o *operator) hostKey(id string) ssh.PublicKey {
	o.Helper()
	var found ssh.PublicKey
	o.until("the console of "+id+" tells the host key", func() bool {
		out, err := o.api.GetConsoleOutput(o.Context(), &ec2.GetConsoleOutputInput{InstanceId: &id, Latest: aws.Bool(true)})
		must(o, err)
		text, err := base64.StdEncoding.DecodeString(aws.ToString(out.Output))
		must(o, err)
		_, after, ok := strings.Cut(string(text), "-----BEGIN SSH HOST KEY KEYS-----")
		keys, _, ended := strings.Cut(after, "-----END SSH HOST KEY KEYS-----")
		if !ok || !ended {
			return false
		}
		for line := range strings.Lines(keys) {
			if key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil && key.Type() == ssh.KeyAlgoED25519 {
				found = key
			}
		}
		return found != nil
	})
	return found
}

func (o *operator) until(what string, ok func() bool) {
	o.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			o.Fatal("waited too long until " + what)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// run runs a command by SSH; the host key must be the one that the console told.
func (o *operator) run(address string, pinned ssh.PublicKey, command string) (string, error) {
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(o.Context(), "tcp", net.JoinHostPort(address, "22"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	link, channels, requests, err := ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: "admin", Auth: []ssh.AuthMethod{ssh.PublicKeys(o.signer)}, HostKeyCallback: ssh.FixedHostKey(pinned),
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}, Timeout: 5 * time.Second,
	})
	if err != nil {
		return "", err
	}
	client := ssh.NewClient(link, channels, requests)
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	out, err := session.CombinedOutput(command)
	return strings.TrimSpace(string(out)), err
}

// says runs a command as soon as one can log in, and gives what it said.
func (o *operator) says(address string, pinned ssh.PublicKey, command string) string {
	o.Helper()
	var out string
	o.until("login at "+address, func() bool {
		var err error
		out, err = o.run(address, pinned, command)
		var failed *ssh.ExitError
		if errors.As(err, &failed) {
			o.Fatalf("%s: %v: %s", command, err, out)
		}
		return err == nil
	})
	return out
}

func (o *operator) state(id string, s types.InstanceStateName) {
	o.Helper()
	o.until(id+" is "+string(s), func() bool {
		out, err := o.api.DescribeInstances(o.Context(), &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		must(o, err)
		i := out.Reservations[0].Instances[0]
		if i.State.Name == types.InstanceStateNameTerminated && s != i.State.Name {
			o.Fatalf("%s is terminated: %s", id, aws.ToString(i.StateReason.Message))
		}
		return i.State.Name == s
	})
}
