package ec2

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

// unitARN is in the ARN of an organisational unit, not in that of an organisation.
const unitARN = ":ou/"

// share sets who may launch an image, and who may make volumes of its snapshots. Snapshots know accounts
// only: members of an organisation launch the image without that.
func (p *Provider) share(ctx context.Context, api *ec2.Client, found *types.Image, pub publication) error {
	out, err := api.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{
		ImageId: found.ImageId, Attribute: types.ImageAttributeNameLaunchPermission,
	})
	if err != nil {
		return err
	}
	want := launchers(pub)
	change := &types.LaunchPermissionModifications{
		Add: without(want, out.LaunchPermissions, launcher), Remove: without(out.LaunchPermissions, want, launcher),
	}
	if len(change.Add)+len(change.Remove) > 0 {
		_, err := api.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: found.ImageId, LaunchPermission: change})
		if err != nil {
			return unsharable(found, err)
		}
	}
	for _, m := range found.BlockDeviceMappings {
		if m.Ebs == nil || m.Ebs.SnapshotId == nil {
			continue
		}
		if err := p.shareSnapshot(ctx, api, *m.Ebs.SnapshotId, pub.accounts); err != nil {
			return unsharable(found, err)
		}
	}
	return nil
}

// unsharable says what to do about an image that the account's default key encrypts. EC2 has no code of its own for that:
// "InvalidParameter: Snapshots encrypted with the AWS Managed CMK can't be shared" (github.com/hashicorp/packer/issues/7410),
// "OperationNotPermitted: Encrypted snapshots with EBS default key cannot be shared" (github.com/hashicorp/packer/issues/7499).
func unsharable(found *types.Image, err error) error {
	var said smithy.APIError
	if !errors.As(err, &said) || !is(err, "InvalidParameter", "OperationNotPermitted") || !strings.Contains(said.ErrorMessage(), "shared") {
		return err
	}
	return refuse("share image "+aws.ToString(found.ImageId), "a key that AWS manages encrypts it, which no other account can use: name a key of your own under "+
		"provider.ec2.kms-key, for a copy under publish.keys, and build a new set: what is there keeps its key (%w)", plain(err))
}

func (p *Provider) shareSnapshot(ctx context.Context, api *ec2.Client, id string, accounts []string) error {
	out, err := api.DescribeSnapshotAttribute(ctx, &ec2.DescribeSnapshotAttributeInput{
		SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
	})
	if err != nil {
		return err
	}
	var want []types.CreateVolumePermission
	for _, account := range accounts {
		want = append(want, types.CreateVolumePermission{UserId: aws.String(account)})
	}
	who := func(c types.CreateVolumePermission) string { return aws.ToString(c.UserId) + string(c.Group) }
	change := &types.CreateVolumePermissionModifications{
		Add: without(want, out.CreateVolumePermissions, who), Remove: without(out.CreateVolumePermissions, want, who),
	}
	if len(change.Add)+len(change.Remove) == 0 {
		return nil
	}
	_, err = api.ModifySnapshotAttribute(ctx, &ec2.ModifySnapshotAttributeInput{
		SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission, CreateVolumePermission: change,
	})
	return err
}

func launchers(pub publication) []types.LaunchPermission {
	var all []types.LaunchPermission
	for _, account := range pub.accounts {
		all = append(all, types.LaunchPermission{UserId: aws.String(account)})
	}
	for _, arn := range pub.organisations {
		if strings.Contains(arn, unitARN) {
			all = append(all, types.LaunchPermission{OrganizationalUnitArn: aws.String(arn)})
			continue
		}
		all = append(all, types.LaunchPermission{OrganizationArn: aws.String(arn)})
	}
	return all
}

func launcher(l types.LaunchPermission) string {
	return aws.ToString(l.UserId) + aws.ToString(l.OrganizationArn) + aws.ToString(l.OrganizationalUnitArn) + string(l.Group)
}

// without gives those of list that are not in other, by who they are.
func without[T any](list, other []T, who func(T) string) []T {
	return slices.DeleteFunc(slices.Clone(list), func(one T) bool {
		return slices.ContainsFunc(other, func(o T) bool { return who(o) == who(one) })
	})
}
