package incus

import (
	"encoding/json"
	"maps"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// Tags are user keys of whatever they are on; for images, which have no configuration, properties
// of the same names.
const (
	tagPrefix      = "user.hallmark."
	tagOwner       = tagPrefix + "owner"
	tagRun         = tagPrefix + "run"
	tagEnvironment = tagPrefix + "environment"
	tagDeadline    = tagPrefix + "deadline"
	tagExtra       = tagPrefix + "extra" // a JSON object: Incus has no empty values and few characters for keys

	tagToken   = tagPrefix + "token"   // of a server: its launch token
	tagNetwork = tagPrefix + "network" // of a project, bridge and ACL: the network's name
	tagName    = tagPrefix + "name"    // of an image: its name
	tagKind    = tagPrefix + "kind"    // of an image: its cloud.Kind
)

// label adds tags to a configuration.
func label(config map[string]string, t cloud.Tags) map[string]string {
	config[tagOwner] = t.Owner
	if t.Run != "" {
		config[tagRun] = t.Run
	}
	if t.Environment != "" {
		config[tagEnvironment] = t.Environment
	}
	if !t.Deadline.IsZero() {
		config[tagDeadline] = t.Deadline.UTC().Format(time.RFC3339Nano)
	}
	if len(t.Extra) > 0 {
		if text, err := json.Marshal(t.Extra); err == nil { // strings always can be
			config[tagExtra] = string(text)
		}
	}
	return config
}

// tagsOf reads what label wrote. What cannot be read, because a person changed it, is left out.
func tagsOf(config map[string]string) cloud.Tags {
	t := cloud.Tags{Owner: config[tagOwner], Run: config[tagRun], Environment: config[tagEnvironment]}
	if at, err := time.Parse(time.RFC3339Nano, config[tagDeadline]); err == nil {
		t.Deadline = at
	}
	if text := config[tagExtra]; text != "" && json.Unmarshal([]byte(text), &t.Extra) != nil {
		t.Extra = nil
	}
	return t
}

// plain gives the properties of an image without tags.
func plain(properties map[string]string) map[string]string {
	rest := maps.Clone(properties)
	maps.DeleteFunc(rest, func(k, _ string) bool { return strings.HasPrefix(k, tagPrefix) })
	if len(rest) == 0 {
		return nil
	}
	return rest
}

// fits reports whether tags pass a filter. What has no owner is not ours and never does.
func fits(t cloud.Tags, f cloud.Filter) bool {
	return t.Owner != "" &&
		(f.Owner == "" || f.Owner == t.Owner) &&
		(f.Environment == "" || f.Environment == t.Environment) &&
		(f.Run == "" || f.Run == t.Run)
}
