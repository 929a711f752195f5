package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// Linux reads samples of the machine from proc(5) mounted at a folder, /proc.
type Linux struct {
	fs   procfs.FS
	proc string
}

// NewLinux opens a mounted proc file system.
func NewLinux(proc string) (Linux, error) {
	opened, err := procfs.NewFS(proc)
	if err != nil {
		return Linux{}, fmt.Errorf("read the host's figures: %w", err)
	}
	return Linux{opened, proc}, nil
}

// Read takes a sample. A kernel without PSI gives one without pressure.
func (l Linux) Read() (Sample, error) {
	s := Sample{At: time.Now(), Cores: runtime.NumCPU()}
	stat, err := l.fs.Stat()
	if err != nil {
		return s, fmt.Errorf("read the host's figures: %w", err)
	}
	s.Runnable = max(0, int(stat.ProcessesRunning)-1) // less the one that asks
	s.Stolen = time.Duration(stat.CPUTotal.Steal * float64(time.Second))
	if cores := len(stat.CPU); cores > 0 {
		s.Cores = cores
	}
	load, err := l.fs.LoadAvg()
	if err != nil {
		return s, fmt.Errorf("read the host's figures: %w", err)
	}
	s.Load = load.Load1
	if err := l.pressure(&s); err != nil {
		return s, err
	}
	vm, err := l.vmstat()
	if err != nil {
		return s, fmt.Errorf("read the host's figures: %w", err)
	}
	s.SwappedB, s.Killed = vm["pswpin"]*uint64(os.Getpagesize()), vm["oom_kill"] //nolint:gosec // a page's size
	return s, nil
}

// vmstat reads the counters of the kernel's memory: lines of a name and a number.
func (l Linux) vmstat() (map[string]uint64, error) {
	text, err := os.ReadFile(filepath.Join(l.proc, "vmstat"))
	if err != nil {
		return nil, err
	}
	all := map[string]uint64{}
	for line := range strings.Lines(string(text)) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(number, 10, 64); err == nil {
			all[name] = n
		}
	}
	return all, nil
}

// pressure reads PSI, if the kernel has it and it is turned on.
func (l Linux) pressure(s *Sample) error {
	for resource, into := range map[string]*time.Duration{"cpu": &s.CPU, "io": &s.IO, "memory": &s.Memory} {
		psi, err := l.fs.PSIStatsForResource(resource)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EOPNOTSUPP) {
			s.Pressure, s.CPU, s.IO, s.Memory = false, 0, 0, 0
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the host's pressure: %w", err)
		}
		line := psi.Full
		if resource == "cpu" {
			line = psi.Some
		}
		if line != nil {
			*into = time.Duration(line.Total) * time.Microsecond //nolint:gosec // a kernel's counter since boot
		}
	}
	s.Pressure = true
	return nil
}
