package ec2lab

import (
	"maps"
	"slices"
)

// Actions are all that the lab has of EC2.
func Actions() []string { return slices.Sorted(maps.Keys(actions)) }

// ServiceActions are all that the lab has of all services, by the version of their API.
func ServiceActions() map[string][]string {
	all := map[string][]string{}
	for version, s := range services {
		all[version] = slices.Sorted(maps.Keys(s.actions))
	}
	return all
}

// ServiceName is how policies call the service that has an API's version.
func ServiceName(version string) string { return services[version].name }

// Rights says whether the lab knows what an action needs.
func Rights(action string) bool { return rights[action] != nil }

// Die ends the lab as the end of its process would: what it made stays.
func (l *Lab) Die() {
	l.stop()
	l.tasks.Wait()
	_ = l.name.Close()
}
