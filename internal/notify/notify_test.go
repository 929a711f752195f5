package notify

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A command that leaves its work to a child and ends well has told people: it is not tried again.
func TestSendToAChild(t *testing.T) {
	t.Parallel()
	tell := filepath.Join(t.TempDir(), "tell")
	if err := os.WriteFile(tell, []byte("#!/bin/sh\ncat >/dev/null\nsleep 3 &\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Send(t.Context(), []string{tell}, json.RawMessage(`{}`), time.Minute); err != nil {
		t.Error(err)
	}
}
