package ec2

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"maps"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud"
)

// mostUserData is EC2's limit, before base64.
const mostUserData = 16 << 10

// request is all of a launch that does not depend on where there is room.
type request struct {
	spec     cloud.ServerSpec
	kinds    []types.InstanceType
	userData string
	tags     tags
	kmsKey   string
	spot     bool
}

// request checks what EC2 need not be asked.
func (p *Provider) request(call string, spec cloud.ServerSpec) (request, error) {
	switch {
	case spec.Token == "":
		return request{}, refuse(call, "no token")
	case spec.Image == "":
		return request{}, refuse(call, "no image")
	case spec.Network == "":
		return request{}, refuse(call, "no network")
	case len(spec.Private) > 0: // user-data is for every program on the instance: it is no place for them
		return request{}, refuse(call, "EC2 has no way to bring private files")
	case !name.MatchString(spec.Name):
		return request{}, refuse(call, "the name must match %s", name)
	}
	r := request{spec: spec, kmsKey: p.cfg.KMSKey, spot: p.cfg.Spot}
	r.tags = label(spec.Tags, tags{tagNetwork: string(spec.Network), tagServer: spec.Name, tagToken: spec.Token, tagName: spec.Name})
	err := r.tags.check(call)
	if err == nil {
		r.kinds, err = p.fitting(call, spec)
	}
	if err == nil {
		r.userData, err = packed(call, spec.UserData)
	}
	return r, err
}

// packed gives user-data as EC2 takes it. What is too long is compressed: cloud-init notices.
func packed(call, text string) (string, error) {
	raw := []byte(text)
	if len(raw) > mostUserData {
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err == nil {
			_, err = w.Write(raw)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return "", refuse(call, "compress the user-data: %w", err)
		}
		raw = b.Bytes()
	}
	if len(raw) > mostUserData {
		return "", refuse(call, "the user-data has %d bytes, and %d when it is compressed: EC2 takes %d", len(text), len(raw), mostUserData)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

// input is the request for one type on one interface. The interface is not deleted with the instance,
// the root volume is; metadata take a token, and only from the instance itself.
func (r request) input(n *nic, kind types.InstanceType, root string, generation int) *ec2.RunInstancesInput {
	volume := maps.Clone(r.tags)
	delete(volume, tagToken)
	in := &ec2.RunInstancesInput{
		ImageId: aws.String(string(r.spec.Image)), InstanceType: kind, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		ClientToken: aws.String(clientToken(r.spec, kind, n.id, generation)),
		NetworkInterfaces: []types.InstanceNetworkInterfaceSpecification{{
			DeviceIndex: aws.Int32(0), NetworkInterfaceId: &n.id, DeleteOnTermination: aws.Bool(false),
		}},
		MetadataOptions: &types.InstanceMetadataOptionsRequest{
			HttpEndpoint: types.InstanceMetadataEndpointStateEnabled, HttpTokens: types.HttpTokensStateRequired, HttpPutResponseHopLimit: aws.Int32(1),
		},
		BlockDeviceMappings: []types.BlockDeviceMapping{{
			DeviceName: &root,
			Ebs:        &types.EbsBlockDevice{Encrypted: aws.Bool(true), DeleteOnTermination: aws.Bool(true), VolumeType: types.VolumeTypeGp3},
		}},
		TagSpecifications: append(r.tags.of(types.ResourceTypeInstance), volume.of(types.ResourceTypeVolume)...),
	}
	if r.userData != "" {
		in.UserData = &r.userData
	}
	if r.kmsKey != "" {
		in.BlockDeviceMappings[0].Ebs.KmsKeyId = &r.kmsKey
	}
	switch deadline := r.spec.Tags.Deadline; {
	case r.spot: // one that ended itself would be launched again
		r.onSpot(in)
	case !deadline.IsZero(): // whatever shuts such a server down from within ends it
		in.InstanceInitiatedShutdownBehavior = types.ShutdownBehaviorTerminate
	}
	return in
}

// onSpot asks for spare capacity, in the one way in which EC2 lets such an instance be stopped: by a
// persistent request, which launches again until it is cancelled (Destroy does) or its time is over.
func (r request) onSpot(in *ec2.RunInstancesInput) {
	spot := &types.SpotMarketOptions{
		SpotInstanceType: types.SpotInstanceTypePersistent, InstanceInterruptionBehavior: types.InstanceInterruptionBehaviorStop,
	}
	if at := r.spec.Tags.Deadline; !at.IsZero() {
		spot.ValidUntil = aws.Time(at.UTC().Truncate(time.Second))
	}
	in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot, SpotOptions: spot}
	in.TagSpecifications = append(in.TagSpecifications, r.tags.of(types.ResourceTypeSpotInstancesRequest)...)
}
