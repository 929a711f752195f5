package incus_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus"
)

// hostile takes what it can get, and writes down how much that was. It ends by itself, also where nothing
// bounds it.
const hostile = `import os, sys, time, fcntl, ctypes, struct
def note(what, value):
    with open("/run/" + what, "w") as f: f.write(str(value))
def hog():
    got = []
    for i in range(60):
        got.append(bytearray(8 << 20)); note("memory", 8 * len(got))
def fill():
    n = 0
    try:
        with open("/var/fill", "wb", buffering=0) as f:
            for i in range(600):
                f.write(bytes(1 << 20)); n += 1
                if n % 8 == 0: os.fsync(f.fileno())
    except OSError as e: note("full", e)
    note("disk", n)
def subvolume():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_ulong, ctypes.c_void_p]
    made = 0
    for number in (0x5000940e, 0xffffffff5000940e, 0x50009418, 0xffffffff50009418):
        b = ctypes.create_string_buffer(struct.pack("q", 0) + (b"escape%d" % made).ljust(4088, b"\0"), 4096)
        if number & 0xff == 0x18: b = ctypes.create_string_buffer(bytes(56) + (b"escape%d" % made).ljust(4040, b"\0"), 4096)
        ioctl = {"x86_64": 16}.get(os.uname().machine, 29)
        if libc.syscall(ioctl, os.open("/var", os.O_RDONLY), number, ctypes.addressof(b)) == 0: made += 1
    note("subvolumes", made)
def fork():
    n = 0
    try:
        for i in range(1000):
            if os.fork() == 0:
                time.sleep(8); os._exit(0)
            n += 1
    except OSError as e: note("refused", e)
    note("processes", n)
subvolume()
if os.fork() == 0: hog(); os._exit(0)
os.wait()
if os.fork() == 0: fill(); os._exit(0)
fork()
try:
    while True: os.wait()
except ChildProcessError: pass
`

// TestHostileServer: a server that takes all the memory, disk and processes that it can get is stopped at its
// bounds, and its neighbour goes on to answer.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	p, me := provider(t), owner(t)
	image := base(t, p)
	t.Cleanup(func() { clear(t, p, me) })
	tags := cloud.Tags{Owner: me}
	n := network(t, p, cloud.NetworkSpec{Name: me + "-hostile", Tags: tags})
	for i, spec := range []cloud.ServerSpec{{Name: "hostile", MemoryMiB: 128, DiskMiB: 512, Processes: 100}, {Name: "neighbour"}} {
		spec.Network, spec.Image, spec.Address, spec.Token, spec.Tags = n.ID, image.ID, nth(n, 10+i), spec.Name, tags
		made, err := p.Launch(t.Context(), spec)
		must(t, err)
		if want := max(spec.DiskMiB, 8192*int64(i)); made.RootMiB != want {
			t.Errorf("the root disk of %s is told to have %d MiB, want %d", spec.Name, made.RootMiB, want)
		}
		until(t, spec.Name+" is up", func() bool {
			return inside(t, n, spec.Name, "ss -Hltn sport = :22 | grep -q .")
		})
	}
	write(t, n, "hostile", "/root/hostile.py", hostile)
	answer := func() time.Duration {
		asked := time.Now()
		if !inside(t, n, "neighbour", "systemctl is-active -q ssh && echo x >/var/mark") {
			t.Error("the neighbour does not work")
		}
		return time.Since(asked)
	}
	usual := max(answer(), answer(), answer())
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	attack := exec.CommandContext(ctx, "incus", "exec", "--project", string(n.ID), "hostile", "--", "python3", "/root/hostile.py")
	must(t, attack.Start())
	ended := make(chan error, 1)
	go func() { ended <- attack.Wait() }()
	var slowest time.Duration
	answers := 0
	for working := true; working; answers++ {
		_, err := p.Servers(t.Context(), cloud.Filter{Owner: me}) // as every run looks at its servers
		must(t, err)
		slowest = max(slowest, answer())
		select {
		case err := <-ended:
			working = false
			t.Logf("the attack ended: %v", err)
		default:
		}
	}
	t.Logf("%d answers of the neighbour, the slowest after %s; %s before", answers, slowest, usual)
	if slowest > 3*usual+5*time.Second {
		t.Errorf("the neighbour answers after %s", slowest)
	}
	until(t, "the attack is over", func() bool { // while it has all of its processes, no command can be run there
		return said(t, n, "hostile", "test -s /run/disk -a -s /run/processes && echo over") == "over"
	})
	got := map[string]int{}
	for _, what := range []string{"memory", "disk", "processes", "subvolumes"} {
		var number int
		if _, err := fmt.Sscan(said(t, n, "hostile", "cat /run/"+what), &number); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		got[what] = number
	}
	t.Logf("it got %v; %s; %s", got, said(t, n, "hostile", "cat /run/full"), said(t, n, "hostile", "cat /run/refused"))
	for what, most := range map[string]int{"memory": 128, "disk": 500, "processes": 100, "subvolumes": 0} {
		if got[what] > most {
			t.Errorf("%s: it got %d, want %d at most", what, got[what], most)
		}
	}
}

// TestIDRanges: no two servers have a user id in common. What a server leaves on a volume, and in an image,
// belongs to the same users on the next, whatever its range.
func TestIDRanges(t *testing.T) {
	t.Parallel()
	p := provider(t)
	n, server, volume := database(t, p)
	tags := server.Tags
	launch := func(name, token string, image cloud.ImageID, i int, volumes ...cloud.VolumeID) cloud.Server {
		made, err := p.Launch(t.Context(), cloud.ServerSpec{
			Name: name, Network: n.ID, Image: image, Address: nth(n, i), Token: token, Tags: tags, Volumes: volumes,
		})
		must(t, err)
		return made
	}
	const mark = "install -o 105 -g 110 -m 4750 /bin/true"
	const marked = "test \"$(stat -c %u:%g:%a"
	place := func(dir string) string {
		return mark + " " + dir + "/mark && cp -a " + dir + "/mark " + dir + "/copy && sync"
	}
	owned := func(dir string) string {
		return marked + " " + dir + "/mark)\" = 105:110:4750 && test -x " + dir + "/copy && touch " + dir + "/more"
	}
	if !inside(t, n, "db-1", place("/usr/local")+" && "+place(volume.Path)) {
		t.Fatal("db-1 cannot write")
	}
	first := ids(t, n, "db-1")
	must(t, p.Stop(t.Context(), server.ID, true))
	image, err := p.Capture(t.Context(), server.ID, cloud.ImageSpec{Name: tags.Owner + "-image", Kind: cloud.Prebuilt, Tags: tags})
	must(t, err)
	must(t, p.Destroy(t.Context(), server.ID))
	launch("other", "other", image.ID, 11) // it gets the range that is free now
	again := launch("db-1", "again", image.ID, 10, volume.ID)
	second, other := ids(t, n, "db-1"), ids(t, n, "other")
	t.Logf("db-1 had %s, has %s; other has %s", first, second, other)
	if second == other || strings.Fields(second)[2] != "65536" {
		t.Errorf("ranges are %s and %s", second, other)
	}
	for dir, servers := range map[string][]string{"/usr/local": {"db-1", "other"}, volume.Path: {"db-1"}} {
		for _, s := range servers {
			if !inside(t, n, s, owned(dir)) {
				t.Errorf("%s: %s belongs to %s", s, dir, said(t, n, s, "ls -lan "+dir))
			}
		}
	}
	disk, err := exec.CommandContext(t.Context(), "stat", "-c", "%u:%g", "/var/lib/incus/storage-pools/hallmark/custom/"+string(n.ID)+"_db-1-data/mark").CombinedOutput()
	if strings.TrimSpace(string(disk)) != "105:110" {
		t.Errorf("on the disk of the volume the file belongs to %s, %v: a relaunch changes all files", disk, err)
	}
	// Ids on a volume's disk are those inside, so nobody but root may come near to what is there.
	info, err := os.Stat("/var/lib/incus/storage-pools/hallmark/custom")
	must(t, err)
	if info.Mode().Perm()&0o077 != 0 {
		t.Errorf("users of this host get to where volumes are: %s", info.Mode())
	}
	must(t, p.Destroy(t.Context(), again.ID))
}

// TestNothingStaysInLogs: consoles and logs of servers go with them, or with their network if a crash came in
// between; others stay.
func TestNothingStaysInLogs(t *testing.T) {
	t.Parallel()
	p := provider(t)
	n, server, volume := database(t, p)
	logs := func(server string) string { return filepath.Join("/var/log/incus", string(n.ID)+"_"+server) }
	there := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	named := filepath.Join("/var/log/incus", "dnsmasq."+incus.BridgeName(n.Name)+".log")
	if !there(filepath.Join(logs("db-1"), "console.log")) || !there(named) {
		t.Fatal("Incus keeps its logs elsewhere, so this proves nothing")
	}
	must(t, p.Destroy(t.Context(), server.ID))
	if there(logs("db-1")) {
		t.Error("the logs of db-1 are there still")
	}
	crashed, err := p.Launch(t.Context(), cloud.ServerSpec{
		Name: "web-1", Network: n.ID, Image: server.Image, Address: nth(n, 12), Token: "crashed", Tags: server.Tags,
	})
	must(t, err)
	byHand(t, "delete", "-f", "--project", string(n.ID), "web-1")
	if !there(logs("web-1")) {
		t.Fatal("Incus removes logs by itself, so this proves nothing")
	}
	neighbour := logs("x") + "_y"
	must(t, os.Mkdir(neighbour, 0o700))
	defer os.Remove(neighbour)
	must(t, p.Destroy(t.Context(), crashed.ID))
	must(t, p.DeleteVolume(t.Context(), volume.ID))
	byHand(t, "project", "delete", string(n.ID)) // and a crash while the network was removed
	owned, err := p.Owned(t.Context(), server.Tags.Owner)
	must(t, err)
	if len(owned) != 1 {
		t.Fatalf("owned: %+v, want the network", owned)
	}
	must(t, p.Delete(t.Context(), owned[0]))
	for _, path := range []string{logs("db-1"), logs("web-1"), named} {
		if there(path) {
			t.Errorf("%s is there still", path)
		}
	}
	if !there(neighbour) {
		t.Error("the logs of somebody else are gone")
	}
}

// ids is the range of user ids of a server on this host, as the kernel has it: inside, outside, how many.
func ids(t *testing.T, n cloud.Network, server string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "incus", "query", fmt.Sprintf("/1.0/instances/%s/state?project=%s", server, n.ID)).Output()
	must(t, err)
	var state struct{ PID int }
	must(t, json.Unmarshal(out, &state))
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", state.PID))
	must(t, err)
	return strings.TrimSpace(string(text))
}

// said is what a command on a server prints.
func said(t *testing.T, n cloud.Network, server, command string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "incus", "exec", "--project", string(n.ID), server, "--", "sh", "-c", command).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

// write puts a file on a server.
func write(t *testing.T, n cloud.Network, server, path, text string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "incus", "file", "push", "--quiet", "--project", string(n.ID), "-", server+path)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("write %s: %v: %s", path, err, out)
	}
}
