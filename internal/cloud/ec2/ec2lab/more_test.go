package ec2lab_test

import (
	"bytes"
	"encoding/base64"
	"image/jpeg"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab"
	"github.com/hallmark-ci/hallmark/internal/cloud/ec2/ec2lab/machines"
)

func TestConsole(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		id := b.launched().InstanceId
		said := func() string {
			out, err := b.api.GetConsoleOutput(b.ctx(), &ec2.GetConsoleOutputInput{InstanceId: id, Latest: aws.Bool(true)})
			must(t, err)
			text, err := base64.StdEncoding.DecodeString(*out.Output)
			must(t, err)
			return string(text)
		}
		if got := said(); !strings.HasPrefix(got, "boot 1 ") {
			t.Errorf("the console says %q", got)
		}
		shot, err := b.api.GetConsoleScreenshot(b.ctx(), &ec2.GetConsoleScreenshotInput{InstanceId: id})
		must(t, err)
		raw, err := base64.StdEncoding.DecodeString(*shot.ImageData)
		must(t, err)
		if _, err := jpeg.Decode(bytes.NewReader(raw)); err != nil {
			t.Error(err)
		}
		_, err = b.api.RebootInstances(b.ctx(), &ec2.RebootInstancesInput{InstanceIds: []string{*id}})
		must(t, err)
		b.until("it has rebooted", func() bool { return strings.HasPrefix(said(), "boot 2 ") })
		_, err = b.api.TerminateInstances(b.ctx(), &ec2.TerminateInstancesInput{InstanceIds: []string{*id}})
		must(t, err)
		b.reaches(*id, types.InstanceStateNameTerminated)
		if got := said(); !strings.HasPrefix(got, "boot 2 ") {
			t.Errorf("the console of the dead says %q", got)
		}
	})
}

func TestAttributes(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		id := b.launched().InstanceId
		keep := func(v bool) {
			_, err := b.api.ModifyInstanceAttribute(b.ctx(), &ec2.ModifyInstanceAttributeInput{InstanceId: id, DisableApiTermination: &types.AttributeBooleanValue{Value: &v}})
			must(t, err)
		}
		end := func(dry bool) error {
			_, err := b.api.TerminateInstances(b.ctx(), &ec2.TerminateInstancesInput{InstanceIds: []string{*id}, DryRun: &dry})
			return err
		}
		keep(true)
		refused(t, end(false), "OperationNotPermitted")
		keep(false)
		refused(t, end(true), "DryRunOperation")
		if s := b.describe(*id).State.Name; s != types.InstanceStateNameRunning {
			t.Errorf("after a dry run it is %s", s)
		}
		_, err := b.api.ModifyInstanceAttribute(b.ctx(), &ec2.ModifyInstanceAttributeInput{InstanceId: id, UserData: &types.SecureBlobAttributeValue{Value: []byte("#!/bin/sh\n")}})
		refused(t, err, "IncorrectInstanceState")
		_, err = b.api.StopInstances(b.ctx(), &ec2.StopInstancesInput{InstanceIds: []string{*id}, Force: aws.Bool(true)})
		must(t, err)
		b.reaches(*id, types.InstanceStateNameStopped)
		_, err = b.api.RebootInstances(b.ctx(), &ec2.RebootInstancesInput{InstanceIds: []string{*id}})
		refused(t, err, "IncorrectState")
		_, err = b.api.ModifyInstanceAttribute(b.ctx(), &ec2.ModifyInstanceAttributeInput{InstanceId: id, UserData: &types.SecureBlobAttributeValue{Value: []byte("#!/bin/sh\n")}})
		must(t, err)
		if got := b.ask(*b.describe(*id).PrivateIpAddress, "/latest/user-data", "").Body.String(); got != "#!/bin/sh\n" {
			t.Errorf("its user-data is %q", got)
		}
		must(t, end(false))
		must(t, end(false)) // again is no error
		b.reaches(*id, types.InstanceStateNameTerminated)
		_, err = b.api.StartInstances(b.ctx(), &ec2.StartInstancesInput{InstanceIds: []string{*id}})
		refused(t, err, "IncorrectInstanceState")
	})
}

func TestClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lab, err := ec2lab.New(t.Context(), ec2lab.Config{Host: machines.NewMemory()})
		must(t, err)
		must(t, lab.Close(t.Context()))
		must(t, lab.Close(t.Context()))
		w := httptest.NewRecorder()
		lab.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", http.NoBody))
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("a closed lab answers %d", w.Code)
		}
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]ec2lab.Config{
		"lab name": {Name: "My Lab"}, "account": {Account: "me"}, "region": {Regions: []ec2lab.Region{{Name: "here", Zones: []string{"a"}}}},
		"zone": {Regions: []ec2lab.Region{{Name: "eu-lab-1", Zones: []string{"1"}}}}, "seed": {Seeds: []ec2lab.Seed{{Name: "x"}}},
	} {
		cfg.Host = machines.NewMemory()
		if _, err := ec2lab.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTerminate(t *testing.T) {
	inBubble(t, ec2lab.Config{}, func(b *bench) {
		for n, pull := range []bool{false, true} {
			id := b.launched().InstanceId
			_, err := b.api.TerminateInstances(b.ctx(), &ec2.TerminateInstancesInput{InstanceIds: []string{*id}, SkipOsShutdown: &pull})
			must(t, err)
			b.reaches(*id, types.InstanceStateNameTerminated)
			if got := b.host.Pulled(); got != n {
				t.Errorf("with SkipOsShutdown %v the plug was pulled %d times", pull, got)
			}
		}
	})
}
