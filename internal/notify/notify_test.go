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

// What the command gets is read by people elsewhere: nothing in it steers or hides.
func TestEventsDoNotSteer(t *testing.T) {
	t.Parallel()
	const evil = "\x1b]0;owned\x07\u202e\u200b\x00text"
	body, err := Event{Summary: evil, Text: evil, Run: &Run{Reason: evil}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var got Event
	if err := json.Unmarshal(body, &got); err != nil || got.Summary != "text" || got.Text != "text" || got.Run.Reason != "text" {
		t.Errorf("%s, %v", body, err)
	}
}
