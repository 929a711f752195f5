package ec2

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// volumesOf finds those of a server's volumes that it does not have yet, before it is launched, so that it
// is not launched in vain. One that an instance still has which is ending is waited for.
func (p *Provider) volumesOf(ctx context.Context, call string, spec cloud.ServerSpec, n *nic, in *types.Instance) ([]types.Volume, error) {
	var list []types.Volume
	for _, id := range spec.Volumes {
		v, err := p.findVolume(ctx, id)
		if err != nil {
			return nil, err
		}
		if n != nil && n.zone != aws.ToString(v.AvailabilityZone) {
			return nil, refuse(call, "volume %s is in %s and its address in %s: a volume's name has to begin with its server's", id, *v.AvailabilityZone, n.zone)
		}
		by := attachedTo(v)
		if in != nil && by == cloud.ServerID(*in.InstanceId) {
			continue
		}
		if by != "" {
			if _, err := p.find(ctx, by); !absent(err) {
				if err == nil {
					err = conflict(call, "volume %s is attached to %s", id, by)
				}
				return nil, err
			}
			if err := p.free(ctx, id); err != nil {
				return nil, err
			}
		}
		list = append(list, *v)
	}
	return list, nil
}

// attachAll gives a server its volumes. It can take them once it is running.
func (p *Provider) attachAll(ctx context.Context, volumes []types.Volume, in *types.Instance) error {
	for i := range volumes {
		now, err := p.settled(ctx, cloud.ServerID(*in.InstanceId), types.InstanceStateNamePending)
		if err != nil {
			return err
		}
		if err := p.attach(ctx, &volumes[i], now); err != nil {
			return err
		}
		*in = *now
	}
	return nil
}

// AttachVolume gives a volume to a server, running or stopped, in the same zone. A volume that another
// server has is a CodeConflict.
func (p *Provider) AttachVolume(ctx context.Context, id cloud.VolumeID, server cloud.ServerID) error {
	call := "attach volume " + string(id)
	in, err := p.settled(ctx, server, types.InstanceStateNamePending)
	if err != nil {
		return fail(call, err)
	}
	v, err := p.findVolume(ctx, id)
	if err != nil {
		return fail(call, err)
	}
	switch by := attachedTo(v); by {
	case server:
		return nil
	case "":
		return fail(call, p.attach(ctx, v, in))
	default:
		return conflict(call, "%s has it", by)
	}
}

// attach does it and waits until the system sees the device.
func (p *Provider) attach(ctx context.Context, v *types.Volume, in *types.Instance) error {
	device, err := freeDevice(in)
	if err != nil {
		return err
	}
	if v.State != types.VolumeStateAvailable { // it is just being detached from another
		if err := p.free(ctx, cloud.VolumeID(*v.VolumeId)); err != nil {
			return err
		}
	}
	_, err = p.api.AttachVolume(ctx, &ec2.AttachVolumeInput{VolumeId: v.VolumeId, InstanceId: in.InstanceId, Device: &device})
	if err != nil {
		return err
	}
	in.BlockDeviceMappings = append(in.BlockDeviceMappings, types.InstanceBlockDeviceMapping{DeviceName: &device})
	return p.until(ctx, *v.VolumeId+" is attached", stateIn, func(ctx context.Context) (bool, error) {
		now, err := p.findVolume(ctx, cloud.VolumeID(*v.VolumeId))
		if err != nil {
			return false, err
		}
		return len(now.Attachments) > 0 && now.Attachments[0].State == types.VolumeAttachmentStateAttached, nil
	})
}

// freeDevice picks the device name that EC2 wants; on Nitro nobody finds the volume by it.
func freeDevice(in *types.Instance) (string, error) {
	used := map[string]bool{}
	for _, m := range in.BlockDeviceMappings {
		used[aws.ToString(m.DeviceName)] = true
	}
	for letter := 'f'; letter <= 'p'; letter++ {
		if device := fmt.Sprintf("/dev/sd%c", letter); !used[device] {
			return device, nil
		}
	}
	return "", &cloud.Error{Call: "attach a volume to " + *in.InstanceId, Code: cloud.CodeCapacity, Err: fmt.Errorf("it has %d already", len(used))}
}

// DetachVolume takes a volume from whatever server has it, and returns when it is free.
func (p *Provider) DetachVolume(ctx context.Context, id cloud.VolumeID) error {
	call := "detach volume " + string(id)
	v, err := p.findVolume(ctx, id)
	if err != nil {
		return fail(call, err)
	}
	if attachedTo(v) != "" {
		_, err := p.api.DetachVolume(ctx, &ec2.DetachVolumeInput{VolumeId: v.VolumeId})
		if err != nil && !is(err, "IncorrectState") { // it is being detached, or was just now
			return fail(call, err)
		}
	}
	return fail(call, p.free(ctx, id))
}
