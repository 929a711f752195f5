package ec2_test

import (
	"encoding/base64"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// run asks for an instance as the provider does, but for the size of its root volume.
func (w *world) run() *sdk.RunInstancesInput {
	name := w.name()
	return &sdk.RunInstancesInput{
		ImageId: w.base.ImageId, InstanceType: "t3.small", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: &name,
		NetworkInterfaces: []types.InstanceNetworkInterfaceSpecification{{
			DeviceIndex: aws.Int32(0), NetworkInterfaceId: w.nic(w.group(name), w.subnets[0]).NetworkInterfaceId, DeleteOnTermination: aws.Bool(false),
		}},
		MetadataOptions: &types.InstanceMetadataOptionsRequest{
			HttpEndpoint: types.InstanceMetadataEndpointStateEnabled, HttpTokens: types.HttpTokensStateRequired, HttpPutResponseHopLimit: aws.Int32(1),
		},
		BlockDeviceMappings: []types.BlockDeviceMapping{{
			DeviceName: w.base.RootDeviceName,
			Ebs:        &types.EbsBlockDevice{Encrypted: aws.Bool(true), DeleteOnTermination: aws.Bool(true), VolumeType: types.VolumeTypeGp3, VolumeSize: aws.Int32(20)},
		}},
		InstanceInitiatedShutdownBehavior: types.ShutdownBehaviorTerminate,
		UserData:                          aws.String(base64.StdEncoding.EncodeToString([]byte("#cloud-config\n"))),
		TagSpecifications:                 tagged(name, types.ResourceTypeInstance, types.ResourceTypeVolume),
	}
}

// instance is one that runs.
func (w *world) instance() types.Instance {
	w.Helper()
	return w.running(w.run())
}

func (w *world) running(in *sdk.RunInstancesInput) types.Instance {
	w.Helper()
	out, err := w.api.RunInstances(w.Context(), in)
	must(w, err)
	id := *out.Instances[0].InstanceId
	waiter := sdk.NewInstanceRunningWaiter(w.api, func(o *sdk.InstanceRunningWaiterOptions) { o.MinDelay, o.MaxDelay = often, often })
	must(w, waiter.Wait(w.Context(), &sdk.DescribeInstancesInput{InstanceIds: []string{id}}, most))
	return w.describe(id)
}

func (w *world) describe(id string) types.Instance {
	w.Helper()
	out, err := w.api.DescribeInstances(w.Context(), &sdk.DescribeInstancesInput{InstanceIds: []string{id}})
	must(w, err)
	return out.Reservations[0].Instances[0]
}

// root is an instance's root volume.
func (w *world) root(i types.Instance) (types.Volume, error) {
	for _, m := range i.BlockDeviceMappings {
		if aws.ToString(m.DeviceName) == aws.ToString(i.RootDeviceName) {
			list, err := w.listVolumes(filter("volume-id", *m.Ebs.VolumeId))
			if err == nil && len(list) == 1 {
				return list[0], nil
			}
		}
	}
	return types.Volume{}, expect(false, "no root volume in %+v", i.BlockDeviceMappings)
}

func (w *world) stop(i types.Instance) {
	w.Helper()
	_, err := w.api.StopInstances(w.Context(), &sdk.StopInstancesInput{
		InstanceIds: []string{*i.InstanceId}, Force: aws.Bool(true), SkipOsShutdown: aws.Bool(true),
	})
	must(w, err)
	waiter := sdk.NewInstanceStoppedWaiter(w.api, func(o *sdk.InstanceStoppedWaiterOptions) { o.MinDelay, o.MaxDelay = often, often })
	must(w, waiter.Wait(w.Context(), &sdk.DescribeInstancesInput{InstanceIds: []string{*i.InstanceId}}, most))
}

func (w *world) terminate(i types.Instance) {
	w.Helper()
	_, err := w.api.TerminateInstances(w.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}, SkipOsShutdown: aws.Bool(true)})
	must(w, err)
	waiter := sdk.NewInstanceTerminatedWaiter(w.api, func(o *sdk.InstanceTerminatedWaiterOptions) { o.MinDelay, o.MaxDelay = often, often })
	must(w, waiter.Wait(w.Context(), &sdk.DescribeInstancesInput{InstanceIds: []string{*i.InstanceId}}, most))
}

var serverOpinions = []opinion{
	{
		action: "ec2:DescribeInstanceTypes", says: "gives CPUs and memory by name",
		try: func(w *world) error {
			out, err := w.api.DescribeInstanceTypes(w.Context(), &sdk.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"t3.small"}})
			if err != nil {
				return err
			}
			return expect(len(out.InstanceTypes) == 1 && *out.InstanceTypes[0].VCpuInfo.DefaultVCpus == 2 && *out.InstanceTypes[0].MemoryInfo.SizeInMiB == 2048,
				"%+v", out.InstanceTypes)
		},
	},
	{
		action: "ec2:DescribeInstanceTypes", says: "refuses a type that is not there",
		try: func(w *world) error {
			_, err := w.api.DescribeInstanceTypes(w.Context(), &sdk.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"t3.enormous"}})
			return refused(err, "InvalidInstanceType")
		},
	},
	{
		action: "ec2:RunInstances", says: "takes the size of a root volume from the image",
		moto: "asks for the size", shows: "MissingParameter",
		try: func(w *world) error {
			in := w.run()
			in.BlockDeviceMappings[0].Ebs.VolumeSize = nil
			_, err := w.api.RunInstances(w.Context(), in)
			return err
		},
	},
	{
		action: "ec2:RunInstances", says: "puts an instance on the interface, with tags on its root volume, which is encrypted",
		try: func(w *world) error {
			in := w.run()
			i := w.running(in)
			root, err := w.root(i)
			if err != nil {
				return err
			}
			if len(i.NetworkInterfaces) != 1 || *i.NetworkInterfaces[0].NetworkInterfaceId != *in.NetworkInterfaces[0].NetworkInterfaceId || *i.ImageId != *w.base.ImageId {
				return expect(false, "%+v", i)
			}
			return expect(aws.ToBool(root.Encrypted) && root.VolumeType == types.VolumeTypeGp3 && len(root.Tags) == 1, "%+v", root)
		},
	},
	{
		action: "ec2:RunInstances", says: "lets metadata be had with a token only",
		try: func(w *world) error {
			o := w.instance().MetadataOptions
			return expect(o != nil && o.HttpTokens == types.HttpTokensStateRequired && aws.ToInt32(o.HttpPutResponseHopLimit) == 1, "%+v", o)
		},
	},
	{
		action: "ec2:RunInstances", says: "gives the same instance for the same token",
		moto: "launches a second one", shows: "two instances",
		try: func(w *world) error {
			in := w.run()
			one := w.running(in)
			out, err := w.api.RunInstances(w.Context(), in)
			if err != nil {
				return err
			}
			return expect(*out.Instances[0].InstanceId == *one.InstanceId, "two instances")
		},
	},
	{
		action: "ec2:RunInstances", says: "refuses a token whose instance has ended",
		moto: "launches a second one", shows: "and nothing was",
		try: func(w *world) error {
			in := w.run()
			w.terminate(w.running(in))
			_, err := w.api.RunInstances(w.Context(), in)
			return refused(err, "IdempotentInstanceTerminated")
		},
	},
	{
		action: "ec2:RunInstances", says: "refuses an interface that another instance is on",
		moto: "puts both on it", shows: "and nothing was",
		try: func(w *world) error {
			in := w.run()
			in.NetworkInterfaces[0].NetworkInterfaceId = w.instance().NetworkInterfaces[0].NetworkInterfaceId
			_, err := w.api.RunInstances(w.Context(), in)
			return refused(err, "InvalidNetworkInterface.InUse")
		},
	},
	{
		action: "ec2:RunInstances", says: "refuses an image that is not there",
		moto: "launches it", shows: "and nothing was",
		try: func(w *world) error {
			in := w.run()
			in.ImageId = aws.String("ami-0123456789abcdef0")
			_, err := w.api.RunInstances(w.Context(), in)
			return refused(err, "InvalidAMIID.NotFound")
		},
	},
	{
		action: "ec2:DescribeInstances", says: "finds by tag and state, and tells tags, address and image",
		try: func(w *world) error {
			i := w.instance()
			name := *i.Tags[0].Value
			out, err := w.api.DescribeInstances(w.Context(), &sdk.DescribeInstancesInput{
				Filters: append(filter("tag:which", name), filter("instance-state-name", "pending", "running")...), MaxResults: aws.Int32(1000),
			})
			if err != nil {
				return err
			}
			if len(out.Reservations) != 1 || len(out.Reservations[0].Instances) != 1 {
				return expect(false, "%+v", out.Reservations)
			}
			found := out.Reservations[0].Instances[0]
			return expect(*found.InstanceId == *i.InstanceId && aws.ToString(found.PrivateIpAddress) == aws.ToString(i.NetworkInterfaces[0].PrivateIpAddress), "%+v", found)
		},
	},
	{
		action: "ec2:DescribeInstances", says: "refuses an id that is not there",
		try: func(w *world) error {
			_, err := w.api.DescribeInstances(w.Context(), &sdk.DescribeInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}})
			return refused(err, "InvalidInstanceID.NotFound")
		},
	},
	{
		action: "ec2:DescribeInstances", says: "gives many on pages",
		try: func(w *world) error {
			for range 6 {
				w.instance()
			}
			pages := sdk.NewDescribeInstancesPaginator(w.api, &sdk.DescribeInstancesInput{MaxResults: aws.Int32(5)})
			first, err := pages.NextPage(w.Context())
			if err != nil {
				return err
			}
			second, err := pages.NextPage(w.Context())
			if err != nil {
				return err
			}
			seen := func(r types.Reservation) bool {
				return *r.ReservationId == *second.Reservations[0].ReservationId
			}
			return expect(len(first.Reservations) == 5 && len(second.Reservations) > 0 && !slices.ContainsFunc(first.Reservations, seen),
				"%d and %d", len(first.Reservations), len(second.Reservations))
		},
	},
	{
		action: "ec2:DescribeInstanceStatus", says: "gives the status of system and instance",
		try: func(w *world) error {
			id := *w.instance().InstanceId
			out, err := w.api.DescribeInstanceStatus(w.Context(), &sdk.DescribeInstanceStatusInput{InstanceIds: []string{id}})
			if err != nil {
				return err
			}
			if len(out.InstanceStatuses) != 1 || out.InstanceStatuses[0].SystemStatus == nil {
				return expect(false, "%+v", out.InstanceStatuses)
			}
			s := out.InstanceStatuses[0]
			return expect(*s.InstanceId == id && s.SystemStatus.Status != types.SummaryStatusImpaired && len(s.Events) == 0, "%+v", s)
		},
	},
	{
		action: "ec2:RebootInstances", says: "leaves the instance running",
		try: func(w *world) error {
			id := *w.instance().InstanceId
			if _, err := w.api.RebootInstances(w.Context(), &sdk.RebootInstancesInput{InstanceIds: []string{id}}); err != nil {
				return err
			}
			return expect(w.describe(id).State.Name == types.InstanceStateNameRunning, "it is %s", w.describe(id).State.Name)
		},
	},
	{
		action: "ec2:StopInstances", says: "stops, also without a clean shutdown",
		try: func(w *world) error {
			i := w.instance()
			w.stop(i)
			now := w.describe(*i.InstanceId)
			return expect(now.State.Name == types.InstanceStateNameStopped && len(now.BlockDeviceMappings) > 0, "%+v", now)
		},
	},
	{
		action: "ec2:StartInstances", says: "starts what is stopped, with the same address",
		try: func(w *world) error {
			i := w.instance()
			w.stop(i)
			if _, err := w.api.StartInstances(w.Context(), &sdk.StartInstancesInput{InstanceIds: []string{*i.InstanceId}}); err != nil {
				return err
			}
			now := w.describe(*i.InstanceId)
			return expect(now.State.Name != types.InstanceStateNameStopped && *now.PrivateIpAddress == *i.PrivateIpAddress, "%+v", now)
		},
	},
	{
		action: "ec2:TerminateInstances", says: "takes the root volume along, and may be repeated",
		try: func(w *world) error {
			i := w.instance()
			root, err := w.root(i)
			must(w, err)
			w.terminate(i)
			w.terminate(i)
			left, err := w.listVolumes(filter("volume-id", *root.VolumeId))
			if err != nil {
				return err
			}
			return expect(len(left) == 0, "%+v", left)
		},
	},
	{
		action: "ec2:TerminateInstances", says: "lets go of an interface that is not to be deleted with the instance",
		moto: "leaves it attached", shows: "1 left, attached to &",
		try: func(w *world) error {
			i := w.instance()
			w.terminate(i)
			left, err := w.listNICs(filter("network-interface-id", *i.NetworkInterfaces[0].NetworkInterfaceId))
			if err != nil {
				return err
			}
			return expect(len(left) == 1 && left[0].Attachment == nil, "%d left, attached to %v", len(left), left[0].Attachment)
		},
	},
	{
		action: "ec2:GetConsoleOutput", says: "gives the console in base64",
		try: func(w *world) error {
			out, err := w.api.GetConsoleOutput(w.Context(), &sdk.GetConsoleOutputInput{InstanceId: w.instance().InstanceId, Latest: aws.Bool(true)})
			if err != nil {
				return err
			}
			_, err = base64.StdEncoding.DecodeString(aws.ToString(out.Output))
			return err
		},
	},
	{
		action: "ec2:GetConsoleScreenshot", says: "gives a picture in base64",
		moto: "does not have the action", shows: "StatusCode: 500",
		try: func(w *world) error {
			out, err := w.api.GetConsoleScreenshot(w.Context(), &sdk.GetConsoleScreenshotInput{InstanceId: w.instance().InstanceId, WakeUp: aws.Bool(true)})
			if err != nil {
				return err
			}
			picture, err := base64.StdEncoding.DecodeString(aws.ToString(out.ImageData))
			if err != nil {
				return err
			}
			return expect(len(picture) > 0, "no picture")
		},
	},
}
