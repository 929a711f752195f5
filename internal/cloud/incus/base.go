package incus

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
)

// ImportBase uploads a root file system together with metadata that make cloud-init take the
// user-data of a server's configuration. The image gets its name only after its fingerprint has
// shown that all of it arrived: a broken upload is never adopted.
func (p *Provider) ImportBase(ctx context.Context, spec cloud.ImageSpec, rootfsPath string) (cloud.Image, error) {
	call := "import " + spec.Name
	if err := checkImage(call, spec); err != nil {
		return cloud.Image{}, err
	}
	if spec.Kind != cloud.Base {
		return cloud.Image{}, refuse(call, "a root file system can only become a reference base")
	}
	c := p.connect("")
	image, err := named(ctx, c, call, spec)
	if !absent(err) {
		return image, fail(call, err)
	}
	rootfs, err := os.Open(rootfsPath)
	if err != nil {
		return cloud.Image{}, refuse(call, "%w", err)
	}
	defer rootfs.Close()
	info, err := rootfs.Stat()
	if err != nil {
		return cloud.Image{}, refuse(call, "%w", err)
	}
	// The same file gives the same image: what a crash left without its name is found again.
	metadata, err := metadataTarball(spec, info.ModTime())
	if err != nil {
		return cloud.Image{}, fail(call, err)
	}
	if err := upload(ctx, c, spec, metadata, rootfs); err != nil {
		return cloud.Image{}, fail(call, err)
	}
	image, err = named(ctx, c, call, spec)
	return image, fail(call, err)
}

func upload(ctx context.Context, c *incusd.Client, spec cloud.ImageSpec, metadata []byte, rootfs *os.File) error {
	sum := sha256.New() // Incus' fingerprint is that of both files, one after the other
	arrived, err := c.Upload(ctx, properties(spec),
		incusd.ImageFile{Name: "metadata.tar", Content: io.TeeReader(bytes.NewReader(metadata), sum)},
		incusd.ImageFile{Name: filepath.Base(rootfs.Name()), Content: io.TeeReader(rootfs, sum)})
	sent := hex.EncodeToString(sum.Sum(nil))
	switch {
	case err != nil && classify(err) == cloud.CodeConflict: // all of it is there already
	case err != nil:
		return err
	case arrived != sent:
		return errors.Join(fmt.Errorf("the upload is incomplete: %s was sent, %s arrived", sent, arrived), c.DeleteImage(ctx, arrived))
	}
	err = c.CreateImageAlias(ctx, spec.Name, sent)
	if err != nil && classify(err) == cloud.CodeConflict { // another process was faster; ours may be a second one
		found, gone := c.Image(ctx, sent)
		if gone == nil && len(found.Aliases) == 0 {
			return c.DeleteImage(ctx, sent)
		}
		return nil
	}
	return err
}

// The templates that Incus fills in before a new server's first start. The instance's own UUID makes
// cloud-init see a new instance even in an image that was captured without being sealed.
var templates = []struct{ path, file, mode, text string }{
	{"/etc/hostname", "hostname.tpl", "0644", "{{ instance.name }}\n"},
	{"/etc/hosts", "hosts.tpl", "0644", `127.0.0.1	localhost
127.0.1.1	{{ instance.name }}.` + domain + ` {{ instance.name }}
::1		localhost ip6-localhost ip6-loopback
`},
	{"/var/lib/cloud/seed/nocloud/meta-data", "meta-data.tpl", "0600", `instance-id: {{ config_get("volatile.uuid", instance.name) }}
local-hostname: {{ instance.name }}
`},
	// It may hold secrets.
	{"/var/lib/cloud/seed/nocloud/user-data", "user-data.tpl", "0600", `{{ config_get("cloud-init.user-data", "#cloud-config") }}
`},
	{"/var/lib/cloud/seed/nocloud/network-config", "network-config.tpl", "0644", `version: 1
config:
  - type: physical
    name: eth0
    subnets:
      - type: dhcp
        control: auto
`},
}

// imageMetadata is metadata.yaml of an image, with what we use of its fields: see "Image format" in Incus'
// documentation.
type imageMetadata struct {
	Architecture string                   `yaml:"architecture"`
	CreationDate int64                    `yaml:"creation_date"` // seconds since 1970
	Properties   map[string]string        `yaml:"properties"`
	Templates    map[string]imageTemplate `yaml:"templates"` // by the path of what is made of it
}

// imageTemplate is a file that Incus writes into an instance.
type imageTemplate struct {
	When     []string `yaml:"when"` // create, copy, rename, start
	Template string   `yaml:"template"`
	Mode     string   `yaml:"mode"`
	UID      string   `yaml:"uid"`
	GID      string   `yaml:"gid"`
}

func metadataTarball(spec cloud.ImageSpec, now time.Time) ([]byte, error) {
	metadata := imageMetadata{
		Architecture: architecture(), CreationDate: now.Unix(), Properties: properties(spec),
		Templates: map[string]imageTemplate{},
	}
	files := map[string][]byte{}
	for _, t := range templates {
		metadata.Templates[t.path] = imageTemplate{
			When: []string{"create", "copy"}, Template: t.file, Mode: t.mode, UID: "0", GID: "0",
		}
		files[t.file] = []byte(t.text)
	}
	text, err := yaml.Marshal(metadata)
	if err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	write := func(name string, mode int64, content []byte) {
		err = errors.Join(err, w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), ModTime: now,
		}))
		_, werr := w.Write(content)
		err = errors.Join(err, werr)
	}
	write("metadata.yaml", 0o644, text)
	err = errors.Join(err, w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "templates/", Mode: 0o755, ModTime: now}))
	for _, t := range templates {
		write("templates/"+t.file, 0o644, files[t.file])
	}
	err = errors.Join(err, w.Close())
	return buffer.Bytes(), err
}

// architecture is the kernel's name of what this process runs on, as Incus wants it.
func architecture() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return runtime.GOARCH
}
