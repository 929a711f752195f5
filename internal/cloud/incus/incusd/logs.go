package incusd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// LogDir is where Incus keeps the logs and consoles of its instances, unless it is told otherwise.
const LogDir = "/var/log/incus"

// InstanceLogs is the folder with logs and console of one instance, in the logs of its daemon. Instances of
// the project default have no project in its name, and are none of Hallmark's.
func InstanceLogs(logs, project, instance string) string {
	return filepath.Join(logs, project+"_"+instance)
}

// RemoveInstanceLogs removes what Incus leaves in its logs of an instance that it removed: its console, among
// other things. The API does not reach it. Incus itself keeps it until its logs expire.
func RemoveInstanceLogs(logs, project, instance string) error {
	if project == "" || instance == "" || strings.ContainsAny(project+instance, "/_") { // no folder of one instance
		return nil
	}
	return os.RemoveAll(InstanceLogs(logs, project, instance))
}

// RemoveProjectLogs removes the logs of all instances of a project, which has none any more. Neither the
// project's name nor an instance's has an underscore, so no other project's are among them.
func RemoveProjectLogs(logs, project string) error {
	if project == "" || strings.ContainsAny(project, "/_") {
		return nil
	}
	entries, err := os.ReadDir(logs)
	if errors.Is(err, fs.ErrNotExist) { // an Incus of another host
		return nil
	}
	errs := []error{err}
	for _, entry := range entries {
		if instance, ok := strings.CutPrefix(entry.Name(), project+"_"); ok && entry.IsDir() {
			errs = append(errs, RemoveInstanceLogs(logs, project, instance))
		}
	}
	return errors.Join(errs...)
}

// RemoveNetworkLogs removes the log of the name server and address server of a bridge that is gone.
func RemoveNetworkLogs(logs, bridge string) error {
	if bridge == "" || strings.Contains(bridge, "/") {
		return nil
	}
	err := os.Remove(filepath.Join(logs, "dnsmasq."+bridge+".log"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
