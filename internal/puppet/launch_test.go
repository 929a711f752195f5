package puppet

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKIb118YzhyI1SOQd3qAhNoZnnjCb0HOvFt0zsyv7r3H test"

func launch() Launch {
	return Launch{
		Commit: "0123abcd", Stage: StageLaunch, Environment: "e1", Server: "web-1", Role: "web",
		Address: netip.MustParseAddr("10.0.0.21"), Bastion: netip.MustParseAddr("10.0.0.10"),
		Admin:    Admin{User: "testadmin", Keys: []string{key}},
		Peers:    map[string]Peer{"db-1": {Role: "db", Address: netip.MustParseAddr("10.0.0.11")}},
		Volumes:  map[string]string{"data": "/mnt/hallmark/data"},
		Secrets:  Secrets{"db_password": "s3cret: 'it\" is"},
		Packages: []string{"puppet-agent", "puppet-module-puppetlabs-stdlib"},
		CacheURL: "http://10.90.0.1:3142",
		Timeout:  12 * time.Minute,
	}
}

type cloudConfig struct {
	Users []struct {
		Name string   `yaml:"name"`
		Sudo string   `yaml:"sudo"`
		Keys []string `yaml:"ssh_authorized_keys"`
	} `yaml:"users"`
	Files []struct {
		Path        string `yaml:"path"`
		Permissions string `yaml:"permissions"`
		Encoding    string `yaml:"encoding"`
		Content     string `yaml:"content"`
	} `yaml:"write_files"`
}

// plain is what cloud-init makes of a file's content.
func plain(t *testing.T, encoding, content string) string {
	t.Helper()
	if encoding == "" {
		return content
	}
	packed, err := base64.StdEncoding.DecodeString(content)
	if err != nil || encoding != "gz+b64" {
		t.Fatalf("encoding %q: %v", encoding, err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func parse(t *testing.T, l Launch) (cloudConfig, map[string]string) {
	t.Helper()
	text, err := l.UserData()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(text, "#cloud-config\n") {
		t.Fatalf("user data begins with %.30q", text)
	}
	var c cloudConfig
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range c.Files {
		files[f.Path] = f.Permissions + "\n" + plain(t, f.Encoding, f.Content)
	}
	return c, files
}

func TestUserDataOfPrebuilt(t *testing.T) {
	c, files := parse(t, launch())
	if len(c.Users) != 0 {
		t.Errorf("users %v: a prebuilt image has no bootstrap user", c.Users)
	}
	if _, ok := files[ScriptPath]; ok {
		t.Error("the script is in the image already")
	}
	var facts struct {
		Stage    string `json:"hallmark_stage"`
		Role     string `json:"hallmark_role"`
		Hallmark struct {
			Peers   map[string]map[string]string `json:"peers"`
			Volumes map[string]string            `json:"volumes"`
			Bastion string                       `json:"bastion"`
			Commit  string                       `json:"commit"`
			Admin   Admin                        `json:"admin"`
		} `json:"hallmark"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(files[FactsPath], "0644\n")), &facts); err != nil {
		t.Fatal(err)
	}
	if facts.Stage != "launch" || facts.Role != "web" || facts.Hallmark.Commit != "0123abcd" ||
		facts.Hallmark.Peers["db-1"]["address"] != "10.0.0.11" || facts.Hallmark.Bastion != "10.0.0.10" ||
		facts.Hallmark.Volumes["data"] != "/mnt/hallmark/data" || facts.Hallmark.Admin.Keys[0] != key {
		t.Errorf("facts %+v", facts)
	}
	if !strings.Contains(files[AptPath], `Acquire::http::Proxy "http://10.90.0.1:3142";`) {
		t.Errorf("apt: %s", files[AptPath])
	}
}

// Secrets are in a file for root alone, which is in Files and Private, and not in user-data, which providers keep.
func TestSecretsAreNotInUserData(t *testing.T) {
	for _, l := range []Launch{launch(), {Commit: "0123abcd", Stage: StageLaunch, Server: "web-1", Role: "web"}} {
		for _, onBase := range []bool{true, false} {
			l.OnBase = onBase
			text, err := l.UserData()
			if err != nil || strings.Contains(text, "s3cret") || strings.Contains(text, "db_password") {
				t.Errorf("user-data has a secret, %v: %s", err, text)
			}
			if _, files := parse(t, l); files[SecretsPath] != "" {
				t.Errorf("user-data writes %s", SecretsPath)
			}
			private, err := l.Private()
			if err != nil || len(private) != 1 || private[0].Path != SecretsPath || private[0].Mode != 0o600 {
				t.Fatalf("private files %v, %v", private, err)
			}
			var values map[string]string
			if err := yaml.Unmarshal([]byte(private[0].Content), &values); err != nil || len(values) != len(l.Secrets) || values["secret::db_password"] != l.Secrets["db_password"] {
				t.Errorf("secrets %v, %v", values, err)
			}
			all, err := l.Files()
			if err != nil || !slices.Contains(all, private[0]) || all[len(all)-1].Path != SettingsPath {
				t.Errorf("files %v, %v", all, err)
			}
			for _, f := range all {
				if f.Path != SecretsPath && strings.Contains(f.Content, "s3cret") {
					t.Errorf("%s has a secret", f.Path)
				}
			}
		}
	}
	bake := Launch{Commit: "0123abcd", Stage: StageBake, Server: "bench", Role: "web"}
	if private, err := bake.Private(); err != nil || len(private) > 0 {
		t.Errorf("at stage bake there are %v, %v", private, err)
	}
}

// Where secrets are brought, the server is told to wait, and has a script that does.
func TestUserDataOfAwaitedSecrets(t *testing.T) {
	l := launch()
	l.Awaits, l.Bootstrap = true, &Bootstrap{User: "hallmark-bootstrap", PublicKey: key}
	c, files := parse(t, l)
	if len(c.Users) != 1 || files[ScriptPath] == "" || files[UnitPath] != "" || !strings.Contains(files[SettingsPath], "\nHALLMARK_SECRETS=awaited\n") {
		t.Errorf("users %v, files %v", c.Users, slices.Sorted(maps.Keys(files)))
	}
	l.Bootstrap = nil // an upgrade, which brings its files before it starts the unit
	if _, files := parse(t, l); strings.Contains(files[SettingsPath], "awaited") {
		t.Error("it would wait for nobody")
	}
}

func TestUserDataOfBase(t *testing.T) {
	l := launch()
	l.OnBase, l.Bootstrap = true, &Bootstrap{User: "hallmark-bootstrap", PublicKey: key + "\n"}
	l.Deadline = time.Date(2026, 11, 25, 3, 30, 0, 0, time.FixedZone("", 3600))
	c, files := parse(t, l)
	if timer := files["/etc/systemd/system/hallmark-deadline.timer"]; !strings.Contains(timer, "OnCalendar=2026-11-25 02:30:00 UTC\n") {
		t.Errorf("timer %q", timer)
	}
	if len(c.Users) != 1 || c.Users[0].Name != "hallmark-bootstrap" || c.Users[0].Keys[0] != key || c.Users[0].Sudo == "" {
		t.Errorf("users %+v", c.Users)
	}
	if files[ScriptPath] != "0755\n"+script || files[UnitPath] != "0644\n"+unit {
		t.Error("script or unit is not what is embedded")
	}
	text, _ := l.UserData()
	if len(text) > 16<<10 {
		t.Errorf("%d bytes of user data: EC2 takes 16384", len(text))
	}
}

// The settings are read by a shell.
func TestSettingsAreShell(t *testing.T) {
	l := launch()
	l.Bootstrap = &Bootstrap{User: "hallmark-bootstrap", PublicKey: key}
	cmd := exec.Command("bash", "-euc", `. /dev/stdin; echo "$HALLMARK_COMMIT|$HALLMARK_STAGE|$HALLMARK_PACKAGES|$HALLMARK_TIMEOUT|$HALLMARK_BOOTSTRAP_USER"`)
	cmd.Stdin = strings.NewReader(l.settings())
	out, err := cmd.Output()
	if want := "0123abcd|launch|puppet-agent puppet-module-puppetlabs-stdlib|720|hallmark-bootstrap\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}

func TestSettingsComeLast(t *testing.T) {
	files, err := launch().Files()
	if err != nil {
		t.Fatal(err)
	}
	if last := files[len(files)-1].Path; last != SettingsPath {
		t.Errorf("the last file is %s", last)
	}
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*Launch){
		"commit":      func(l *Launch) { l.Commit = "a; rm -rf /" },
		"no commit":   func(l *Launch) { l.Commit = "" },
		"stage":       func(l *Launch) { l.Stage = "later" },
		"package":     func(l *Launch) { l.Packages = []string{"$(id)"} },
		"secret name": func(l *Launch) { l.Secrets = Secrets{"A b": "x"} },
		"user":        func(l *Launch) { l.Bootstrap = &Bootstrap{User: "root; x"} },
		"name":        func(l *Launch) { l.Server = "" },
		"baked":       func(l *Launch) { l.Stage = StageBake },
	} {
		t.Run(name, func(t *testing.T) {
			l := launch()
			change(&l)
			if _, err := l.UserData(); err == nil {
				t.Error("accepted")
			} else if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	l := launch()
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "launch", l, "secrets", l.Secrets)
	body, _ := json.Marshal(l)
	if all := fmt.Sprintf("%v %+v %#v %s %s", l, l, l, log.String(), body); strings.Contains(all, "s3cret") {
		t.Error("a secret was printed")
	}
}
