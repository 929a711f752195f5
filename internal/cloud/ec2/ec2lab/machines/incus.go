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
	"sync"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/incus/incusd"
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

// tagLab is a user key of the project and the bridge, and a property of images: the lab's name. clear
// finds everything by it.
const tagLab = "user.ec2lab"

// Incus is a Host of system containers: one project, one bridge that keeps its ports apart, one nft
// table that routes between them what the rules allow. It takes root on the Incus host.
type Incus struct {
	cfg     IncusConfig
	project string
	bridge  string
	table   string
	quotas  incusd.Quotas

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
		cfg.LogDir = incusd.LogDir
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

// NewIncus makes project, bridge and table, in place of what is there of this name already: no two may
// be at work at the same time.
func NewIncus(ctx context.Context, cfg IncusConfig) (*Incus, error) {
	h := newIncus(cfg)
	if err := h.clear(ctx); err != nil {
		return nil, fmt.Errorf("remove what an earlier lab has left: %w", err)
	}
	pool, err := h.connect("").Pool(ctx, h.cfg.Pool)
	if err == nil {
		h.quotas, err = incusd.QuotasOf(ctx, pool)
	}
	if err == nil {
		err = h.quotas.Hold(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("make the quotas of storage pool %s hold: %w", h.cfg.Pool, err)
	}
	if err := h.lay(ctx, h.connect("")); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return nil, errors.Join(err, h.clear(ctx))
	}
	return h, nil
}

func (h *Incus) lay(ctx context.Context, c *incusd.Client) error {
	err := c.CreateProject(ctx, h.project, "EC2 test lab "+h.cfg.Name, map[string]string{
		tagLab: h.cfg.Name, "features.images": "false", "features.networks": "false", "features.networks.zones": "false",
		"features.profiles": "true", "features.storage.buckets": "true", "features.storage.volumes": "true",
	})
	if err != nil {
		return fmt.Errorf("create project %s: %w", h.project, err)
	}
	return h.layBridge(ctx, c)
}

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
	c := h.connect("")
	var errs []error
	if found, err := c.Project(ctx, h.project); err == nil {
		if found.Config[tagLab] != h.cfg.Name {
			return fmt.Errorf("the project %s is not the lab's", h.project)
		}
		errs = append(errs, h.empty(ctx), incusd.RemoveProject(ctx, c, h.project))
	} else if !incusd.Absent(err) {
		errs = append(errs, err)
	}
	images, err := incusd.List(ctx, c.Images)
	errs = append(errs, err)
	for _, image := range images {
		if image.Properties[tagLab] == h.cfg.Name {
			errs = append(errs, h.DeleteImage(ctx, image.Fingerprint))
		}
	}
	errs = append(errs, incusd.RemoveNetwork(ctx, c, h.bridge), h.raze(ctx))
	return errors.Join(append(errs, incusd.RemoveProjectLogs(h.cfg.LogDir, h.project), incusd.RemoveNetworkLogs(h.cfg.LogDir, h.bridge))...)
}

// empty removes machines and volumes.
func (h *Incus) empty(ctx context.Context) error {
	c := h.connect(h.project)
	instances, err := c.Instances(ctx)
	errs := []error{err}
	for _, in := range instances {
		errs = append(errs, h.Destroy(ctx, in.Name))
	}
	volumes, err := c.Volumes(ctx, h.cfg.Pool)
	errs = append(errs, err)
	for _, v := range volumes {
		errs = append(errs, h.DeleteVolume(ctx, v.Name))
	}
	return errors.Join(errs...)
}

// connect gives a client for one project ("": default). Every call has its own.
func (h *Incus) connect(project string) *incusd.Client {
	return incusd.Connect(h.cfg.Socket, "ec2lab", project)
}

// patiently does something to a machine, again while Incus says that something else is done to it.
func (h *Incus) patiently(ctx context.Context, id string, do func(*incusd.Client) error) error {
	c := h.connect(h.project)
	return incusd.Patiently(ctx, c, id, func() error { return do(c) })
}
