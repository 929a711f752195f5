package seal

import (
	"bytes"
	"path"
	"regexp"
	"strings"
)

// place is where an image keeps nothing: a file there that is not empty is a finding.
type place struct {
	// patterns are those of path.Match; one that ends with /** is everything below. One without a slash is a file
	// of that name anywhere.
	patterns []string
	what     string
	remedy   string
	harmless func(content []byte) bool // nil: whatever is in it is a finding
	noLinks  bool                      // a link there is none of it: Debian explains /var/log by one
}

const (
	byItself  = "remove it: each server makes its own as it starts"
	trace     = "remove it, or have what writes it stopped before the server is sealed"
	atLaunch  = "have Puppet do this at stage launch only"
	emptyLogs = "stop what writes it, and empty it"
)

// identities belong to one machine. Two servers of one image differ in each of them, or have none.
var identities = []place{
	{patterns: []string{"/etc/machine-id", "/var/lib/dbus/machine-id"}, what: "the machine's id", remedy: "empty it: systemd makes a new one", harmless: uninitialized},
	{patterns: []string{"/etc/hostid"}, what: "the host's id", remedy: byItself},
	{patterns: []string{"/etc/ssh/ssh_host_*", "/etc/dropbear/dropbear_*_host_key", "ssh_host_*_key", "ssh_host_*_key.pub"}, what: "an SSH host key", remedy: byItself},
	{patterns: []string{"/etc/iscsi/initiatorname.iscsi"}, what: "an iSCSI initiator's name", remedy: "write GenerateName=yes into it", harmless: noInitiator},
	{patterns: []string{"/etc/nvme/hostnqn", "/etc/nvme/hostid"}, what: "an NVMe host's name", remedy: byItself},
	{patterns: []string{
		"/var/lib/systemd/random-seed", "/var/lib/urandom/random-seed", "/var/lib/misc/random-seed", "/var/lib/random-seed",
		"/var/lib/seedrng/**", "/boot/loader/random-seed", "/boot/efi/loader/random-seed", "/efi/loader/random-seed",
	}, what: "a random seed", remedy: byItself},
	{patterns: []string{"/var/lib/systemd/credential.secret"}, what: "the key of systemd's credentials", remedy: byItself},
	{patterns: []string{
		"/var/lib/dhcp/*", "/var/lib/dhclient/*", "/var/lib/dhcpcd/**", "/etc/dhcpcd.duid", "/etc/dhcpcd.secret", "/var/lib/NetworkManager/*.lease",
		"/var/lib/NetworkManager/secret_key", "/var/lib/NetworkManager/timestamps", "/var/lib/NetworkManager/seen-bssids", "/var/lib/connman/**",
	}, what: "a DHCP lease, or what leases are asked for with", remedy: byItself},
	{patterns: []string{"/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key"}, what: "the snake-oil certificate, which a package made on this machine",
		remedy: "remove it with its key, and have them made at stage launch (make-ssl-cert generate-default-snakeoil)"},
	{patterns: []string{"/etc/puppet/ssl/**", "/var/lib/puppet/ssl/**", "/etc/puppetlabs/puppet/ssl/**", "/opt/puppetlabs/puppet/ssl/**"}, what: "a Puppet certificate", remedy: byItself},
	{patterns: []string{"/etc/salt/pki/**", "/etc/salt/minion_id"}, what: "a Salt certificate or id", remedy: byItself},
	{patterns: []string{"auto.cnf"}, what: "the identity of a MySQL server", remedy: byItself, harmless: lacks("server-uuid")},
	{patterns: []string{"grastate.dat", "gvwstate.dat"}, what: "the identity of a Galera node", remedy: byItself, harmless: noGalera},
	{patterns: []string{"pg_control"}, what: "a PostgreSQL cluster, with its system identifier", remedy: "drop the cluster (pg_dropcluster), and have Puppet create it at stage launch"},
	{patterns: []string{".erlang.cookie"}, what: "an Erlang cookie, by which brokers trust each other", remedy: byItself},
	{patterns: []string{"/var/lib/rabbitmq/mnesia/**"}, what: "the database of a RabbitMQ node", remedy: "stop the broker and remove it"},
	{patterns: []string{"meta.properties"}, what: "the identity of a Kafka broker", remedy: byItself, harmless: lacks("cluster.id", "broker.id", "node.id")},
	{patterns: []string{"/var/lib/redis/nodes*.conf", "/var/lib/valkey/nodes*.conf"}, what: "the identity of a Redis cluster node", remedy: byItself},
	{patterns: []string{"/var/lib/etcd/**"}, what: "the data of an etcd member", remedy: byItself},
	{patterns: []string{"/var/lib/consul/node-id", "/opt/consul/data/node-id", "/opt/consul/node-id"}, what: "the identity of a Consul node", remedy: byItself},
	{patterns: []string{"/var/lib/elasticsearch/**", "/var/lib/opensearch/**"}, what: "the data of a search node, with its identity", remedy: byItself},
	{patterns: []string{"/var/lib/docker/engine-id", "/etc/docker/key.json"}, what: "the identity of a Docker engine", remedy: byItself},
	{patterns: []string{"/var/lib/samba/private/secrets.tdb"}, what: "the machine's secrets of Samba", remedy: byItself},
	{patterns: []string{"/etc/popularity-contest.conf"}, what: "the identity of this machine for popularity-contest", remedy: "remove the line MY_HOSTID", harmless: lacks("MY_HOSTID=\"")},
}

// traces tell of the machine that the image was made on, or of people who were on it.
var traces = []place{
	{patterns: []string{"/var/lib/cloud/instances/**", "/var/lib/cloud/data/**", "/var/lib/cloud/seed/**"}, what: "what cloud-init was told of this machine", remedy: "run `cloud-init clean --seed`"},
	{patterns: []string{"/etc/hallmark/**", "/etc/facter/facts.d/hallmark.json", "/var/log/hallmark/**"}, what: "what the server was launched with by Hallmark", remedy: trace},
	{patterns: []string{"/var/lib/systemd/linger/*", "/var/lib/sudo/lectured/*", "/var/lib/sudo/ts/*", "/var/db/sudo/**", "/var/lib/wtmpdb/*", "/var/lib/lastlog/*"}, what: "a record of logins", remedy: trace},
	{patterns: []string{".*_history", ".lesshst", ".viminfo", ".wget-hsts", ".python_history", ".histfile", "fish_history"}, what: "a history of what somebody did", remedy: trace},
	{patterns: []string{
		"/var/mail/**", "/var/spool/mail/**", "dead.letter", "/var/spool/exim4/input/**", "/var/spool/exim4/msglog/**", "/var/spool/mqueue/**",
		"/var/spool/postfix/active/**", "/var/spool/postfix/bounce/**", "/var/spool/postfix/corrupt/**", "/var/spool/postfix/defer/**", "/var/spool/postfix/deferred/**",
		"/var/spool/postfix/hold/**", "/var/spool/postfix/incoming/**", "/var/spool/postfix/maildrop/**", "/var/spool/postfix/saved/**", "/var/spool/postfix/trace/**",
	}, what: "mail", remedy: "have it delivered, or remove it"},
	{patterns: []string{"/var/lib/systemd/coredump/**", "/var/crash/**", "/var/lib/apport/coredump/**"}, what: "a core dump", remedy: trace},
	{patterns: []string{"/var/log/**"}, what: "a log that is not empty", remedy: emptyLogs, noLinks: true},
	{patterns: []string{"authorized_keys", "authorized_keys2", "/etc/ssh/authorized_keys/**", "/etc/ssh/authorized_keys.d/**"}, what: "authorized keys", remedy: atLaunch, harmless: noLine},
}

// credentials are files of programs that keep one, in a form that is too common to be looked for everywhere.
var credentials = []place{
	{patterns: []string{
		".pypirc", "/root/.gem/credentials", "/home/*/.gem/credentials", "/root/.composer/auth.json", "/root/.config/composer/auth.json",
		"/home/*/.composer/auth.json", "/home/*/.config/composer/auth.json", "/root/.cargo/credentials*", "/home/*/.cargo/credentials*",
		"/root/.m2/settings*.xml", "/home/*/.m2/settings*.xml", "/root/.nuget/**", "/home/*/.nuget/**", "/etc/yum.repos.d/*", "/etc/zypp/credentials.d/*",
	}, what: "a credential of a package manager", remedy: noToken, harmless: noCredential},
	{patterns: []string{"/root/.config/gcloud/**", "/home/*/.config/gcloud/**", "/root/.azure/**", "/home/*/.azure/**"}, what: "what somebody logged in to a cloud with", remedy: noToken, harmless: noCredential},
	{patterns: []string{"/var/lib/ubuntu-advantage/private/*", "/etc/rhsm/**", "/etc/pki/consumer/**"}, what: "the subscription of this machine", remedy: byItself, harmless: noCredential},
}

var credential = regexp.MustCompile(`(?i)(?:password|passwd|token|api_?key|secret)[\w.-]*["']?\s*(?:[:=>]|</?)\s*["']?[^\s"'<>]{4}`)

func noCredential(content []byte) bool { return !credential.Match(content) }

// byPlace adds what is wrong by where the file is. content is its beginning, or all of it.
func (f *file) byPlace(content []byte, _ bool) {
	for _, list := range [][]place{identities, traces, credentials} {
		for _, p := range list {
			if p.has(f.path) && !(f.linked && p.noLinks) && (p.harmless == nil || !p.harmless(content)) {
				f.found(p.what, p.remedy)
			}
		}
	}
}

// has reports whether a path is one of the place.
func (p place) has(full string) bool {
	for _, pattern := range p.patterns {
		name := full
		if !strings.HasPrefix(pattern, "/") {
			name = path.Base(full)
		} else if above, all := strings.CutSuffix(pattern, "/**"); all {
			folders := strings.Split(full, "/")
			if n := strings.Count(above, "/") + 1; len(folders) > n {
				if match, _ := path.Match(above, strings.Join(folders[:n], "/")); match {
					return true
				}
			}
			continue
		}
		if match, _ := path.Match(pattern, name); match {
			return true
		}
	}
	return false
}

// uninitialized: systemd takes this word for an id that is still to be made (machine-id(5)).
func uninitialized(content []byte) bool {
	return string(bytes.TrimSpace(content)) == "uninitialized"
}

func lacks(words ...string) func([]byte) bool {
	return func(content []byte) bool {
		for _, word := range words {
			if bytes.Contains(content, []byte(word)) {
				return false
			}
		}
		return true
	}
}

var initiator = regexp.MustCompile(`(?m)^\s*InitiatorName\s*=`)

func noInitiator(content []byte) bool { return !initiator.Match(content) }

// galera is the id of a cluster or a node; one that was never in a cluster has zeros.
var galera = regexp.MustCompile(`(?m)^\s*(uuid|my_uuid):\s*[0-9a-fA-F-]*[1-9a-fA-F]`)

func noGalera(content []byte) bool { return !galera.Match(content) }

var line = regexp.MustCompile(`(?m)^\s*[^#\s]`)

func noLine(content []byte) bool { return !line.Match(content) }
