package base

import (
	"fmt"
	"os"
	"strings"
)

// SourcesFile is where `make host` writes the Debian mirrors of the machine's own apt sources.
const SourcesFile = "/etc/hallmark/debian.list"

// HostSources reads the apt sources that a base built on this host gets (see SourcesFile).
func HostSources(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("this host's Debian mirrors: %w; run `make host`", err)
	}
	sources := lines(text)
	for _, s := range sources {
		if !strings.HasPrefix(s, "deb ") {
			return nil, fmt.Errorf("%s: %q is no apt source; run `make host`", file, s)
		}
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("%s names no mirror; run `make host`", file)
	}
	return sources, nil
}
