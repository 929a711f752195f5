package ec2_test

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// onSpot launches on spare capacity and gives the request.
func (w *world) onSpot(name string) (string, error) {
	in := w.run()
	in.InstanceInitiatedShutdownBehavior = ""
	in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot, SpotOptions: &types.SpotMarketOptions{
		SpotInstanceType: types.SpotInstanceTypePersistent, InstanceInterruptionBehavior: types.InstanceInterruptionBehaviorStop,
		ValidUntil: aws.Time(time.Now().Add(time.Hour).UTC().Truncate(time.Second)),
	}}
	in.TagSpecifications = append(in.TagSpecifications, tagged(name, types.ResourceTypeSpotInstancesRequest)...)
	id := aws.ToString(w.running(in).SpotInstanceRequestId)
	return id, expect(id != "", "no request")
}

// requested gives a request for spare capacity, however it is to be had: moto has none by RunInstances.
func (w *world) requested(name string) string {
	w.Helper()
	if id, err := w.onSpot(name); err == nil {
		return id
	}
	out, err := w.api.RequestSpotInstances(w.Context(), &sdk.RequestSpotInstancesInput{
		Type: types.SpotInstanceTypePersistent, LaunchSpecification: &types.RequestSpotLaunchSpecification{ImageId: w.base.ImageId, InstanceType: "t3.small"},
		TagSpecifications: tagged(name, types.ResourceTypeSpotInstancesRequest),
	})
	must(w, err)
	return *out.SpotInstanceRequests[0].SpotInstanceRequestId
}

// key is a key pair, as an operator may have made one.
func (w *world) key(name string) string {
	w.Helper()
	const public = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChDtB0UYUcdHTTsUMpDOVlGEMxw8UYYrzZIi0gDB opinion"
	out, err := w.api.ImportKeyPair(w.Context(), &sdk.ImportKeyPairInput{KeyName: &name, PublicKeyMaterial: []byte(public), TagSpecifications: tagged(name, types.ResourceTypeKeyPair)})
	must(w, err)
	return *out.KeyPairId
}

func (w *world) listKeys(filters []types.Filter) ([]types.KeyPairInfo, error) {
	out, err := w.api.DescribeKeyPairs(w.Context(), &sdk.DescribeKeyPairsInput{Filters: filters})
	if err != nil {
		return nil, err
	}
	return out.KeyPairs, nil
}

var ownedOpinions = []opinion{
	{
		action: "ec2:RunInstances", says: "launches on spare capacity by a persistent request",
		moto: "launches without a request", shows: "no request",
		try: func(w *world) error {
			_, err := w.onSpot(w.name())
			return err
		},
	},
	{
		action: "ec2:DescribeSpotInstanceRequests", says: "finds by tag and state",
		try: func(w *world) error {
			name := w.name()
			id := w.requested(name)
			out, err := w.api.DescribeSpotInstanceRequests(w.Context(), &sdk.DescribeSpotInstanceRequestsInput{
				Filters: append(filter("tag:which", name), filter("state", "open", "active", "disabled")...),
			})
			if err != nil {
				return err
			}
			return expect(len(out.SpotInstanceRequests) == 1 && *out.SpotInstanceRequests[0].SpotInstanceRequestId == id, "%+v", out.SpotInstanceRequests)
		},
	},
	{
		action: "ec2:CancelSpotInstanceRequests", says: "cancels a request",
		try: func(w *world) error {
			id := w.requested(w.name())
			out, err := w.api.CancelSpotInstanceRequests(w.Context(), &sdk.CancelSpotInstanceRequestsInput{SpotInstanceRequestIds: []string{id}})
			if err != nil {
				return err
			}
			list := out.CancelledSpotInstanceRequests
			return expect(len(list) == 1 && *list[0].SpotInstanceRequestId == id && list[0].State == types.CancelSpotInstanceRequestStateCancelled, "%+v", list)
		},
	},
	{
		action: "ec2:DescribeKeyPairs", says: "finds by tag, and by id",
		try: func(w *world) error {
			name := w.name()
			id := w.key(name)
			for _, by := range [][]types.Filter{filter("tag:which", name), filter("key-pair-id", id)} {
				list, err := w.listKeys(by)
				if err != nil {
					return err
				}
				if len(list) != 1 || *list[0].KeyPairId != id || len(list[0].Tags) != 1 {
					return expect(false, "by %s %+v", *by[0].Name, list)
				}
			}
			return nil
		},
	},
	{
		action: "ec2:DeleteKeyPair", says: "removes by id",
		moto: "removes by name only", shows: "1 left",
		try: func(w *world) error {
			name := w.name()
			id := w.key(name)
			if _, err := w.api.DeleteKeyPair(w.Context(), &sdk.DeleteKeyPairInput{KeyPairId: &id}); err != nil {
				return err
			}
			left, err := w.listKeys(filter("key-name", name))
			if err != nil {
				return err
			}
			return expect(len(left) == 0, "%d left", len(left))
		},
	},
}
