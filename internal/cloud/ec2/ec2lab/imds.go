package ec2lab

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
)

// Metadata answers what machines ask at http://169.254.169.254. A machine is told by its address. The context of a
// request says how far its answer travels (machines.WithHops).
func (l *Lab) Metadata() http.Handler { return http.HandlerFunc(l.serveMetadata) }

const tokenHeader = "X-aws-ec2-metadata-token"

var metadataVersions = []string{"1.0", "2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"}

func (l *Lab) serveMetadata(w http.ResponseWriter, req *http.Request) {
	from, err := netip.ParseAddrPort(req.RemoteAddr)
	if err != nil {
		http.Error(w, "", http.StatusForbidden)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.at(from.Addr().Unmap())
	if i == nil || i.options.endpoint != "enabled" {
		http.Error(w, "", http.StatusForbidden)
		return
	}
	w.Header().Set("Server", "EC2ws")
	hops := 0 // of an answer without a token: as many as usual
	if req.Method == http.MethodPut {
		hops = i.options.hops
	}
	if err := machines.BoundHops(req.Context(), hops); err != nil {
		l.cfg.Log.Error("metadata service", "instance", i.id, "err", err)
		panic(http.ErrAbortHandler) // the answer would reach whom it must not
	}
	if req.Method == http.MethodPut {
		l.openSession(w, req, i)
		return
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		http.Error(w, "", http.StatusMethodNotAllowed)
		return
	}
	given := req.Header.Get(tokenHeader)
	if (given != "" || i.options.tokens == "required") && !l.inSession(i, given) {
		http.Error(w, "", http.StatusUnauthorized)
		return
	}
	text, found := l.metadata(i, req.URL.Path)
	if !found {
		http.Error(w, "", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, err = w.Write([]byte(text)) //nolint:gosec // it is a machine's own text
	l.said(err)
}

// openSession gives a token (IMDSv2).
func (l *Lab) openSession(w http.ResponseWriter, req *http.Request, i *instance) {
	const header = "X-aws-ec2-metadata-token-ttl-seconds"
	ttl, err := strconv.Atoi(req.Header.Get(header))
	switch {
	case req.URL.Path != "/latest/api/token":
		http.Error(w, "", http.StatusNotFound)
	case req.Header.Get("X-Forwarded-For") != "":
		http.Error(w, "", http.StatusForbidden)
	case err != nil || ttl < 1 || ttl > 21600:
		http.Error(w, "", http.StatusBadRequest)
	default:
		t := l.fixedID(i.id+"-", l.newID("")) + "=="
		l.sessions[t] = l.cfg.Clock.Now().Add(time.Duration(ttl) * time.Second)
		w.Header().Set(header, strconv.Itoa(ttl))
		_, err := w.Write([]byte(t))
		l.said(err)
	}
}

// inSession says whether a token is this instance's and still good.
func (l *Lab) inSession(i *instance, t string) bool {
	return strings.HasPrefix(t, i.id+"-") && l.cfg.Clock.Now().Before(l.sessions[t])
}

// metadata finds a leaf's text, or lists what is below a path: folders with a slash at the end.
func (l *Lab) metadata(i *instance, path string) (string, bool) {
	path = strings.Trim(path, "/")
	if path == "" {
		return strings.Join(metadataVersions, "\n"), true
	}
	version, rest, _ := strings.Cut(path, "/")
	if !slices.Contains(metadataVersions, version) {
		return "", false
	}
	leaves := l.leaves(i)
	if text, ok := leaves[rest]; ok {
		return text, true
	}
	below := rest + "/"
	if rest == "" {
		below = ""
	}
	var names []string
	for name := range leaves {
		under, ok := strings.CutPrefix(name, below)
		if !ok {
			continue
		}
		if child, _, deep := strings.Cut(under, "/"); deep {
			under = child + "/"
		}
		if !slices.Contains(names, under) {
			names = append(names, under)
		}
	}
	if names == nil {
		return "", false
	}
	slices.Sort(names)
	if rest == "meta-data/public-keys" && i.key != nil {
		return "0=" + i.key.name, true // the one list that is spelt otherwise
	}
	return strings.Join(names, "\n"), true
}

// leaves are all texts, by their path below the version.
func (l *Lab) leaves(i *instance) map[string]string {
	r, n := i.region, i.nic
	mac, name, address := hardwareAddress(n.address), r.dns(n.address), n.address.String()
	groups := make([]string, 0, len(n.groups))
	for _, m := range r.members(n.groups) {
		groups = append(groups, m.Name)
	}
	all := map[string]string{
		"meta-data/ami-id":                                  i.image.id,
		"meta-data/ami-launch-index":                        "0",
		"meta-data/ami-manifest-path":                       "(unknown)",
		"meta-data/block-device-mapping/ami":                i.image.disks[0].device,
		"meta-data/block-device-mapping/root":               i.image.disks[0].device,
		"meta-data/hostname":                                name,
		"meta-data/instance-action":                         "none",
		"meta-data/instance-id":                             i.id,
		"meta-data/instance-life-cycle":                     "on-demand",
		"meta-data/instance-type":                           i.kind.name,
		"meta-data/local-hostname":                          name,
		"meta-data/local-ipv4":                              address,
		"meta-data/mac":                                     mac,
		"meta-data/placement/availability-zone":             n.subnet.zone,
		"meta-data/placement/availability-zone-id":          n.subnet.zoneID,
		"meta-data/placement/region":                        r.name,
		"meta-data/profile":                                 "default-hvm",
		"meta-data/reservation-id":                          i.reservation,
		"meta-data/security-groups":                         strings.Join(groups, "\n"),
		"meta-data/services/domain":                         "amazonaws.com",
		"meta-data/services/partition":                      "aws",
		"dynamic/instance-identity/document":                l.document(i),
		"meta-data/network/interfaces/macs/" + mac + "/mac": mac,
	}
	for leaf, text := range map[string]string{
		"device-number": "0", "interface-id": n.id, "local-hostname": name, "local-ipv4s": address, "owner-id": l.cfg.Account,
		"security-group-ids": strings.Join(n.groups, "\n"), "security-groups": strings.Join(groups, "\n"), "subnet-id": n.subnet.id,
		"subnet-ipv4-cidr-block": n.subnet.cidr.String(), "vpc-id": r.vpc.id, "vpc-ipv4-cidr-block": r.vpc.cidr.String(),
		"vpc-ipv4-cidr-blocks": r.vpc.cidr.String(),
	} {
		all["meta-data/network/interfaces/macs/"+mac+"/"+leaf] = text
	}
	if i.profile != "" { // without one there is no iam at all
		_, role, _ := strings.Cut(i.profile, "instance-profile/")
		all["meta-data/iam/security-credentials/"+role] = `{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIALAB", "SecretAccessKey": "of ` + role + `", "Token": "lab"}`
	}
	if len(i.userData) > 0 {
		all["user-data"] = string(i.userData)
	}
	if i.key != nil {
		all["meta-data/public-keys/0/openssh-key"] = i.key.public + "\n"
	}
	if i.request != nil {
		all["meta-data/instance-life-cycle"] = "spot"
	}
	if i.notice != nil {
		at := i.notice.at.Format(time.RFC3339)
		all["meta-data/spot/instance-action"] = fmt.Sprintf(`{"action": "%s", "time": "%s"}`, i.notice.action, at)
		if i.notice.action == "terminate" {
			all["meta-data/spot/termination-time"] = at
		}
	}
	if i.options.tags == "enabled" {
		for k, v := range r.tags[i.id] {
			all["meta-data/tags/instance/"+k] = v
		}
	}
	return all
}

// document is the instance's identity. It is not signed.
func (l *Lab) document(i *instance) string {
	text, err := json.MarshalIndent(map[string]any{
		"accountId": l.cfg.Account, "architecture": "x86_64", "availabilityZone": i.nic.subnet.zone, "imageId": i.image.id,
		"instanceId": i.id, "instanceType": i.kind.name, "pendingTime": i.launched.Format(time.RFC3339),
		"privateIp": i.nic.address.String(), "region": i.region.name, "version": "2017-09-30",
	}, "", "  ")
	if err != nil {
		return "" // strings always can be
	}
	return string(text)
}
