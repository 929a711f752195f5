package seal

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"golang.org/x/crypto/ssh"
)

// look checks a disk with one file, or more.
func look(t *testing.T, files map[string]string, secrets ...string) Report {
	t.Helper()
	disk := fstest.MapFS{}
	for name, content := range files {
		disk[strings.TrimPrefix(name, "/")] = &fstest.MapFile{Data: []byte(content)}
	}
	report, err := Check(t.Context(), disk, secrets, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func whats(report Report) string {
	var all []string
	for _, f := range report.Left {
		if f.Remedy == "" {
			all = append(all, "no remedy")
		}
		all = append(all, f.What)
	}
	return strings.Join(all, ", ")
}

// keys are private keys as programs write them, made now.
func keys(t *testing.T) map[string]string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ssh.MarshalPrivateKey(private, "someone@bench")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte("passphrase"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"pkcs8":     string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"encrypted": string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})),
		"headers":   string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: der})),
		"openssh":   string(pem.EncodeToMemory(own)),
		"locked":    string(pem.EncodeToMemory(locked)),
		"pgp":       "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: x\n\n" + base64.StdEncoding.EncodeToString(der) + "\n-----END PGP PRIVATE KEY BLOCK-----\n",
	}
}

const pemKey = "a private key (PEM)"

// Keys are found by content: whatever the file is called, wherever it lies, and in whatever it is embedded.
func TestPrivateKeys(t *testing.T) {
	for name, key := range keys(t) {
		for what, text := range map[string]string{
			"alone":        key,
			"in YAML":      "tls:\n  key: |\n    " + strings.ReplaceAll(key, "\n", "\n    "),
			"with CR":      strings.ReplaceAll(key, "\n", "\r\n"),
			"behind a lot": strings.Repeat("x", 2*chunk-500) + "\n" + key,
		} {
			for _, place := range []string{"/etc/app/notes.txt", "/srv/x", "/home/u/a/b", "/opt/p", "/usr/local/lib/k", "/data/k", "/boot/k"} {
				if what == "behind a lot" && place != "/srv/x" {
					continue
				}
				if got := look(t, map[string]string{place: text}); whats(got) != pemKey || got.Left[0].Path != place {
					t.Errorf("%s %s in %s: %q", name, what, place, whats(got))
				}
			}
		}
	}
	key := keys(t)["pkcs8"]
	for what, text := range map[string]string{
		"a service account":     `{"type": "service_account", "private_key": ` + fmt.Sprintf("%q", key) + `}`,
		"in one line":           strings.ReplaceAll(key, "\n", " "),
		"kubeconfig":            "client-key-data: " + base64.StdEncoding.EncodeToString([]byte(key)) + "\n",
		"kubeconfig of RSA":     "client-key-data: " + base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(key, "PRIVATE", "RSA PRIVATE"))) + "\n",
		"in a script as a text": "KEY='" + key + "'\n",
	} {
		if got := whats(look(t, map[string]string{"/opt/f": text})); !strings.HasPrefix(got, "a private key (PEM") {
			t.Errorf("%s: %q", what, got)
		}
	}
}

// content is one example of each rule, and what is near to it and none.
var content = []struct {
	what string
	yes  []string
	no   []string
}{
	{pemKey, nil, []string{
		"begin = '-----BEGIN RSA PRIVATE KEY-----'\n", "if text.include?('-----BEGIN PRIVATE KEY-----')\n  raise\nend\n",
		"-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ\n", "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAxxxx\n", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
		"the PRIVATE KEY-----\nMIIBszCCAVmgAwIBAgIUQ\n", "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUJzekNDQVZtZ0F3SUJBZ0lVUQ==",
	}},
	{"a private key (SSH)", []string{"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: x\nP2/56wAAAi4AAAA3aWYt\n", "SSH PRIVATE KEY FILE FORMAT 1.1\n\x00\x03"}, []string{"SSH PRIVATE KEY FILE FORMAT 1.1\n", "\x00SSH PRIVATE KEY FILE FORMAT 1.1\n\x00"}},
	{"a private key (PuTTY)", []string{"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n"}, []string{"see PuTTY-User-Key-File-N"}},
	{"a private key (GnuPG)", []string{"(21:protected-private-key(3:ecc(5:curve", "Created: 20261128T204657\nKey: (private-key (ecc (curve Ed25519)\n", "(11:private-key(3:rsa(1:n"}, []string{"\x00(11:private-key(3:rsa(1:n%m)", "(private-keys are secret)"}},
	{"a private key (age)", []string{"AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX", "AGE-SECRET-KEY-PQ-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZ"}, []string{"AGE-SECRET-KEY-1...", "age1yt3tfqlfrwdwx0z0ynwplcr6qxcxfaqycuprpmy89nr83ltx74tqdpszlw"}},
	{"a private key (WireGuard)", []string{"[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"}, []string{"# PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n", "PublicKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"}},
	{"a private key (JWK)", []string{`{"kty": "RSA", "n": "xyz", "e": "AQAB", "d": "X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH"}`, `{"k":"AyM1SysPpbyDfgZld3umj1qzKObwVMko","kty":"oct"}`}, []string{`{"kty": "RSA", "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78", "e": "AQAB"}`}},
	{"an access key of AWS", []string{"id = AKIAQWERTYUIOPASDFGH\n", "ASIAQWERTYUIOPASDFGH"}, []string{"AKIAIOSFODNN7EXAMPLE", "xAKIAQWERTYUIOPASDFGH", "AKIAQWERTYUIOPASDFGHJ"}},
	{"a secret access key of AWS", []string{"aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYzzzzzzzzzKEY\n"}, []string{"aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n", "aws_secret_access_key = <yours>"}},
	{"an API key of Google", []string{"key=AIzaSyA-0123456789abcdefghijklmnopqrstu"}, []string{"AIzaShort"}},
	{"an access key of Azure", []string{"AccountName=x;AccountKey=" + strings.Repeat("aB3/", 21) + "aB==;"}, []string{"AccountKey=..."}},
	{"a token of GitHub", []string{"ghp_" + strings.Repeat("a1B2", 9), "github_pat_11ABCDEFG0123456789abc_" + strings.Repeat("x", 40)}, []string{"ghp_short", "rghp_" + strings.Repeat("a1B2", 9)}},
	{"a token of GitLab", []string{"token: glpat-0123456789abcdefghij"}, []string{"glpat-YOURS"}},
	{"a token of Slack", []string{"xoxb-123456789012-abcdefghijkl"}, []string{"xoxb-..."}},
	{"a key of Stripe", []string{"sk_live_" + "0123456789abcdef"}, []string{"sk_test_0123456789abcdef"}},
	{"a token of npm", []string{"npm_" + strings.Repeat("a1B2", 9)}, []string{"npm_config_cache=/var/cache/npm_and_other_things_in_a_row"}},
	{"a token of PyPI", []string{"pypi-AgEIcHlwaS5vcmcCJ" + strings.Repeat("x", 40)}, []string{"pypi-AgE"}},
	{"a token of Docker Hub", []string{"dckr_pat_0123456789abcdefghij"}, []string{"dckr_pat_x"}},
	{"a token of Vault", []string{"hvs.CAESIJ0123456789abcdefghij"}, []string{"hvs.x", "ahvs.CAESIJ0123456789abcdefghij"}},
	{"a JSON web token", []string{"token: eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlc2lnbmF0dXJl"}, []string{"eyJhbGciOiJSUzI1NiJ9"}},
	{"an address with a password in it", []string{
		"deb https://user:s3cr3t-xyz@apt.acme.io/debian stable main\n", "[global]\nindex-url = https://u:9fKz@pypi.acme.io/simple\n",
		"https://someone:ghx0123@github.com\n", "http_proxy=http://u:9fKz@10.0.0.1:3128\n", "amqp://app:9fKz@[2001:db8::1]:5672/\n",
	}, []string{
		"# deb https://user:s3cr3t-xyz@apt.acme.io/debian stable main\n", "http://user:password@proxy.acme.io/\n", "https://u:p9@www.example.com/\n", "http://${u}:${p}@h/\n",
		"https://host:443/path@v2\n", "http://user@host:80/\n", "redis://u:%s@h\n", "http://user:pass@host:port\n", "http://a:<secret>@b\n",
	}},
	{"a password (netrc)", []string{"machine apt.acme.io login u password 9fKz\n", "machine apt.acme.io\n  login u\n  password 9fKz\n", "machine x password y1\n"}, []string{"# machine apt.acme.io login u password 9fKz\n", "the machine needs a password file\n", "machine x login u password $PASSWORD\n"}},
	{"a credential of npm", []string{"//registry.acme.io/:_authToken=0123-4567\n", "_auth=dXNlcjpwYXNz\n"}, []string{"//registry.acme.io/:_authToken=${TOKEN}\n", "self._auth = HTTPBasicAuthentication()\n"}},
	{"a password of a container registry", []string{`{"auths": {"r.acme.io": {"auth": "dXNlcjpwYXNz"}}}`}, []string{`{"auth": "required"}`, `{"auths": {"r": {"auth": ""}}}`}},
	{"a token of a container registry", []string{`{"identitytoken": "0123456789"}`}, []string{`{"identitytoken": ""}`}},
	{"a seed of one-time codes", []string{"JBSWY3DPEHPK3PXPJBSWY3DPEH\n\" RATE_LIMIT 3 30\n\" TOTP_AUTH\n", "HOTP/T30 alice - 00112233445566778899aabbccddeeff\n"}, []string{"<%= $seed %>\n\" TOTP_AUTH\n", "# HOTP/T30 alice - 00112233445566778899aabbccddeeff\n"}},
	{"a key of a name server", []string{"key \"rndc-key\" {\n\talgorithm hmac-sha256;\n\tsecret \"aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ=\";\n};\n"}, []string{"// secret \"aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ=\";\n", "secret \"\";"}},
	{"a key of Ceph", []string{"[client.admin]\n\tkey = AQBvI0pjAAAAABAA1234567890abcdefghijklmn==\n"}, []string{"key = AQ\n"}},
	{"a password's hash", []string{"shop:$apr1$0123456$abcdefghijklmnopqrstuv\n", "a:$2y$05$abcdefghijklmnopqrstuv.ABCDEFGHIJKLMNOPQRSTUVWXYZabcde\n", "bob:$y$j9T$abcdefgh$0123456789012345678901234567890123456789012\n"}, []string{"alice:!$6$0123$456789abcdefghijklmnopqrstuvwxyz\n", "x=${y:$1$2}\n", "bob:*:19000:0:99999:7:::\n"}},
	{"authorized keys", []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0123456789012345678901234567890123456789 a@b\n", "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBJ0123\n", "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJ0123456789\n"}, []string{"github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0123456789012345678901234567890123456789\n", "# ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0123456789012345678901234567890123456789\n"}},
	{"a password (pgpass)", []string{"db-1:5432:*:app:9fKz\n", "# mine\n*:*:*:*:9fKz\n"}, []string{"root:x:0:0:root:/root:/bin/bash\n", "db-1:5432:*:app:9fKz\nother text\n", "a:1:b\n"}},
	{"a password (options of MySQL)", []string{"[client]\nuser = app\npassword = 9fKz\n", "[mysqldump]\npassword=\"9fKz\"\n"}, []string{"[client]\npassword =\n", "[client]\n#password = 9fKz\n", "[server]\npassword = x\n"}},
	{"a core dump", []string{"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x3e\x00", "\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x08"}, []string{"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x3e\x00"}},
	{"a Kerberos key table", []string{"\x05\x02\x00\x00\x00\x20\x00\x01\x00\x04ACME\x00\x04host" + strings.Repeat("k", 32)}, []string{"\x05\x02\xff\xff", "\x05\x01\x00\x00\x00\x20\x00\x01\x00\x04ACME"}},
}

func TestContent(t *testing.T) {
	for _, c := range content {
		for _, text := range c.yes {
			for _, place := range []string{"/srv/some", "/home/user/.config/x.bak"} {
				if got := whats(look(t, map[string]string{place: text})); got != c.what {
					t.Errorf("%q is %s, found %q", text, c.what, got)
				}
			}
		}
		for _, text := range c.no {
			if got := whats(look(t, map[string]string{"/srv/some": text})); got != "" {
				t.Errorf("%q is found as %q", text, got)
			}
		}
	}
}

// Every rule has an example that is found by it and one that is not.
func TestEveryRuleIsTried(t *testing.T) {
	tried := map[string]bool{"a private key (PEM in base64)": true} // TestPrivateKeys
	for _, c := range content {
		tried[c.what] = len(c.no) > 0
	}
	for _, r := range rules {
		if !tried[r.what] {
			t.Errorf("nothing tries the rule for %s", r.what)
		}
		for _, a := range r.anchors {
			if len(a) < 2 {
				t.Errorf("%q is too short to be looked for", a)
			}
		}
	}
}

// Key stores and keys that programs made: testdata. Those of certificates and public keys alone are none.
func TestKeyStores(t *testing.T) {
	for name, want := range map[string]string{
		"k.p12": "a private key (PKCS #12)", "c.p12": "", "k.jks": "a private key (Java key store)", "c.jks": "",
		"k.der": "a private key (DER)", "k8.der": "a private key (DER)", "k8e.der": "a private key (DER)",
		"k.gpg": "a private key (OpenPGP)", "p.gpg": "",
	} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := whats(look(t, map[string]string{"/opt/app/data.bin": string(data)})); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		for cut := 0; cut < len(data); cut += 11 { // half a file is no reason to stop
			look(t, map[string]string{"/opt/app/data.bin": string(data[:cut])})
		}
	}
}

// Identities and traces are found by their place.
func TestPlaces(t *testing.T) {
	for _, c := range []struct{ path, text, want string }{
		{"/etc/machine-id", "0123456789abcdef0123456789abcdef\n", "the machine's id"},
		{"/etc/machine-id", "uninitialized\n", ""},
		{"/etc/machine-id", "", ""},
		{"/var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n", "the machine's id"},
		{"/etc/ssh/ssh_host_rsa_key.pub", "ssh-rsa x\n", "an SSH host key"},
		{"/srv/chroot/etc/ssh/ssh_host_ed25519_key", "x", "an SSH host key"},
		{"/etc/ssh/sshd_config", "HostKey /etc/ssh/ssh_host_rsa_key\n", ""},
		{"/etc/iscsi/initiatorname.iscsi", "## comment\nInitiatorName=iqn.1993-08.org.debian:01:abc\n", "an iSCSI initiator's name"},
		{"/etc/iscsi/initiatorname.iscsi", "GenerateName=yes\n", ""},
		{"/etc/nvme/hostnqn", "nqn.2014-08.org.nvmexpress:uuid:x\n", "an NVMe host's name"},
		{"/etc/hostid", "\x01\x02\x03\x04", "the host's id"},
		{"/var/lib/systemd/random-seed", "x", "a random seed"},
		{"/var/lib/systemd/credential.secret", "x", "the key of systemd's credentials"},
		{"/var/lib/dhcp/dhclient.eth0.leases", "lease {\n", "a DHCP lease, or what leases are asked for with"},
		{"/var/lib/dhcp/dhclient.leases", "", ""},
		{"/var/lib/NetworkManager/secret_key", "x", "a DHCP lease, or what leases are asked for with"},
		{"/etc/ssl/certs/ssl-cert-snakeoil.pem", "-----BEGIN CERTIFICATE-----\n", "the snake-oil certificate, which a package made on this machine"},
		{"/etc/puppetlabs/puppet/ssl/certs/bench.pem", "-----BEGIN CERTIFICATE-----\n", "a Puppet certificate"},
		{"/etc/salt/pki/minion/minion.pub", "x", "a Salt certificate or id"},
		{"/var/lib/mysql/auto.cnf", "[auto]\nserver-uuid=8a94f357-aab4-11df-86ab-c80aa9429562\n", "the identity of a MySQL server"},
		{"/var/lib/mysql/grastate.dat", "# GALERA saved state\nuuid:    6b4f1c4e-0000-11ee-be56-0242ac120002\nseqno: -1\n", "the identity of a Galera node"},
		{"/var/lib/mysql/grastate.dat", "uuid:    00000000-0000-0000-0000-000000000000\nseqno: -1\n", ""},
		{"/var/lib/postgresql/15/main/global/pg_control", "x", "a PostgreSQL cluster, with its system identifier"},
		{"/var/lib/rabbitmq/.erlang.cookie", "ABCDEFGHIJKLMNOPQRST", "an Erlang cookie, by which brokers trust each other"},
		{"/root/.erlang.cookie", "ABCDEFGHIJKLMNOPQRST", "an Erlang cookie, by which brokers trust each other"},
		{"/var/lib/rabbitmq/mnesia/rabbit@bench/cluster_nodes.config", "x", "the database of a RabbitMQ node"},
		{"/srv/kafka/meta.properties", "version=0\nbroker.id=1\n", "the identity of a Kafka broker"},
		{"/srv/app/meta.properties", "title=x\n", ""},
		{"/var/lib/cloud/instances/i-1/user-data.txt", "#cloud-config\n", "what cloud-init was told of this machine"},
		{"/etc/hallmark/provision.env", "X=1\n", "what the server was launched with by Hallmark"},
		{"/var/log/wtmp", "x", "a log that is not empty"},
		{"/var/log/app/deep/x.log", "x", "a log that is not empty"},
		{"/var/log/app.log", "", ""},
		{"/var/lib/wtmpdb/wtmp.db", "x", "a record of logins"},
		{"/var/lib/sudo/lectured/admin", "x", "a record of logins"},
		{"/root/.bash_history", "ls\n", "a history of what somebody did"},
		{"/var/lib/mysql/.mysql_history", "x\n", "a history of what somebody did"},
		{"/home/u/.viminfo", "x\n", "a history of what somebody did"},
		{"/var/mail/root", "From x\n", "mail"},
		{"/var/spool/postfix/deferred/A/ABC", "x\n", "mail"},
		{"/var/lib/systemd/coredump/core.x.zst", "x", "a core dump"},
		{"/home/u/.ssh/authorized_keys", "restrict ssh-ed25519 AAAA\n", "authorized keys"},
		{"/etc/ssh/authorized_keys/deploy", "cert-authority ssh-rsa AAAA\n", "authorized keys"},
		{"/home/u/.ssh/authorized_keys", "# Puppet\n", ""},
		{"/etc/shadow", "root:*:19000:0:99999:7:::\nu:!:19000:0:99999:7:::\nv:!$6$x$y:19000:0:99999:7:::\n", ""},
		{"/etc/shadow", "root:*:19000:0:99999:7:::\nu:ab01FAX.bQRSU:19000:0:99999:7:::\n", "a password of u"},
		{"/etc/shadow-", "u::19000:0:99999:7:::\n", "a password of u, which is empty"},
		{"/etc/gshadow", "adm:*::\nusers:!::\nnone:::x\n", ""},
		{"/var/cache/debconf/passwords.dat", "Name: mysql-server/root_password\nTemplate: x\nValue: 9fKz\n", "a password that a package was given (debconf)"},
		{"/var/cache/debconf/passwords.dat", "Name: mysql-server/root_password\nTemplate: x\nValue: \n", ""},
		{"/home/u/.pypirc", "[pypi]\nusername = u\npassword = 9fKzzz\n", "a credential of a package manager"},
		{"/root/.pypirc", "[distutils]\nindex-servers = pypi\n", ""},
		{"/home/u/.composer/auth.json", `{"http-basic": {"r.acme.io": {"username": "u", "password": "9fKzzz"}}}`, "a credential of a package manager"},
		{"/root/.gem/credentials", "---\n:rubygems_api_key: 0123456789\n", "a credential of a package manager"},
		{"/root/.cargo/credentials.toml", "[registry]\ntoken = \"0123456789\"\n", "a credential of a package manager"},
		{"/home/u/.m2/settings.xml", "<server><password>9fKzzz</password></server>", "a credential of a package manager"},
		{"/home/u/.config/gcloud/legacy/x.json", `{"refresh_token": "0123456789"}`, "what somebody logged in to a cloud with"},
		{"/home/u/.config/gcloud/logs/x", "hello", ""},
		{"/home/u/.config/gcloud", `{"refresh_token": "0123456789"}`, ""},
		{"/usr/share/doc/x/key.pem", keys(t)["pkcs8"], ""},
		{"/usr/lib/x/.bash_history", "x", ""},
	} {
		if got := whats(look(t, map[string]string{c.path: c.text})); got != c.want {
			t.Errorf("%s with %q: found %q, want %q", c.path, c.text, got, c.want)
		}
	}
}

// The secrets of the build are found everywhere, in whatever form, and no rule excuses them.
func TestSecretsOfTheBuild(t *testing.T) {
	const secret = "Zk3vQ9sLm2TxPw7RbYc4Nd8H"
	for what, text := range map[string]string{
		"as it is":           "key = " + secret + "\n",
		"base64":             base64.StdEncoding.EncodeToString([]byte("user:" + secret)),
		"hexadecimal":        hex.EncodeToString([]byte(secret)),
		"where pieces meet":  strings.Repeat("\x00", chunk-7) + secret,
		"behind much":        strings.Repeat("\x00", 3*chunk+5) + secret + strings.Repeat("\x00", chunk),
		"where pieces meet!": strings.Repeat("-", 2*chunk-len(secret)+1) + secret,
	} {
		report, err := Check(t.Context(), fstest.MapFS{"var/lib/app/data": {Data: []byte(text)}}, []string{secret}, []Kept{{"/var/lib/app/data", "x"}})
		if err != nil || whats(report) != "a secret of the build" || len(report.Excused) > 0 || report.Bytes != int64(len(text)) {
			t.Errorf("%s: %q, %+v, %d bytes, %v", what, whats(report), report.Excused, report.Bytes, err)
		}
		if strings.Contains(fmt.Sprint(report), secret) {
			t.Errorf("%s: the secret is in the report", what)
		}
	}
	if got := look(t, map[string]string{"/srv/x": "another text"}, secret, ""); len(got.Left) > 0 {
		t.Errorf("found %+v", got.Left)
	}
}

// What the product allows is listed with its reason; a rule that is of no use is told; what else is there stays found.
func TestKept(t *testing.T) {
	disk := fstest.MapFS{
		"srv/app/c0ffee/test.key": {Data: []byte(keys(t)["pkcs8"])},
		"srv/app/c0ffee/real.key": {Data: []byte(keys(t)["pkcs8"])},
	}
	rules := []Kept{{"/srv/app/*/test.key", "a test key"}, {"/srv/app/none", "gone"}, {"/srv/*", "one level only"}}
	report, err := Check(t.Context(), disk, nil, rules)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Left) != 1 || report.Left[0].Path != "/srv/app/c0ffee/real.key" {
		t.Errorf("left %v", report.Left)
	}
	if len(report.Excused) != 1 || report.Excused[0].Path != "/srv/app/c0ffee/test.key" || report.Excused[0].Reason != "a test key" || report.Excused[0].What != pemKey {
		t.Errorf("excused %+v", report.Excused)
	}
	if !slices.Equal(report.Idle, rules[1:]) {
		t.Errorf("idle %v", report.Idle)
	}
}

// A disk is looked at as it is: no link leads out of it, nothing but plain files is opened, and what is too large is said.
func TestRealDisk(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "key")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(outside, []byte(keys(t)["pkcs8"]), 0o600))
	must(os.MkdirAll(filepath.Join(dir, "etc/ssh"), 0o755))
	must(os.Symlink(outside, filepath.Join(dir, "etc/link")))
	must(os.Symlink(filepath.Dir(outside), filepath.Join(dir, "srv")))
	must(os.Symlink("/etc/machine-id", filepath.Join(dir, "etc/ssh/machine-id")))
	must(syscall.Mkfifo(filepath.Join(dir, "etc/pipe"), 0o600))
	must(os.WriteFile(filepath.Join(dir, "etc/odd\nname"), []byte(keys(t)["pkcs8"]), 0o000))
	sparse, err := os.Create(filepath.Join(dir, "etc/sparse"))
	must(err)
	must(errors.Join(sparse.Truncate(mostOfFile+1), sparse.Close()))
	root, err := os.OpenRoot(dir)
	must(err)
	defer root.Close()
	report, err := Check(t.Context(), root.FS(), nil, nil)
	must(err)
	var said []string
	for _, f := range report.Left {
		said = append(said, f.String())
	}
	want := []string{
		`"/etc/odd\nname": a private key (PEM): remove it; a server makes its own keys, and gets others as a secret at stage launch`,
		`/etc/sparse: a file of 1024 MiB, which is more than is looked through: remove it, or keep it on a volume`,
	}
	if !slices.Equal(said, want) || report.Files != 2 {
		t.Errorf("%d files:\n%s", report.Files, strings.Join(said, "\n"))
	}
}

// A link to a file is looked at as the file, inside the disk, and under its own name. Circles and dead ends are nothing.
func TestLinks(t *testing.T) {
	link := func(to string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
	}
	disk := fstest.MapFS{
		"usr/share/app/keys":           {Data: []byte("restrict ssh-ed25519 AAAA\n")},
		"usr/share/app/key.pem":        {Data: []byte(keys(t)["pkcs8"])},
		"usr/share/app/large":          {Data: []byte(keys(t)["pkcs8"] + strings.Repeat("x", chunk))},
		"home/u/.ssh/authorized_keys":  link("/usr/share/app/keys"),
		"etc/ssl/private/a.key":        link("../../../usr/share/app/key.pem"),
		"etc/ssl/private/b.key":        link("a.key"),
		"etc/ssl/private/large":        link("/usr/share/app/large"),
		"etc/ssl/private/out":          link("../../../../../../etc/passwd"),
		"etc/ssl/private/dead":         link("/nowhere"),
		"etc/ssl/private/circle":       link("circle"),
		"etc/ssl/private/folder":       link("/usr/share/app"),
		"var/lib/dbus/machine-id":      link("/etc/machine-id"),
		"etc/machine-id":               {},
		"var/log/README":               link("/usr/share/app/keys"),
		"usr/share/app/link-not-there": link("key.pem"),
	}
	report, err := Check(t.Context(), disk, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range report.Left {
		got = append(got, f.Path+" "+f.What)
	}
	want := []string{"/etc/ssl/private/a.key " + pemKey, "/etc/ssl/private/b.key " + pemKey, "/home/u/.ssh/authorized_keys authorized keys"}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// What cannot be read is an error: nobody knows what is in it.
func TestUnreadable(t *testing.T) {
	disk := broken{fstest.MapFS{"etc/secret": {Data: []byte("x")}}}
	if _, err := Check(t.Context(), disk, nil, nil); err == nil || !strings.Contains(err.Error(), "/etc/secret") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, disk.MapFS, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

type broken struct{ fstest.MapFS }

func (b broken) Open(name string) (fs.File, error) {
	if name == "etc/secret" {
		return nil, errors.New("input/output error")
	}
	return b.MapFS.Open(name)
}

// A disk full of findings is refused after the first of them.
func TestBoundOfFindings(t *testing.T) {
	disk := fstest.MapFS{}
	for i := range 2 * mostFindings {
		disk[fmt.Sprintf("var/log/%d", i)] = &fstest.MapFile{Data: []byte("x")}
	}
	report, err := Check(t.Context(), disk, nil, nil)
	if err != nil || len(report.Left) != mostFindings {
		t.Errorf("%d findings, %v", len(report.Left), err)
	}
}

// What belongs to one server is found with its content: equal files of two servers are seen to be equal.
func TestIdentities(t *testing.T) {
	disk := fstest.MapFS{
		"etc/machine-id":          {Data: []byte("0123456789abcdef0123456789abcdef\n")},
		"srv/app/tls.pem":         {Data: []byte(keys(t)["pkcs8"])},
		"var/log/syslog":          {Data: []byte("a trace")},
		"root/.netrc":             {Data: []byte("machine h login u password p9\n")},
		"etc/nvme/hostid":         {},
		"var/lib/dbus/machine-id": {Data: []byte("/etc/machine-id"), Mode: fs.ModeSymlink | 0o777},
		"etc/ssh/ssh_config":      {Data: []byte("Host *\n")},
		"usr/share/x/some.pem":    {Data: []byte(keys(t)["pkcs8"])},
	}
	first, err := Identities(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	if paths := slices.Sorted(maps.Keys(first)); !slices.Equal(paths, []string{"/etc/machine-id", "/srv/app/tls.pem", "/var/lib/dbus/machine-id"}) || first["/var/lib/dbus/machine-id"] != first["/etc/machine-id"] {
		t.Errorf("identities %v", paths)
	}
	disk["etc/machine-id"].Data = []byte("f123456789abcdef0123456789abcdef\n")
	second, err := Identities(t.Context(), disk)
	if err != nil || second["/etc/machine-id"] == first["/etc/machine-id"] || second["/srv/app/tls.pem"] != first["/srv/app/tls.pem"] {
		t.Errorf("%v, then %v, %v", first, second, err)
	}
}

func FuzzCheck(f *testing.F) {
	for _, c := range content {
		for _, text := range slices.Concat(c.yes, c.no) {
			f.Add("etc/x", []byte(text))
		}
	}
	f.Add("etc/shadow", []byte("a:b:c:d:e:f:g:h:i\n:::\n"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if !fs.ValidPath(name) || name == "." {
			return
		}
		disk := fstest.MapFS{name: {Data: data}}
		first, err := Check(t.Context(), disk, []string{"secret-of-it"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		second, err := Check(t.Context(), disk, []string{"secret-of-it"}, nil)
		if err != nil || fmt.Sprint(first) != fmt.Sprint(second) {
			t.Errorf("%v, then %v, %v", first, second, err)
		}
	})
}
