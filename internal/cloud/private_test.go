package cloud_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// A private file may be printed, logged and encoded with all that holds it, and its content does not show.
func TestSecretsDoNotPrint(t *testing.T) {
	spec := cloud.ServerSpec{Name: "web-1", Private: []cloud.PrivateFile{{Path: "/etc/x", Content: "hunter22"}}}
	var said bytes.Buffer
	fmt.Fprintf(&said, "%v %+v %#v %s %q\n", spec, spec, spec, spec.Private[0].Content, spec.Private[0].Content)
	slog.New(slog.NewJSONHandler(&said, nil)).Info("launch", "spec", spec, "file", spec.Private[0], "secret", spec.Private[0].Content)
	slog.New(slog.NewTextHandler(&said, nil)).Info("launch", "spec", spec, "file", spec.Private[0], "secret", spec.Private[0].Content)
	if err := json.NewEncoder(&said).Encode(spec); err != nil {
		t.Fatal(err)
	}
	if text := said.String(); strings.Contains(text, "hunter") || strings.Count(text, "***") < 8 {
		t.Errorf("said %s", text)
	}
}
