package environment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hallmark-ci/hallmark/internal/atomicfile"
	"github.com/hallmark-ci/hallmark/internal/cloud"
	"github.com/hallmark-ci/hallmark/internal/verdict"
)

// Shown is where it is kept what a server showed that did not come up.
type Shown struct {
	Environment string // its id
	Server      string
	Console     string // file with the end of its console, without the environment's secrets
	Screenshot  string // file with a picture of its screen (JPEG); "": the provider has none, or it ran no more
}

// Bounds of what is kept of one server.
const (
	showWithin  = 2 * time.Minute
	mostConsole = 256 << 10
	mostPicture = 4 << 20
)

// Files of one server, in <records>/servers/<environment>/<server>.
const (
	serversDir     = "servers"
	consoleFile    = "console.txt"
	screenshotFile = "screen.jpg"
)

// ShownIn lists what is kept in the records of a run, by environment and server.
func ShownIn(records string) ([]Shown, error) {
	consoles, err := filepath.Glob(filepath.Join(records, serversDir, "*", "*", consoleFile))
	if err != nil {
		return nil, fmt.Errorf("servers that did not come up: %w", err)
	}
	var all []Shown
	for _, console := range consoles {
		dir := filepath.Dir(console)
		s := Shown{Environment: filepath.Base(filepath.Dir(dir)), Server: filepath.Base(dir), Console: console}
		picture := filepath.Join(dir, screenshotFile)
		if _, err := os.Stat(picture); err == nil {
			s.Screenshot = picture
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("servers that did not come up: %w", err)
		}
		all = append(all, s)
	}
	return all, nil
}

// comingUp does work that waits for a server. If it does not come up, what it shows is kept: soon
// nothing will be left of it.
func (e *Environment) comingUp(ctx context.Context, server string, wait func(context.Context) error) error {
	err := wait(ctx)
	if err == nil || verdict.CauseOf(err) == verdict.PuppetFailed { // then the server works, and its report says all
		return err
	}
	// When the process ends, the next one goes on waiting: nothing is known of the server yet.
	if ctx.Err() != nil && verdict.CauseOf(context.Cause(ctx)) != verdict.Cancelled && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	if failed := e.show(ctx, server); failed != nil {
		e.site.log().Warn("keep what a server shows", "run", e.settings().Spec.Run, "env", e.ID(), "server", server, "err", e.discreet(failed))
	}
	return err
}

// show keeps console and screen of a server. It works after ctx has ended.
func (e *Environment) show(ctx context.Context, server string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), showWithin)
	defer cancel()
	m, run := e.machine(server), e.settings().Spec.Run
	if m.ID == "" || run == "" || e.site.Records == nil {
		return nil
	}
	console, err := e.console(ctx, m.ID)
	if err != nil {
		return err
	}
	dir := filepath.Join(e.site.Records(run), serversDir, e.ID(), server)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if over := len(console) - mostConsole; over > 0 {
		console = append(fmt.Appendf(nil, "… %d bytes before this are left out\n", over), console[over:]...)
	}
	if err := atomicfile.Write(filepath.Join(dir, consoleFile), console, 0o600); err != nil {
		return err
	}
	camera := cloud.CapabilitiesOf(e.site.Provider).Screenshotter
	if camera == nil {
		return nil
	}
	picture, err := camera.Screenshot(ctx, m.ID)
	switch {
	case cloud.CodeOf(err) == cloud.CodeRefused, cloud.CodeOf(err) == cloud.CodeNotFound: // it does not run any more
		return nil
	case err != nil:
		return err
	case len(picture) > mostPicture:
		return fmt.Errorf("its picture has %d bytes, more than are kept", len(picture))
	}
	return atomicfile.Write(filepath.Join(dir, screenshotFile), picture, 0o600)
}
