package ec2lab_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
)

func TestProtocol(t *testing.T) {
	const auth = "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-lab-1/ec2/aws4_request, SignedHeaders=host, Signature=0"
	for _, c := range []struct {
		name, auth, form string
		status           int
		says             string
	}{
		{"fine", auth, "Action=DescribeRegions&Version=2016-11-15", 200, "<regionName>eu-lab-1</regionName>"},
		{"unsigned", "", "Action=DescribeRegions&Version=2016-11-15", 403, "<Code>MissingAuthenticationToken</Code>"},
		{"another action", auth, "Action=RunRings&Version=2016-11-15", 400, "<Code>InvalidAction</Code>"},
		{"another version", auth, "Action=DescribeRegions&Version=2012-12-12", 400, "<Code>NoSuchVersion</Code>"},
		{"another parameter", auth, "Action=DescribeRegions&Version=2016-11-15&Colour=red", 400, "The parameter Colour is not recognized"},
		{"one parameter twice", auth, "Action=DescribeRegions&Version=2016-11-15&RegionName.1=a&RegionName.1=b", 400, "more than once"},
		{"dry run", auth, "Action=DescribeRegions&Version=2016-11-15&DryRun=true", 412, "<Code>DryRunOperation</Code>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, ec2lab.Config{}, func(b *bench) {
				req := httptest.NewRequestWithContext(b.ctx(), http.MethodPost, "/", strings.NewReader(c.form))
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				req.Header.Set("Authorization", c.auth)
				w := httptest.NewRecorder()
				b.lab.Handler().ServeHTTP(w, req)
				if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		})
	}
}

func TestTagsAndKeys(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		key, err := b.api.ImportKeyPair(b.ctx(), &ec2.ImportKeyPairInput{
			KeyName: aws.String("me"), PublicKeyMaterial: []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me"),
		})
		must(t, err)
		_, err = b.api.ImportKeyPair(b.ctx(), &ec2.ImportKeyPairInput{KeyName: aws.String("you"), PublicKeyMaterial: []byte("nonsense")})
		refused(t, err, "InvalidKey.Format")
		i := b.launched(func(in *ec2.RunInstancesInput) { in.KeyName = aws.String("me") })
		if got := b.ask(*i.PrivateIpAddress, "/latest/meta-data/public-keys/", "").Body.String(); got != "0=me" {
			t.Errorf("the machine's keys: %q", got)
		}
		_, err = b.api.CreateTags(b.ctx(), &ec2.CreateTagsInput{
			Resources: []string{*i.InstanceId, *key.KeyPairId}, Tags: []types.Tag{{Key: aws.String("run"), Value: aws.String("r1")}},
		})
		must(t, err)
		_, err = b.api.CreateTags(b.ctx(), &ec2.CreateTagsInput{Resources: []string{"vol-0"}, Tags: []types.Tag{{Key: aws.String("run")}}})
		refused(t, err, "InvalidID")
		_, err = b.api.CreateTags(b.ctx(), &ec2.CreateTagsInput{Resources: []string{*i.InstanceId}, Tags: []types.Tag{{Key: aws.String("aws:x")}}})
		refused(t, err, "InvalidParameterValue")
		out, err := b.api.DescribeTags(b.ctx(), &ec2.DescribeTagsInput{Filters: []types.Filter{{Name: aws.String("key"), Values: []string{"run"}}}})
		must(t, err)
		if len(out.Tags) != 2 {
			t.Errorf("%+v", out.Tags)
		}
		_, err = b.api.DeleteKeyPair(b.ctx(), &ec2.DeleteKeyPairInput{KeyName: aws.String("me")})
		must(t, err)
		keys, err := b.api.DescribeKeyPairs(b.ctx(), &ec2.DescribeKeyPairsInput{})
		must(t, err)
		if len(keys.KeyPairs) != 0 {
			t.Errorf("%+v", keys.KeyPairs)
		}
	})
}

func TestTemplates(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		image := b.base()
		made, err := b.api.CreateLaunchTemplate(b.ctx(), &ec2.CreateLaunchTemplateInput{
			LaunchTemplateName: aws.String("web"),
			LaunchTemplateData: &types.RequestLaunchTemplateData{
				ImageId: &image, InstanceType: types.InstanceTypeT3Micro,
				MetadataOptions: &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: types.LaunchTemplateHttpTokensStateRequired},
			},
		})
		must(t, err)
		id := made.LaunchTemplate.LaunchTemplateId
		version, err := b.api.CreateLaunchTemplateVersion(b.ctx(), &ec2.CreateLaunchTemplateVersionInput{
			LaunchTemplateId: id, LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: &image, InstanceType: types.InstanceTypeT3Medium},
		})
		must(t, err)
		if *version.LaunchTemplateVersion.VersionNumber != 2 {
			t.Errorf("%+v", version.LaunchTemplateVersion)
		}
		launch := func(version *string) types.Instance {
			out, err := b.api.RunInstances(b.ctx(), &ec2.RunInstancesInput{
				MinCount: aws.Int32(1), MaxCount: aws.Int32(1), LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateId: id, Version: version},
			})
			must(t, err)
			return out.Instances[0]
		}
		if i := launch(nil); i.InstanceType != types.InstanceTypeT3Micro || i.MetadataOptions.HttpTokens != types.HttpTokensStateRequired {
			t.Errorf("launched %s with tokens %s", i.InstanceType, i.MetadataOptions.HttpTokens)
		}
		if i := launch(aws.String("$Latest")); i.InstanceType != types.InstanceTypeT3Medium {
			t.Errorf("launched %s", i.InstanceType)
		}
		_, err = b.api.ModifyLaunchTemplate(b.ctx(), &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: id, DefaultVersion: aws.String("2")})
		must(t, err)
		if i := launch(nil); i.InstanceType != types.InstanceTypeT3Medium {
			t.Errorf("launched %s", i.InstanceType)
		}
		versions, err := b.api.DescribeLaunchTemplateVersions(b.ctx(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: id, Versions: []string{"$Default"}})
		must(t, err)
		if v := versions.LaunchTemplateVersions[0]; *v.VersionNumber != 2 || *v.LaunchTemplateData.ImageId != image {
			t.Errorf("%+v", v)
		}
		_, err = b.api.DeleteLaunchTemplate(b.ctx(), &ec2.DeleteLaunchTemplateInput{LaunchTemplateId: id})
		must(t, err)
		_, err = b.api.DescribeLaunchTemplates(b.ctx(), &ec2.DescribeLaunchTemplatesInput{LaunchTemplateIds: []string{*id}})
		refused(t, err, "InvalidLaunchTemplateId.NotFound")
	})
}

// TestUnderstood holds for every action that a parameter nobody knows is refused by name.
func TestUnderstood(t *testing.T) {
	for _, name := range ec2lab.Actions() {
		t.Run(name, func(t *testing.T) {
			inBubble(t, ec2lab.Config{}, func(b *bench) {
				form := "Action=" + name + "&Version=2016-11-15&Colour=red"
				req := httptest.NewRequestWithContext(b.ctx(), http.MethodPost, "/", strings.NewReader(form))
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				req.Header.Set("Authorization", "Credential=AKID/20260101/eu-lab-1/ec2/aws4_request")
				w := httptest.NewRecorder()
				b.lab.Handler().ServeHTTP(w, req)
				if w.Code != 400 || !strings.Contains(w.Body.String(), "Colour") {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			})
		})
	}
}
