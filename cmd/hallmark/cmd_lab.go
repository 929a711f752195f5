package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/config"
)

func (c *cli) lab() *cobra.Command {
	return group("lab", "Laboratories: try a configuration without an account", "  hallmark lab ec2", c.labEC2())
}

// labCloses is how long the removal of a laboratory's machines may take.
const labCloses = 2 * time.Minute

func (c *cli) labEC2() *cobra.Command {
	var listen, name, cidr string
	cmd := &cobra.Command{
		Use:   "ec2",
		Short: "An endpoint that speaks EC2's protocol, with Incus containers of this machine behind it",
		Long: `Lab ec2 answers as EC2, ELB, Auto Scaling, SSM and STS do, so that a configuration with provider.kind ec2 can be tried without an
account: its instances are real machines of this host, started from the reference base. It is a test tool: nothing
that was proved on it is proved on EC2. Until it is interrupted it prints nothing but what a configuration needs;
then it removes everything that it made.`,
		Example: "  hallmark lab ec2\n  hallmark lab ec2 --listen 127.0.0.1:4566 --name trial --cidr 10.95.0.0/16",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			prefix, err := netip.ParsePrefix(cidr)
			if err != nil {
				return usage("--cidr: %w", err)
			}
			cfg, err := c.settings(cmd)
			if err != nil {
				return err
			}
			cfg.Provider.Kind = "incus"
			cfg.Provider.Faults = ""
			return c.serveLab(cmd.Context(), cfg, ec2lab.Config{Name: name, CIDR: prefix, Pool: cfg.Provider.Incus.Pool, Socket: cfg.Provider.Incus.Socket, Log: c.log()}, listen)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:4566", "`address` to listen on")
	flags.StringVar(&name, "name", "ec2lab", "its name: two laboratories of a host need two, and two ranges")
	flags.StringVar(&cidr, "cidr", "10.92.0.0/16", "its private `range`, a /16")
	return cmd
}

// In a laboratory the reference base is called as Debian calls its own AMIs, and belongs to their account.
const (
	labOwner  = "136693071363"
	labFamily = "debian-12-"
	labVendor = "debian-12-amd64-"
)

func (c *cli) serveLab(ctx context.Context, cfg config.Config, lc ec2lab.Config, listen string) (err error) {
	here, err := c.place(ctx, cfg)
	if err != nil {
		return err
	}
	base, err := here.base(ctx, here.cloud, false, c.errOut)
	if err != nil {
		return err
	}
	lc.Seeds = []ec2lab.Seed{{Name: strings.Replace(base.Name, labFamily, labVendor, 1), Fingerprint: string(base.ID), Owner: labOwner}}
	lab, err := ec2lab.New(ctx, lc)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), labCloses)
		defer cancel()
		err = errors.Join(err, lab.Close(ctx))
	}()
	var l net.ListenConfig
	socket, err := l.Listen(ctx, "tcp", listen)
	if err != nil {
		return usage("--listen: %w", err)
	}
	c.printf("%s", labSettings(lab, socket.Addr().String(), cfg.Provider.Incus.Cache))
	server := &http.Server{Handler: lab.Handler(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the laboratory: %w", err)
	}
	return nil
}

// labSettings is what a configuration needs to run on the laboratory.
func labSettings(lab *ec2lab.Lab, address string, cache netip.AddrPort) string {
	var subnets []string
	for _, zone := range []string{"eu-lab-1a", "eu-lab-1b", "eu-lab-1c"} {
		subnets = append(subnets, lab.Subnet(zone))
	}
	return fmt.Sprintf(`# export AWS_ACCESS_KEY_ID=lab AWS_SECRET_ACCESS_KEY=lab
provider:
  kind: ec2
  ec2:
    endpoint: http://%s
    region: eu-lab-1
    subnets: [%s]
    reach: [%s/32]
    types: [t3.small, t3.medium]
    cache: %s
base:
  name: %s/%s*
`, address, strings.Join(subnets, ", "), lab.Gateway(), cache, labOwner, labVendor)
}
