package incusd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"time"
)

// Image is one that the daemon keeps.
type Image struct {
	Fingerprint string            `json:"fingerprint"`
	Properties  map[string]string `json:"properties"`
	Size        int64             `json:"size"` // bytes
	UploadedAt  time.Time         `json:"uploaded_at"`
	Aliases     []struct {
		Name string `json:"name"`
	} `json:"aliases"`
}

// Image reads one by its fingerprint.
func (c *Client) Image(ctx context.Context, fingerprint string) (Image, error) {
	return get[Image](ctx, c, nil, "images", fingerprint)
}

// Images lists those of the project.
func (c *Client) Images(ctx context.Context) ([]Image, error) { return list[Image](ctx, c, "images") }

// Publication is an image to be made, uncompressed, of an instance or of a snapshot of one. It is set
// which of both.
type Publication struct {
	Instance string // a stopped one
	Snapshot string // "instance/snapshot"

	Properties map[string]string
	Alias      string // "": none
}

// Publish makes an image and gives its fingerprint.
func (c *Client) Publish(ctx context.Context, p Publication) (fingerprint string, err error) {
	source := map[string]string{"type": "instance", "name": p.Instance}
	if p.Snapshot != "" {
		source = map[string]string{"type": "snapshot", "name": p.Snapshot}
	}
	aliases := []map[string]string{}
	if p.Alias != "" {
		aliases = append(aliases, map[string]string{"name": p.Alias})
	}
	made, err := c.post(ctx, map[string]any{
		"source": source, "properties": p.Properties, "aliases": aliases, "compression_algorithm": "none",
	}, "images")
	return fingerprintOf(made, err)
}

// ImageFile is one of the two files of an image, and its name.
type ImageFile struct {
	Name    string
	Content io.Reader
}

// Upload makes an image of a metadata tarball and a container's root file system, and gives the fingerprint
// of what arrived: SHA-256 over both, one after the other.
func (c *Client) Upload(ctx context.Context, properties map[string]string, metadata, rootfs ImageFile) (fingerprint string, err error) {
	// The parts' headers are written ahead, so that both files go straight to the connection.
	var text bytes.Buffer
	form := multipart.NewWriter(&text)
	var parts []io.Reader
	flush := func() {
		parts = append(parts, bytes.NewReader(bytes.Clone(text.Bytes())))
		text.Reset()
	}
	for field, file := range []ImageFile{metadata, rootfs} {
		if _, err := form.CreateFormFile([]string{"metadata", "rootfs"}[field], file.Name); err != nil {
			return "", err
		}
		flush()
		parts = append(parts, file.Content)
	}
	if err := form.Close(); err != nil {
		return "", err
	}
	flush()
	described := url.Values{}
	for name, value := range properties {
		described.Set(name, value)
	}
	header := http.Header{"Content-Type": {form.FormDataContentType()}}
	header.Set("X-Incus-properties", described.Encode())
	made, err := c.do(ctx, request{method: http.MethodPost, path: []string{"images"}, header: header, body: io.MultiReader(parts...)})
	return fingerprintOf(made, err)
}

// fingerprintOf reads what an operation that made an image tells.
func fingerprintOf(metadata json.RawMessage, err error) (string, error) {
	if err != nil {
		return "", err
	}
	var made struct {
		Fingerprint string `json:"fingerprint"`
	}
	if err := json.Unmarshal(metadata, &made); err != nil || made.Fingerprint == "" {
		return "", errors.New("the image that was made has no fingerprint")
	}
	return made.Fingerprint, nil
}

// DeleteImage removes an image. Instances that were made of it stay.
func (c *Client) DeleteImage(ctx context.Context, fingerprint string) error {
	return c.remove(ctx, "images", fingerprint)
}

// ImageAlias gives the fingerprint of the image that has a name.
func (c *Client) ImageAlias(ctx context.Context, name string) (fingerprint string, err error) {
	alias, err := get[struct {
		Target string `json:"target"`
	}](ctx, c, nil, "images", "aliases", name)
	return alias.Target, err
}

// CreateImageAlias names an image.
func (c *Client) CreateImageAlias(ctx context.Context, name, fingerprint string) error {
	_, err := c.post(ctx, map[string]string{"name": name, "target": fingerprint, "type": "container"}, "images", "aliases")
	return err
}
