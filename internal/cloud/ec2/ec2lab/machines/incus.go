package machines

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	client "github.com/lxc/incus/v6/client"
	"github.com/lxc/incus/v6/shared/api"
)

// IncusConfig says which Incus, and how the lab is laid out on it.
type IncusConfig struct {
	Name   string       // two labs of a host need two
	Socket string       // "": where Incus puts it
	Pool   string       // storage pool; "": hallmark
	LogDir string       // where Incus keeps its instances' logs; "": /var/log/incus
	Range  netip.Prefix // the first address is the lab's gateway, which the host has
	Grace  time.Duration
	Log    *slog.Logger
}

// tagLab is a user key of the project and the bridge, and a property of images: the lab's name. Clear
// finds everything by it.
const tagLab = "user.ec2lab"

// Incus is a Host of system containers: one project, one bridge that keeps its ports apart, one nft
// table that routes between them what the rules allow. It takes root on the Incus host.
type Incus struct {
	cfg     IncusConfig
	project string
	bridge  string
	table   string

	mu       sync.Mutex
	ends     []End
	metadata *http.Server
	served   chan struct{} // closed when metadata has ended
	port     uint16        // of the metadata service on the gateway; 0: none yet
}

var _ Host = (*Incus)(nil)

func newIncus(cfg IncusConfig) *Incus {
	if cfg.Pool == "" {
		cfg.Pool = "hallmark"
	}
	if cfg.LogDir == "" {
		cfg.LogDir = "/var/log/incus"
	}
	if cfg.Grace == 0 {
		cfg.Grace = 30 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	sum := sha256.Sum256([]byte(cfg.Name))
	short := "el" + hex.EncodeToString(sum[:])[:10] // Linux allows 15 bytes for an interface
	return &Incus{cfg: cfg, project: "ec2lab-" + cfg.Name, bridge: short, table: "ec2lab_" + short}
}

// NewIncus makes project, bridge and table. What an earlier lab of this name left is an error: it may
// still be at work.
func NewIncus(ctx context.Context, cfg IncusConfig) (*Incus, error) {
	h := newIncus(cfg)
	c, err := h.connect(ctx, "")
	if err != nil {
		return nil, err
	}
	if _, _, err := c.GetProject(h.project); err == nil {
		return nil, fmt.Errorf("the project %s is there: another lab of this name is at work, or died; ec2lab.Clear removes it", h.project)
	}
	if err := h.lay(c); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return nil, errors.Join(err, h.clear(ctx))
	}
	return h, nil
}

func (h *Incus) lay(c client.InstanceServer) error {
	err := c.CreateProject(api.ProjectsPost{Name: h.project, ProjectPut: api.ProjectPut{
		Description: "EC2 test lab " + h.cfg.Name,
		Config: api.ConfigMap{
			tagLab: h.cfg.Name, "features.images": "false", "features.networks": "false", "features.networks.zones": "false",
			"features.profiles": "true", "features.storage.buckets": "true", "features.storage.volumes": "true",
		},
	}})
	if err != nil {
		return fmt.Errorf("create project %s: %w", h.project, err)
	}
	return h.layBridge(c)
}

// ClearIncus removes what a lab of this name left behind.
func ClearIncus(ctx context.Context, cfg IncusConfig) error { return newIncus(cfg).clear(ctx) }

// Close implements Host.
func (h *Incus) Close(ctx context.Context) error {
	if h.metadata != nil {
		_ = h.metadata.Close() // those who still ask are about to be destroyed
		<-h.served
	}
	return h.clear(ctx)
}

// clear removes everything with the lab's name. The bridge goes last but one: without it the rules
// are about nothing.
func (h *Incus) clear(ctx context.Context) error {
	c, err := h.connect(ctx, "")
	if err != nil {
		return err
	}
	var errs []error
	if found, _, err := c.GetProject(h.project); err == nil {
		if found.Config[tagLab] != h.cfg.Name {
			return fmt.Errorf("the project %s is not the lab's", h.project)
		}
		errs = append(errs, h.empty(ctx), c.DeleteProject(h.project))
	} else if !absent(err) {
		errs = append(errs, err)
	}
	images, err := c.GetImages()
	errs = append(errs, err)
	for _, image := range images {
		if image.Properties[tagLab] == h.cfg.Name {
			errs = append(errs, h.DeleteImage(ctx, image.Fingerprint))
		}
	}
	if err := c.DeleteNetwork(h.bridge); !absent(err) {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, h.raze(ctx))...)
}

// empty removes machines and volumes.
func (h *Incus) empty(ctx context.Context) error {
	c, err := h.connect(ctx, h.project)
	if err != nil {
		return err
	}
	names, err := c.GetInstanceNames(api.InstanceTypeAny)
	errs := []error{err}
	for _, name := range names {
		errs = append(errs, h.Destroy(ctx, name))
	}
	volumes, err := c.GetStoragePoolVolumes(h.cfg.Pool)
	errs = append(errs, err)
	for _, v := range volumes {
		if v.Type == custom && !strings.Contains(v.Name, "/") {
			errs = append(errs, h.DeleteVolume(ctx, v.Name))
		}
	}
	return errors.Join(errs...)
}

// connect gives a client for one project ("": default) whose calls all end with ctx. The library
// binds some requests to the connection's context and others to none, so each call of ours has its
// own connection and a transport that binds every request.
func (h *Incus) connect(ctx context.Context, project string) (client.InstanceServer, error) {
	hc := &http.Client{}
	c, err := client.ConnectIncusUnixWithContext(ctx, h.cfg.Socket, &client.ConnectionArgs{
		HTTPClient: hc, SkipGetServer: true, SkipGetEvents: true, UserAgent: "ec2lab",
	})
	if err != nil {
		return nil, fmt.Errorf("connect to Incus: %w", err)
	}
	t, ok := hc.Transport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("the Incus client's transport is a %T", hc.Transport)
	}
	hc.Transport = bound{ctx: ctx, transport: t}
	if project != "" {
		c = c.UseProject(project)
	}
	return c, nil
}

// bound ends every request with the context of the call it belongs to.
type bound struct {
	ctx       context.Context //nolint:containedctx // one connection lives for one call
	transport *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (b bound) RoundTrip(r *http.Request) (*http.Response, error) {
	return b.transport.RoundTrip(r.WithContext(b.ctx))
}

// Transport implements the client library's HTTPTransporter, which looks for the transport itself.
func (b bound) Transport() *http.Transport { return b.transport }

// finish waits for an operation: pass it both results of the call that started it.
func finish(c client.InstanceServer, op client.Operation, err error) (map[string]any, error) {
	if err != nil {
		return nil, err
	}
	done, _, err := c.GetOperationWait(op.Get().ID, -1)
	if err != nil {
		return nil, err
	}
	if done.Err != "" {
		return nil, errors.New(done.Err)
	}
	return done.Metadata, nil
}

// patiently does something to a machine, again while Incus says that something else is done to it.
func (h *Incus) patiently(ctx context.Context, do func(client.InstanceServer) error) error {
	c, err := h.connect(ctx, h.project)
	if err != nil {
		return err
	}
	for {
		err := do(c)
		if err == nil || !strings.Contains(err.Error(), "busy running") && !strings.Contains(err.Error(), "matching non-reusable operation") {
			return err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// absent says that something is not there. An operation that failed has no status, only a text.
func absent(err error) bool {
	if err == nil {
		return false
	}
	return api.StatusErrorCheck(err, http.StatusNotFound) || slices.ContainsFunc([]string{"not found", "no such object"}, func(s string) bool {
		return strings.Contains(strings.ToLower(err.Error()), s)
	})
}
