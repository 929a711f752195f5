package imager

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/remote"
)

// The search is tried for real, on a folder instead of a whole server.
func TestSearchForSecrets(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte("password = 'it''s $(s3cret) `x`'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		secrets []string
		sealed  string // exit code of the seal before it
		exit    int
		says    string
	}{
		"none there":       {[]string{"another-secret", "and-one-more"}, "0", 0, ""},
		"one is there":     {[]string{"another-secret", "it''s $(s3cret) `x`"}, "0", 1, "left: a secret in " + dir + "/conf"},
		"nothing to find":  {nil, "0", 0, ""},
		"not sealed":       {nil, "1", 1, ""},
		"not sealed, none": {[]string{"another-secret"}, "1", 1, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			script := "sealed=" + c.sealed + "\n" + searchScript(c.secrets, dir) + "exit $sealed\n"
			result, err := localSession{}.Run(t.Context(), remote.Command{Line: "exec bash -s", Stdin: strings.NewReader(script)})
			if err != nil || result.Exit != c.exit || !strings.Contains(string(result.Stdout), c.says) {
				t.Errorf("exit %d, says %q, %v, %s", result.Exit, result.Stdout, err, result.Stderr)
			}
			for _, secret := range c.secrets {
				if strings.Contains(string(result.Stdout), secret) {
					t.Error("the secret itself was printed")
				}
			}
		})
	}
}
