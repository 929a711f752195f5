package machines

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
)

// IncusConfig says which Incus, and how the lab is laid out on it.
type IncusConfig struct {
	Name   string
	Socket string
	Pool   string
	LogDir string
	Range  netip.Prefix
	Log    *slog.Logger
}

func NewIncus(ctx context.Context, cfg IncusConfig) (Host, error) { return nil, errors.New("todo") }
func ClearIncus(ctx context.Context, cfg IncusConfig) error       { return errors.New("todo") }
