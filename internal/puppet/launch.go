package puppet

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed files/hallmark-provision
var script string

//go:embed files/hallmark-provision.service
var unit string

// Stage is what a server is provisioned for; Puppet code finds it as the fact hallmark_stage.
type Stage string

// The two stages. At Bake there are no peers, no volumes, no secrets and no admin keys.
const (
	StageBake   Stage = "bake"
	StageLaunch Stage = "launch"
)

// Secrets are values by name that only root on the server may read. They print as ***.
type Secrets map[string]string

// String hides the values.
func (Secrets) String() string { return "***" }

// GoString hides the values from %#v.
func (Secrets) GoString() string { return "***" }

// LogValue hides the values from slog.
func (Secrets) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalJSON hides the values: whoever stores a Launch stores it without them.
func (Secrets) MarshalJSON() ([]byte, error) { return []byte(`"***"`), nil }

// Admin is the account that people and tests log in with, and the public keys that let it in.
type Admin struct {
	User string   `json:"user"`
	Keys []string `json:"keys"`
}

// Peer is another server of the same environment.
type Peer struct {
	Role    string     `json:"role"`
	Address netip.Addr `json:"address"`
}

// Bootstrap is the account, with sudo, that exists on a server launched from a base until it has
// converged at StageLaunch.
type Bootstrap struct {
	User      string
	PublicKey string // authorized_keys line
}

// Launch is all that a server is told at its launch or upgrade.
type Launch struct {
	Commit      string
	Stage       Stage
	Environment string
	Server      string
	Role        string
	Address     netip.Addr
	Admin       Admin
	Bastion     netip.Addr
	Peers       map[string]Peer   // by server name
	Volumes     map[string]string // volume name → the neutral path where it is attached
	Secrets     Secrets           // name → value; given to Hiera as secret::<name>. They are in Private, and not in UserData
	Packages    []string          // Debian packages that the first Puppet run needs
	CacheURL    string            // package cache, "" for none
	Timeout     time.Duration     // for packages and Puppet together; 0: 30 minutes
	Deadline    time.Time         // when the server powers itself off, even if Hallmark is gone; zero: never
	Bootstrap   *Bootstrap        // nil: none
	Awaits      bool              // Private comes after the boot, brought by the bootstrap user: the script waits for it
	OnBase      bool              // the image has neither script nor unit: bring them
}

// File is one file to be put on a server, owned by root.
type File struct {
	Path    string
	Mode    uint32
	Content string
}

// Files are the files of a launch, script and unit included, in the order in which an upgrade has
// to write them: the settings that make the unit act come last, after the code was delivered.
func (l Launch) Files() ([]File, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	facts, err := l.facts()
	if err != nil {
		return nil, err
	}
	files := []File{
		{ScriptPath, 0o755, script},
		{UnitPath, 0o644, unit},
		{AptPath, 0o644, l.apt()},
		{FactsPath, 0o644, facts},
	}
	if !l.Deadline.IsZero() {
		files = append(files,
			File{"/etc/systemd/system/" + DeadlineTimer, 0o644, fmt.Sprintf(deadlineTimer, l.Deadline.UTC().Format(time.DateTime))},
			File{"/etc/systemd/system/" + strings.TrimSuffix(DeadlineTimer, "timer") + "service", 0o644, deadlineService})
	}
	private, err := l.Private()
	if err != nil {
		return nil, err
	}
	return append(append(files, private...), File{SettingsPath, 0o644, l.settings()}), nil
}

// Private are those of the files that hold secrets: for root alone. At StageLaunch there is always one, so that a
// server whose role lost its last secret keeps none.
func (l Launch) Private() ([]File, error) {
	if l.Stage != StageLaunch {
		return nil, nil
	}
	s, err := l.secrets()
	if err != nil {
		return nil, err
	}
	return []File{{SecretsPath, 0o600, s}}, nil
}

// UserData is the cloud-config that makes a new server provision itself. It holds nothing of Private: a provider
// keeps user-data, and on some every program of the server can read it.
func (l Launch) UserData() (string, error) {
	files, err := l.Files()
	if err != nil {
		return "", err
	}
	type user struct {
		Name  string   `yaml:"name"`
		Gecos string   `yaml:"gecos"`
		Shell string   `yaml:"shell"`
		Lock  bool     `yaml:"lock_passwd"`
		Sudo  string   `yaml:"sudo"`
		Keys  []string `yaml:"ssh_authorized_keys"`
	}
	type file struct {
		Path        string `yaml:"path"`
		Permissions string `yaml:"permissions"`
		Owner       string `yaml:"owner"`
		Encoding    string `yaml:"encoding,omitempty"`
		Content     string `yaml:"content"`
	}
	config := struct {
		Hostname  string          `yaml:"hostname"`
		Hosts     string          `yaml:"manage_etc_hosts"` // no more than its own name: the rest is the product's
		Users     []user          `yaml:"users"`
		PasswdSSH bool            `yaml:"ssh_pwauth"`
		KeyTypes  []string        `yaml:"ssh_genkeytypes"`
		Apt       map[string]bool `yaml:"apt"`
		Files     []file          `yaml:"write_files"`
		Commands  [][]string      `yaml:"runcmd,omitempty"`
	}{
		Hostname: l.Server,
		Hosts:    "localhost",
		Users:    []user{}, // not even cloud-init's default user
		KeyTypes: []string{"ed25519"},
		Apt:      map[string]bool{"preserve_sources_list": true},
	}
	if l.Bootstrap != nil {
		config.Users = append(config.Users, user{
			Name: l.Bootstrap.User, Gecos: "Hallmark bootstrap", Shell: "/bin/bash", Lock: true,
			Sudo: "ALL=(ALL) NOPASSWD:ALL", Keys: []string{strings.TrimSpace(l.Bootstrap.PublicKey)},
		})
	}
	for _, f := range files {
		switch {
		case f.Path == SecretsPath, f.Path == UnitPath && !l.OnBase:
			continue
		case f.Path == ScriptPath && !l.OnBase && !l.Awaits: // an image of an older Hallmark has one that does not wait
			continue
		}
		put := file{Path: f.Path, Permissions: fmt.Sprintf("%04o", f.Mode), Owner: "root:root", Content: f.Content}
		if f.Path == ScriptPath { // user data has to be small (EC2: 16 KiB)
			if put.Encoding, put.Content, err = compressed(f.Content); err != nil {
				return "", fmt.Errorf("user data of %s: %w", l.Server, err)
			}
		}
		config.Files = append(config.Files, put)
	}
	if !l.Deadline.IsZero() {
		config.Commands = [][]string{{"systemctl", "enable", "--quiet", "--now", DeadlineTimer}}
	}
	body, err := yaml.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("user data of %s: %w", l.Server, err)
	}
	return "#cloud-config\n" + string(body), nil
}

// compressed gives a text as cloud-init's write_files takes it.
func compressed(text string) (encoding, content string, err error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		return "", "", err
	}
	if err := z.Close(); err != nil {
		return "", "", err
	}
	return "gz+b64", base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// The timer is systemd's (systemd.timer(5)); a deadline that passed while the server was down counts as
// soon as it is up.
const (
	deadlineTimer = `[Unit]
Description=Hallmark: the deadline of this environment
[Timer]
OnCalendar=%s UTC
Persistent=true
[Install]
WantedBy=timers.target
`
	deadlineService = `[Unit]
Description=Hallmark: power off, the deadline of this environment has passed
[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl poweroff
`
)

// What may stand unquoted in shell, paths and Hiera keys.
var (
	commitName  = regexp.MustCompile(`^[0-9a-zA-Z][0-9a-zA-Z._-]*$`)
	packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]*$`)
	userName    = regexp.MustCompile(`^[a-z_][a-z0-9_-]*$`)
	secretName  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

func (l Launch) check() error {
	if !commitName.MatchString(l.Commit) {
		return fmt.Errorf("launch of %s: commit %q is not a name", l.Server, l.Commit)
	}
	if l.Stage != StageBake && l.Stage != StageLaunch {
		return fmt.Errorf("launch of %s: stage %q: use bake or launch", l.Server, l.Stage)
	}
	if l.Server == "" || l.Role == "" {
		return fmt.Errorf("launch: a server needs a name and a role (name %q, role %q)", l.Server, l.Role)
	}
	if l.Bootstrap != nil && !userName.MatchString(l.Bootstrap.User) {
		return fmt.Errorf("launch of %s: bootstrap user %q is not a user name", l.Server, l.Bootstrap.User)
	}
	for _, p := range l.Packages {
		if !packageName.MatchString(p) {
			return fmt.Errorf("launch of %s: %q is not the name of a Debian package", l.Server, p)
		}
	}
	for name := range l.Secrets {
		if !secretName.MatchString(name) {
			return fmt.Errorf("launch of %s: secret %q: a name is lower-case letters, digits and _", l.Server, name)
		}
	}
	if l.Stage == StageBake && len(l.Secrets)+len(l.Peers)+len(l.Volumes)+len(l.Admin.Keys) > 0 {
		return fmt.Errorf("launch of %s: nothing of an environment (peers, volumes, secrets, keys) may be baked into an image", l.Server)
	}
	return nil
}

func (l Launch) settings() string {
	timeout := l.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Minute
	}
	var b strings.Builder
	fmt.Fprintf(&b, "HALLMARK_COMMIT=%s\nHALLMARK_STAGE=%s\n", l.Commit, l.Stage)
	fmt.Fprintf(&b, "HALLMARK_PACKAGES=\"%s\"\n", strings.Join(l.Packages, " "))
	fmt.Fprintf(&b, "HALLMARK_TIMEOUT=%d\n", int(timeout.Seconds()))
	if l.CacheURL != "" {
		fmt.Fprintf(&b, "HALLMARK_CACHE=\"%s\"\n", l.CacheURL)
	}
	if l.Awaits && l.Bootstrap != nil {
		b.WriteString("HALLMARK_SECRETS=awaited\n")
	}
	if l.Bootstrap != nil {
		fmt.Fprintf(&b, "HALLMARK_BOOTSTRAP_USER=%s\n", l.Bootstrap.User)
	}
	return b.String()
}

func (l Launch) facts() (string, error) {
	type hallmark struct {
		Environment string            `json:"environment"`
		Server      string            `json:"server"`
		Role        string            `json:"role"`
		Commit      string            `json:"commit"`
		Address     string            `json:"address"`
		Admin       Admin             `json:"admin"`
		Bastion     string            `json:"bastion"`
		Peers       map[string]Peer   `json:"peers"`
		Volumes     map[string]string `json:"volumes"`
	}
	h := hallmark{
		Environment: l.Environment, Server: l.Server, Role: l.Role, Commit: l.Commit,
		Address: address(l.Address), Bastion: address(l.Bastion),
		Admin:   Admin{User: l.Admin.User, Keys: slices.Clone(l.Admin.Keys)},
		Peers:   l.Peers,
		Volumes: l.Volumes,
	}
	if h.Admin.Keys == nil {
		h.Admin.Keys = []string{}
	}
	if h.Peers == nil {
		h.Peers = map[string]Peer{}
	}
	if h.Volumes == nil {
		h.Volumes = map[string]string{}
	}
	body, err := json.MarshalIndent(map[string]any{
		"hallmark_stage": l.Stage,
		"hallmark_role":  l.Role,
		"hallmark":       h,
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("facts of %s: %w", l.Server, err)
	}
	return string(body) + "\n", nil
}

func (l Launch) secrets() (string, error) {
	byKey := make(map[string]string, len(l.Secrets))
	for name, value := range l.Secrets {
		byKey["secret::"+name] = value
	}
	body, err := yaml.Marshal(byKey)
	if err != nil {
		return "", fmt.Errorf("secrets of %s: %w", l.Server, err)
	}
	return string(body), nil
}

// apt makes every apt-get on the server, Puppet's too, wait for another's lock and try again.
func (l Launch) apt() string {
	s := "DPkg::Lock::Timeout \"120\";\nAcquire::Retries \"3\";\n"
	if l.CacheURL != "" {
		s += fmt.Sprintf("Acquire::http::Proxy %q;\n", l.CacheURL)
	}
	return s
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
