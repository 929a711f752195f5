package ec2_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

func (w *world) launchers(image string) ([]types.LaunchPermission, error) {
	out, err := w.api.DescribeImageAttribute(w.Context(), &sdk.DescribeImageAttributeInput{ImageId: &image, Attribute: types.ImageAttributeNameLaunchPermission})
	if err != nil {
		return nil, err
	}
	return out.LaunchPermissions, nil
}

// point asks for a parameter as the provider does.
func (w *world) point(name, value string, overwrite bool) error {
	_, err := w.params.PutParameter(w.Context(), &ssm.PutParameterInput{
		Name: &name, Value: &value, Type: ssmtypes.ParameterTypeString, DataType: aws.String("aws:ec2:image"), Overwrite: &overwrite,
	})
	return err
}

func (w *world) pointed(name string) (string, error) {
	out, err := w.params.GetParameter(w.Context(), &ssm.GetParameterInput{Name: &name})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Parameter.Value), nil
}

// soon looks for a second whether ok: where moto never says so, that is what it costs.
func (w *world) soon(ok func() bool) bool {
	for range time.Second / often {
		if ok() {
			return true
		}
		time.Sleep(often)
	}
	return false
}

var publishOpinions = []opinion{
	{
		action: "ec2:CopyImage", says: "encrypts the copy in another region, and tags it and its snapshot",
		moto: "does neither", shows: "encrypted false, 0 tags",
		try: func(w *world) error {
			image := w.image()
			out, err := w.far.CopyImage(w.Context(), &sdk.CopyImageInput{
				Name: image.Name, SourceImageId: image.ImageId, SourceRegion: aws.String(w.api.Options().Region), Encrypted: aws.Bool(true),
				TagSpecifications: tagged(*image.Name, types.ResourceTypeImage, types.ResourceTypeSnapshot),
			})
			if err != nil {
				return err
			}
			copied := w.available(w.far, *out.ImageId)
			if aws.ToString(copied.Name) != *image.Name || aws.ToString(copied.ImageId) == *image.ImageId {
				return expect(false, "copied as %+v", copied)
			}
			encrypted := len(copied.BlockDeviceMappings) == 1 && aws.ToBool(copied.BlockDeviceMappings[0].Ebs.Encrypted)
			return expect(encrypted && len(copied.Tags) == 1, "encrypted %v, %d tags", encrypted, len(copied.Tags))
		},
	},
	{
		action: "ec2:CreateTags", says: "sets tags of an image, also those that it has, and leaves the others",
		try: func(w *world) error {
			image := w.image()
			for _, value := range []string{"one", "two"} {
				_, err := w.api.CreateTags(w.Context(), &sdk.CreateTagsInput{
					Resources: []string{*image.ImageId}, Tags: []types.Tag{{Key: aws.String("mark"), Value: &value}},
				})
				if err != nil {
					return err
				}
			}
			now := map[string]string{}
			for _, tag := range w.available(w.api, *image.ImageId).Tags {
				now[*tag.Key] = *tag.Value
			}
			return expect(len(now) == 2 && now["mark"] == "two" && now["which"] == *image.Name, "%v", now)
		},
	},
	{
		action: "ec2:DescribeImageAttribute", says: "lists who may launch: at first nobody else",
		try: func(w *world) error {
			who, err := w.launchers(*w.image().ImageId)
			if err != nil {
				return err
			}
			return expect(len(who) == 0, "%+v", who)
		},
	},
	{
		action: "ec2:ModifyImageAttribute", says: "lets accounts and organisations launch, and takes that back",
		try: func(w *world) error {
			id := w.sharable().ImageId
			both := []types.LaunchPermission{{UserId: aws.String(friend)}, {OrganizationArn: aws.String(organisation)}}
			_, err := w.api.ModifyImageAttribute(w.Context(), &sdk.ModifyImageAttributeInput{ImageId: id, LaunchPermission: &types.LaunchPermissionModifications{Add: both}})
			if err != nil {
				return err
			}
			who, err := w.launchers(*id)
			if err != nil || len(who) != 2 {
				return expect(false, "added: %+v, %v", who, err)
			}
			_, err = w.api.ModifyImageAttribute(w.Context(), &sdk.ModifyImageAttributeInput{ImageId: id, LaunchPermission: &types.LaunchPermissionModifications{Remove: both[:1]}})
			if err != nil {
				return err
			}
			who, err = w.launchers(*id)
			return expect(err == nil && len(who) == 1 && aws.ToString(who[0].OrganizationArn) == organisation, "removed: %+v, %v", who, err)
		},
	},
	{
		action: "ec2:ModifyImageAttribute", says: "shares nothing that the account's default key encrypts",
		moto: "shares it", shows: "and nothing was",
		try: func(w *world) error {
			_, err := w.api.ModifyImageAttribute(w.Context(), &sdk.ModifyImageAttributeInput{
				ImageId: w.image().ImageId, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: aws.String(friend)}}},
			})
			return refused(err, "InvalidParameter")
		},
	},
	{
		action: "ec2:ModifySnapshotAttribute", says: "shares nothing that the account's default key encrypts",
		moto: "says nothing", shows: "and nothing was",
		try: func(w *world) error {
			id := w.snapshotOf(w.image())
			_, err := w.api.ModifySnapshotAttribute(w.Context(), &sdk.ModifySnapshotAttributeInput{
				SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
				CreateVolumePermission: &types.CreateVolumePermissionModifications{Add: []types.CreateVolumePermission{{UserId: aws.String(friend)}}},
			})
			return refused(err, "OperationNotPermitted")
		},
	},
	{
		action: "ec2:DescribeSnapshotAttribute", says: "lists who may make volumes: at first nobody else",
		try: func(w *world) error {
			who, err := w.readers(w.snapshotOf(w.image()))
			if err != nil {
				return err
			}
			return expect(len(who) == 0, "%+v", who)
		},
	},
	{
		action: "ec2:ModifySnapshotAttribute", says: "lets accounts make volumes, and takes that back",
		moto: "changes nothing", shows: "added: []",
		try: func(w *world) error {
			id := w.snapshotOf(w.sharable())
			one := []types.CreateVolumePermission{{UserId: aws.String(friend)}}
			change := func(c *types.CreateVolumePermissionModifications) error {
				_, err := w.api.ModifySnapshotAttribute(w.Context(), &sdk.ModifySnapshotAttributeInput{
					SnapshotId: &id, Attribute: types.SnapshotAttributeNameCreateVolumePermission, CreateVolumePermission: c,
				})
				return err
			}
			if err := change(&types.CreateVolumePermissionModifications{Add: one}); err != nil {
				return err
			}
			if who, err := w.readers(id); err != nil || len(who) != 1 || aws.ToString(who[0].UserId) != friend {
				return expect(false, "added: %+v, %v", who, err)
			}
			if err := change(&types.CreateVolumePermissionModifications{Remove: one}); err != nil {
				return err
			}
			who, err := w.readers(id)
			return expect(err == nil && len(who) == 0, "removed: %+v, %v", who, err)
		},
	},
	{
		action: "ec2:DescribeImages", says: "leaves out those that are disabled, unless it is asked for them",
		moto: "gives them always", shows: "1 without asking",
		try: func(w *world) error {
			id := w.image().ImageId
			if _, err := w.api.DisableImage(w.Context(), &sdk.DisableImageInput{ImageId: id}); err != nil {
				return err
			}
			in := &sdk.DescribeImagesInput{Owners: []string{"self"}, Filters: filter("image-id", *id), IncludeDisabled: aws.Bool(true)}
			out, err := w.api.DescribeImages(w.Context(), in)
			if err != nil || len(out.Images) != 1 || out.Images[0].State != types.ImageStateDisabled {
				return expect(false, "asked for: %+v, %v", out, err)
			}
			in.IncludeDisabled = nil
			out, err = w.api.DescribeImages(w.Context(), in)
			if err != nil {
				return err
			}
			return expect(len(out.Images) == 0, "%d without asking", len(out.Images))
		},
	},
	{
		action: "ec2:DisableImage", says: "keeps an image from being launched",
		moto: "launches it", shows: "and nothing was",
		try: func(w *world) error {
			in := w.run()
			in.ImageId = w.image().ImageId
			if _, err := w.api.DisableImage(w.Context(), &sdk.DisableImageInput{ImageId: in.ImageId}); err != nil {
				return err
			}
			_, err := w.api.RunInstances(w.Context(), in)
			return refused(err, "InvalidAMIID.Unavailable")
		},
	},
	{
		action: "ec2:DisableImage", says: "takes launch permissions away",
		moto: "leaves them", shows: "1 may launch it",
		try: func(w *world) error {
			id := w.sharable().ImageId
			_, err := w.api.ModifyImageAttribute(w.Context(), &sdk.ModifyImageAttributeInput{
				ImageId: id, LaunchPermission: &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: aws.String(friend)}}},
			})
			if err != nil {
				return err
			}
			if _, err := w.api.DisableImage(w.Context(), &sdk.DisableImageInput{ImageId: id}); err != nil {
				return err
			}
			who, err := w.launchers(*id)
			if err != nil {
				return err
			}
			return expect(len(who) == 0, "%d may launch it", len(who))
		},
	},
	{
		action: "ec2:ModifyImageAttribute", says: "makes an image ask for tokens, and tells so",
		moto: "changes nothing", shows: "it supports \"\"",
		try: func(w *world) error {
			id := w.image().ImageId
			_, err := w.api.ModifyImageAttribute(w.Context(), &sdk.ModifyImageAttributeInput{ImageId: id, ImdsSupport: &types.AttributeValue{Value: aws.String("v2.0")}})
			if err != nil {
				return err
			}
			now := w.available(w.api, *id)
			return expect(now.ImdsSupport == types.ImdsSupportValuesV20, "it supports %q", now.ImdsSupport)
		},
	},
	{
		action: "ec2:EnableImageDeprecation", says: "deprecates at a date",
		moto: "does not have the action", shows: "StatusCode: 500",
		try: func(w *world) error {
			id := w.image().ImageId
			_, err := w.api.EnableImageDeprecation(w.Context(), &sdk.EnableImageDeprecationInput{ImageId: id, DeprecateAt: aws.Time(time.Now().Add(24 * time.Hour))})
			if err != nil {
				return err
			}
			now := w.available(w.api, *id)
			return expect(aws.ToString(now.DeprecationTime) != "", "no date")
		},
	},
	{
		action: "ec2:DisableImageDeprecation", says: "takes the date away",
		moto: "does not have the action", shows: "StatusCode: 500",
		try: func(w *world) error {
			id := w.image().ImageId
			_, err := w.api.DisableImageDeprecation(w.Context(), &sdk.DisableImageDeprecationInput{ImageId: id})
			return err
		},
	},
	{
		action: "ec2:EnableImageDeregistrationProtection", says: "keeps an image from being deregistered",
		moto: "does not have the action", shows: "StatusCode: 500",
		try: func(w *world) error {
			id := w.image().ImageId
			_, err := w.api.EnableImageDeregistrationProtection(w.Context(), &sdk.EnableImageDeregistrationProtectionInput{ImageId: id})
			if err != nil {
				return err
			}
			_, err = w.api.DeregisterImage(w.Context(), &sdk.DeregisterImageInput{ImageId: id})
			return refused(err, "OperationNotPermitted")
		},
	},
	{
		action: "ec2:DisableImageDeregistrationProtection", says: "lets it be deregistered again",
		moto: "does not have the action", shows: "StatusCode: 500",
		try: func(w *world) error {
			id := w.image().ImageId
			_, err := w.api.DisableImageDeregistrationProtection(w.Context(), &sdk.DisableImageDeregistrationProtectionInput{ImageId: id})
			return err
		},
	},
	{
		action: "ssm:PutParameter", says: "names an image, and another one only when it may overwrite",
		try: func(w *world) error {
			name, one, two := "/hallmark/"+w.name(), *w.image().ImageId, *w.image().ImageId
			if err := w.point(name, one, false); err != nil {
				return err
			}
			if !w.soon(func() bool { now, err := w.pointed(name); return err == nil && now == one }) {
				return expect(false, "it does not name the image")
			}
			if err := refused(w.point(name, two, false), "ParameterAlreadyExists"); err != nil {
				return err
			}
			if err := w.point(name, two, true); err != nil {
				return err
			}
			return expect(w.soon(func() bool { now, err := w.pointed(name); return err == nil && now == two }), "it does not name the other image")
		},
	},
	{
		action: "ssm:PutParameter", says: "does not keep the id of an image that is not there",
		moto: "keeps it", shows: "it is kept",
		try: func(w *world) error {
			name := "/hallmark/" + w.name()
			if err := w.point(name, "ami-0123456789abcdef0", false); err != nil {
				return nil // said at once is as good
			}
			return expect(w.soon(func() bool { _, err := w.pointed(name); return refused(err, "ParameterNotFound") == nil }), "it is kept")
		},
	},
	{
		action: "ssm:GetParametersByPath", says: "gives what is below a path, and below that when it is told to, on pages of ten",
		try: func(w *world) error {
			path, image := "/hallmark/"+w.name(), *w.image().ImageId
			names := []string{path + "-more/role", path + "/deeper/role"} // neither is right below it
			for n := range 12 {
				names = append(names, fmt.Sprintf("%s/role-%02d", path, n))
			}
			for _, name := range names {
				if err := w.point(name, image, false); err != nil {
					return err
				}
			}
			for _, name := range names {
				if !w.soon(func() bool { now, err := w.pointed(name); return err == nil && now == image }) {
					return expect(false, "%s does not name the image", name)
				}
			}
			for recursive, want := range map[bool][]int{false: {10, 2}, true: {10, 3}} {
				pages := ssm.NewGetParametersByPathPaginator(w.params, &ssm.GetParametersByPathInput{Path: &path, Recursive: &recursive})
				var got []int
				for pages.HasMorePages() {
					out, err := pages.NextPage(w.Context())
					if err != nil {
						return err
					}
					got = append(got, len(out.Parameters))
				}
				if !slices.Equal(got, want) {
					return expect(false, "recursive %v: pages of %v", recursive, got)
				}
			}
			return nil
		},
	},
	{
		action: "ssm:DeleteParameter", says: "removes one, and refuses a name that is not there",
		try: func(w *world) error {
			name := "/hallmark/" + w.name()
			if err := w.point(name, *w.image().ImageId, false); err != nil {
				return err
			}
			if !w.soon(func() bool { _, err := w.pointed(name); return err == nil }) {
				return expect(false, "it does not name the image")
			}
			in := &ssm.DeleteParameterInput{Name: &name}
			if _, err := w.params.DeleteParameter(w.Context(), in); err != nil {
				return err
			}
			_, err := w.params.DeleteParameter(w.Context(), in)
			return refused(err, "ParameterNotFound")
		},
	},
	{
		action: "ssm:GetParameter", says: "refuses a name that is not there",
		try: func(w *world) error {
			_, err := w.pointed("/hallmark/" + w.name())
			return refused(err, "ParameterNotFound")
		},
	},
}

func (w *world) readers(snapshot string) ([]types.CreateVolumePermission, error) {
	out, err := w.api.DescribeSnapshotAttribute(w.Context(), &sdk.DescribeSnapshotAttributeInput{
		SnapshotId: &snapshot, Attribute: types.SnapshotAttributeNameCreateVolumePermission,
	})
	if err != nil {
		return nil, err
	}
	return out.CreateVolumePermissions, nil
}
