package ec2lab_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

func TestEveryActionHasRights(t *testing.T) {
	t.Parallel()
	for version, names := range ec2lab.ServiceActions() {
		for _, name := range names {
			if action := ec2lab.ServiceName(version) + ":" + name; !ec2lab.Rights(action) {
				t.Errorf("what rights %s needs is not in the table of rights.go: no role may call it", action)
			}
		}
	}
}

// as gives the configuration of whoever assumes a role with some statements.
func (b *bench) as(name, statements string) aws.Config {
	b.Helper()
	arn, err := b.lab.Role(name, `{"Version": "2012-10-17", "Statement": [`+statements+`]}`)
	must(b, err)
	out, err := sts.NewFromConfig(config(b.lab, "eu-lab-1")).AssumeRole(b.ctx(), &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("me")})
	must(b, err)
	cfg := config(b.lab, "eu-lab-1")
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: "s", SessionToken: "t"}, nil
	})
	return cfg
}

const look = `{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}`

func mine(kind types.ResourceType, value string) []types.TagSpecification {
	return []types.TagSpecification{{ResourceType: kind, Tags: []types.Tag{{Key: aws.String("owner"), Value: &value}}}}
}

func TestARoleMayDoWhatItsPolicySays(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		cfg := b.as("maker", look+`,
			{"Effect": "Allow", "Action": "ec2:CreateVolume", "Resource": "arn:aws:ec2:*:123456789012:volume/*", "Condition": {"StringEquals": {"aws:RequestTag/owner": "me"}}},
			{"Sid": "Tag", "Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": {"StringEquals": {"ec2:CreateAction": "CreateVolume"}}},
			{"Effect": "Allow", "Action": "ec2:DeleteVolume", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/owner": "me"}}}`)
		role := ec2.NewFromConfig(cfg)
		who, err := sts.NewFromConfig(cfg).GetCallerIdentity(b.ctx(), &sts.GetCallerIdentityInput{}) // which nothing allows
		must(t, err)
		if *who.Arn != "arn:aws:sts::123456789012:assumed-role/maker/me" || !strings.HasSuffix(*who.UserId, ":me") {
			t.Errorf("I am %s, %s", *who.Arn, *who.UserId)
		}
		create := func(api *ec2.Client, owner string, dry bool) (string, error) {
			in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String("eu-lab-1a"), Size: aws.Int32(1), DryRun: &dry}
			if owner != "" {
				in.TagSpecifications = mine(types.ResourceTypeVolume, owner)
			}
			out, err := api.CreateVolume(b.ctx(), in)
			if err != nil {
				return "", err
			}
			must(t, ec2.NewVolumeAvailableWaiter(b.api).Wait(b.ctx(), &ec2.DescribeVolumesInput{VolumeIds: []string{*out.VolumeId}}, time.Minute))
			return *out.VolumeId, nil
		}
		own, err := create(role, "me", false)
		must(t, err)
		_, err = create(role, "me", true)
		refused(t, err, "DryRunOperation")
		_, err = create(role, "", true)
		refused(t, err, "UnauthorizedOperation")
		_, err = create(role, "you", false)
		refused(t, err, "UnauthorizedOperation")
		_, err = create(role, "", false)
		refused(t, err, "UnauthorizedOperation")
		want := "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/maker/me is not authorized to perform: " +
			"ec2:CreateVolume on resource: arn:aws:ec2:eu-lab-1:123456789012:volume/* because no identity-based policy allows the ec2:CreateVolume action. " +
			"Encoded authorization failure message: "
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "StatusCode: 403") {
			t.Errorf("it says %v", err)
		}
		yours, err := create(b.api, "you", false)
		must(t, err)
		remove := func(id string) error {
			_, err := role.DeleteVolume(b.ctx(), &ec2.DeleteVolumeInput{VolumeId: &id})
			return err
		}
		steal := func(id string) error {
			_, err := role.CreateTags(b.ctx(), &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("me")}}})
			return err
		}
		refused(t, remove(yours), "UnauthorizedOperation")
		refused(t, steal(yours), "UnauthorizedOperation")
		must(t, remove(own))
		refused(t, remove("vol-00000000000000000"), "UnauthorizedOperation") // what is not there has no tags

		store := ssm.NewFromConfig(cfg)
		_, err = store.PutParameter(b.ctx(), &ssm.PutParameterInput{Name: aws.String("/x"), Value: aws.String("v"), Type: ssmtypes.ParameterTypeString})
		refused(t, err, "AccessDeniedException")
		if used := b.lab.Uses(); len(used) == 0 || used[len(used)-1] != (ec2lab.Use{Sid: "Tag", Action: "ec2:CreateTags", Resource: "*"}) {
			t.Errorf("of use were %v", used)
		}
		_, err = b.api.DeleteVolume(b.ctx(), &ec2.DeleteVolumeInput{VolumeId: &yours})
		must(t, err)
		time.Sleep(time.Minute) // until it is gone
	})
}

// An image goes without its snapshots if these may not be deleted.
func TestDeregisteringWithoutTheRightToDeleteSnapshots(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		role := ec2.NewFromConfig(b.as("cleaner", `{"Effect": "Allow", "Action": "ec2:DeregisterImage", "Resource": "*"}`))
		i := b.launched()
		made, err := b.api.CreateImage(b.ctx(), &ec2.CreateImageInput{InstanceId: i.InstanceId, Name: aws.String("web")})
		must(t, err)
		must(t, ec2.NewImageAvailableWaiter(b.api).Wait(b.ctx(), &ec2.DescribeImagesInput{ImageIds: []string{*made.ImageId}}, time.Hour))
		out, err := role.DeregisterImage(b.ctx(), &ec2.DeregisterImageInput{ImageId: made.ImageId, DeleteAssociatedSnapshots: aws.Bool(true)})
		must(t, err)
		if len(out.DeleteSnapshotResults) != 1 || out.DeleteSnapshotResults[0].ReturnCode != types.SnapshotReturnCodesErrorMissingPermissions {
			t.Errorf("%+v", out.DeleteSnapshotResults)
		}
	})
}

// A person makes a role as with the AWS command line.
func TestIAM(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		const document = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["ec2:DescribeRegions","iam:GetRole"],"Resource":"*"}}`
		key := "AKID"
		ask := func(service, form string) (int, string) {
			t.Helper()
			req := httptest.NewRequestWithContext(b.ctx(), http.MethodPost, "/", strings.NewReader(form))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			region := map[string]string{"iam": "us-east-1"}[service] // the one that it is signed for everywhere
			if region == "" {
				region = "eu-lab-1"
			}
			req.Header.Set("Authorization", "Credential="+key+"/20260101/"+region+"/"+service+"/aws4_request")
			w := httptest.NewRecorder()
			b.lab.Handler().ServeHTTP(w, req)
			return w.Code, w.Body.String()
		}
		expect := func(action, rest string, status int, says string) string {
			t.Helper()
			code, body := ask("iam", "Action="+action+"&Version=2010-05-08&RoleName=hallmark"+rest)
			if code != status || !strings.Contains(body, says) {
				t.Errorf("%s: %d %s", action, code, body)
			}
			return body
		}
		put := "&PolicyName=p&PolicyDocument=" + url.QueryEscape(document)
		trust := "&AssumeRolePolicyDocument=%7B%7D"
		assume := "Action=AssumeRole&Version=2011-06-15&RoleSessionName=s&RoleArn=arn:aws:iam::123456789012:role/ci/hallmark"
		expect("GetRole", "", 404, "NoSuchEntity")
		expect("CreateRole", "&AssumeRolePolicyDocument=%7B", 400, "MalformedPolicyDocument")
		expect("CreateRole", trust+"&Path=ci", 400, "ValidationError")
		expect("CreateUser", "", 400, "InvalidAction")
		if code, body := ask("sts", assume); code != 403 || !strings.Contains(body, "AccessDenied") {
			t.Errorf("a role that is not there: %d %s", code, body)
		}
		expect("CreateRole", trust+"&Path=/ci/", 200, "<CreateRoleResult><Role><Path>/ci/</Path><RoleName>hallmark</RoleName>")
		expect("CreateRole", trust, 409, "EntityAlreadyExists")
		expect("GetRole", "", 200, "<Arn>arn:aws:iam::123456789012:role/ci/hallmark</Arn>")
		expect("PutRolePolicy", strings.ReplaceAll(put, "Effect", "Defect"), 400, "MalformedPolicyDocument")
		expect("GetRolePolicy", "&PolicyName=p", 404, "NoSuchEntity")

		_, body := ask("sts", assume)
		_, rest, _ := strings.Cut(body, "<AccessKeyId>")
		given, _, _ := strings.Cut(rest, "<")
		regions := func(status int) {
			t.Helper()
			key = given
			if code, body := ask("ec2", "Action=DescribeRegions&Version=2016-11-15"); code != status {
				t.Errorf("%d %s", code, body)
			}
			key = "AKID"
		}
		regions(403) // it has no policy yet
		expect("PutRolePolicy", put, 200, "<PutRolePolicyResponse ")
		regions(200)
		expect("GetRolePolicy", "&PolicyName=p", 200, "<PolicyDocument>"+url.PathEscape(document)[:20])
		key = given
		expect("GetRole", "", 200, "hallmark")
		expect("DeleteRolePolicy", "&PolicyName=p", 403, "User: arn:aws:sts::123456789012:assumed-role/hallmark/s is not authorized to perform: iam:DeleteRolePolicy on resource: arn:aws:iam::123456789012:role/ci/hallmark")
		key = "AKID"
		expect("DeleteRole", "", 409, "DeleteConflict")
		expect("DeleteRolePolicy", "&PolicyName=p", 200, "")
		expect("DeleteRole", "", 200, "")
		regions(403)
		key = "ASIA0123456789ABCDEF" // of another lab
		if code, body := ask("ec2", "Action=DescribeRegions&Version=2016-11-15"); code != 401 || !strings.Contains(body, "AuthFailure") {
			t.Errorf("%d %s", code, body)
		}
	})
}
