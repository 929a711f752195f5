package ec2lab

import (
	"bytes"
	"context"
	picture "image"
	"image/color"
	"image/jpeg"
	"slices"
	"time"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/query"
)

type consoleOutput struct {
	dry
	InstanceID string `query:"required"`
	Latest     bool
}

// mostConsole is how much of it EC2 keeps, from the end.
const mostConsole = 64 << 10

// getConsoleOutput gives the same with Latest and without: what was said up to now.
func (c *call) getConsoleOutput(in *consoleOutput) (any, error) {
	i, err := c.instance(in.InstanceID)
	if err != nil {
		return nil, err
	}
	if i.state != terminated {
		c.mu.Unlock() // the host is slow
		c.keepConsole(c.ctx, i)
		c.mu.Lock()
	}
	type view struct {
		ID     string     `xml:"instanceId"`
		At     *time.Time `xml:"timestamp"`
		Output string     `xml:"output,omitempty"`
	}
	if len(i.console) == 0 {
		return view{ID: i.id}, nil
	}
	return view{i.id, &i.spoke, encoded(i.console)}, nil
}

// keepConsole reads the console, and keeps what was there before if there is none.
func (l *Lab) keepConsole(ctx context.Context, i *instance) {
	text, err := l.host.Console(ctx, i.id)
	if err != nil || len(text) == 0 {
		return // not started yet, or gone
	}
	l.locked(func() { i.console, i.spoke = text[max(0, len(text)-mostConsole):], l.now() })
}

type consoleScreenshot struct {
	dry
	InstanceID string `query:"required"`
	WakeUp     bool
}

// getConsoleScreenshot draws a picture that shows nothing: a container has no screen.
func (c *call) getConsoleScreenshot(in *consoleScreenshot) (any, error) {
	i, err := c.instance(in.InstanceID)
	if err != nil {
		return nil, err
	}
	if i.state != running {
		return nil, wrongState(i, "photographed")
	}
	screen := picture.NewGray(picture.Rect(0, 0, 80, 25))
	screen.SetGray(1, 1, color.Gray{Y: 255})
	var b bytes.Buffer
	if err := jpeg.Encode(&b, screen, nil); err != nil {
		return nil, err
	}
	return struct {
		ID   string `xml:"instanceId"`
		Data string `xml:"imageData"`
	}{i.id, encoded(b.Bytes())}, nil
}

type modifyInstanceAttribute struct {
	dry
	InstanceID            string `query:"required"`
	GroupID               []string
	DisableAPITermination *struct{ Value bool }
	InstanceType          *struct{ Value string }
	UserData              *struct{ Value []byte }
	BlockDeviceMapping    []struct {
		DeviceName string `query:"required"`
		Ebs        struct{ DeleteOnTermination bool }
	}
	InstanceInitiatedShutdownBehavior *struct{ Value string }
}

func (c *call) modifyInstanceAttribute(in *modifyInstanceAttribute) (any, error) {
	i, err := c.instance(in.InstanceID)
	if err != nil {
		return nil, err
	}
	if i.state == shuttingDown || i.state == terminated {
		return nil, wrongState(i, "modified")
	}
	if (in.InstanceType != nil || in.UserData != nil) && i.state != stopped {
		return nil, query.Errorf("IncorrectInstanceState", "The instance '%s' is not in the 'stopped' state.", i.id)
	}
	switch {
	case in.GroupID != nil:
		if err := c.r.hasGroups(in.GroupID); err != nil {
			return nil, err
		}
		if len(in.GroupID) == 0 {
			return nil, query.Errorf("InvalidParameterValue", "An instance is in at least one security group")
		}
		i.nic.groups = slices.Clone(in.GroupID)
		c.mutated = true
	case in.DisableAPITermination != nil:
		i.keep = in.DisableAPITermination.Value
	case in.InstanceType != nil:
		return nil, query.Errorf("UnsupportedOperation", "The lab does not resize machines")
	case in.UserData != nil:
		if len(in.UserData.Value) > mostUserData {
			return nil, query.Errorf("InvalidParameterValue", "User data is limited to %d bytes", mostUserData)
		}
		i.userData = in.UserData.Value
	case in.InstanceInitiatedShutdownBehavior != nil:
		does, err := oneOf("instanceInitiatedShutdownBehavior", in.InstanceInitiatedShutdownBehavior.Value, "stop", "terminate")
		if err != nil {
			return nil, err
		}
		i.shutdown = does
	case len(in.BlockDeviceMapping) > 0:
		for _, m := range in.BlockDeviceMapping {
			at := slices.IndexFunc(sorted(c.r.volumes), func(v *volume) bool {
				return v.attachment != nil && v.attachment.instance == i && v.attachment.device == m.DeviceName
			})
			if at < 0 {
				return nil, query.Errorf("InvalidInstanceAttributeValue", "No device is currently mapped at %s", m.DeviceName)
			}
			sorted(c.r.volumes)[at].attachment.deletes = m.Ebs.DeleteOnTermination
		}
	default:
		return nil, query.Errorf("InvalidParameterCombination", "No attributes specified.")
	}
	return done{true}, nil
}

type modifyMetadataOptions struct {
	dry
	InstanceID               string `query:"required"`
	HTTPTokens, HTTPEndpoint string
	HTTPPutResponseHopLimit  int
	InstanceMetadataTags     string
}

func (c *call) modifyMetadataOptions(in *modifyMetadataOptions) (any, error) {
	i, err := c.instance(in.InstanceID)
	if err != nil {
		return nil, err
	}
	o := i.options
	set := func(to *string, name, value string, values ...string) error {
		if value == "" {
			return nil
		}
		var err error
		*to, err = oneOf(name, value, values...)
		return err
	}
	err = joined(
		set(&o.tokens, "HttpTokens", in.HTTPTokens, "optional", "required"),
		set(&o.endpoint, "HttpEndpoint", in.HTTPEndpoint, "enabled", "disabled"),
		set(&o.tags, "InstanceMetadataTags", in.InstanceMetadataTags, "disabled", "enabled"),
	)
	if err != nil {
		return nil, err
	}
	if in.HTTPPutResponseHopLimit > 0 {
		o.hops = in.HTTPPutResponseHopLimit
	}
	i.options = o
	return struct {
		ID     string `xml:"instanceId"`
		State  string `xml:"instanceMetadataOptions>state"`
		Tokens string `xml:"instanceMetadataOptions>httpTokens"`
		Hops   int    `xml:"instanceMetadataOptions>httpPutResponseHopLimit"`
		On     string `xml:"instanceMetadataOptions>httpEndpoint"`
	}{i.id, "applied", o.tokens, o.hops, o.endpoint}, nil
}
