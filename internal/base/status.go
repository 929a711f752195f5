package base

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// parseStatus reads dpkg's status file: the version of every installed package.
func parseStatus(r io.Reader) (map[string]string, error) {
	installed := map[string]string{}
	var name, version string
	var good bool
	end := func() {
		if good && name != "" {
			installed[name] = version
		}
		name, version, good = "", "", false
	}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		key, value, found := strings.Cut(s.Text(), ": ")
		switch {
		case s.Text() == "":
			end()
		case !found:
		case key == "Package":
			name = value
		case key == "Version":
			version = value
		case key == "Status":
			good = strings.HasSuffix(value, " installed")
		}
	}
	end()
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("read dpkg's status: %w", err)
	}
	return installed, nil
}
