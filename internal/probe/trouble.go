package probe

import "regexp"

// errPriority is the syslog severity "err"; what is worse has a lower number.
const errPriority = 3

// trouble is what a line may say that nobody wants to see on a healthy server, whatever priority
// its program gave it.
var trouble = []struct {
	name string
	re   *regexp.Regexp
}{
	{"segfault", regexp.MustCompile(`(?i)\bsegfault\b|segmentation fault|general protection fault`)},
	{"core dumped", regexp.MustCompile(`(?i)\bcore dumped\b|\bdumped core\b`)},
	{"killed by a signal", regexp.MustCompile(`main process exited, code=(killed|dumped), status=(?:4/ILL|6/ABRT|7/BUS|8/FPE|9/KILL|11/SEGV)`)},
	{"out of memory", regexp.MustCompile(`(?i)\boom-kill(er)?\b|out of memory: kill|\boom_reaper\b|cannot allocate memory`)},
	{"disk full", regexp.MustCompile(`(?i)no space left on device|disk quota exceeded`)},
	{"read-only file system", regexp.MustCompile(`(?i)read-only file system`)},
	{"file system error", regexp.MustCompile(`(?i)\b(EXT4-fs|XFS|BTRFS)\b.*\b(error|corrupt)|I/O error`)},
	{"unit failed to start", regexp.MustCompile(`Failed to start |Dependency failed for |Failed with result '|Start request repeated too quickly`)},
	{"mount failed", regexp.MustCompile(`Failed to mount `)},
	{"Python traceback", regexp.MustCompile(`Traceback \(most recent call last\)`)},
	{"Ruby exception", regexp.MustCompile(`\.rb:\d+:in .*\((\w+::)*\w*(Error|Exception)\)`)},
	{"Java exception", regexp.MustCompile(`Exception in thread "`)},
	{"Go panic", regexp.MustCompile(`\bpanic: |\bfatal error: .*(runtime|concurrent map)`)},
	{"PHP fatal error", regexp.MustCompile(`PHP (Fatal|Parse|Recoverable fatal) error`)},
	{"database corruption", regexp.MustCompile(`(?i)table .* is marked as crashed|InnoDB: .*corrupt`)},
	{"disk error", regexp.MustCompile(`(?i)\b(blk_update_request|Buffer I/O error)\b`)},
	{"hung task", regexp.MustCompile(`blocked for more than \d+ seconds|soft lockup|hard LOCKUP`)},
	{"kernel bug", regexp.MustCompile(`kernel BUG at|Kernel panic|Call Trace:`)},
}

// Trouble says why a line is one to show, "" if it is not: its priority is err or worse, or it
// matches the table of troubles.
func Trouble(l Line) string {
	said := spoken(l)
	for _, t := range trouble {
		if t.re.MatchString(said) {
			return t.name
		}
	}
	if l.Priority >= 0 && l.Priority <= errPriority {
		return "priority err or worse"
	}
	return ""
}

// records are lines that quote a command, or what people called a unit: the words in them are not the
// system's. Of those that are no failure themselves, priority alone counts.
var records = []struct {
	program string
	re      *regexp.Regexp // its match is the part that is the system's own
}{
	{"sudo", regexp.MustCompile(`^.*? ; COMMAND=|^\s*\S+ : \(command continued\) `)},
	{"doas", regexp.MustCompile(`^.*? ran command `)},
	{"cron", regexp.MustCompile(`^\([^)]*\) CMD(END)? \(`)},
	{"CRON", regexp.MustCompile(`^\([^)]*\) CMD(END)? \(`)},
	{"crond", regexp.MustCompile(`^\([^)]*\) CMD(END)? \(`)},
	{"anacron", regexp.MustCompile(`^Job .`)},
	{"systemd", regexp.MustCompile(`^(Starting|Started|Stopping|Stopped|Finished|Reloading|Reloaded|Mounting|Mounted|Reached target|Listening on) `)},
	{"audit", regexp.MustCompile(`^(type=)?(EXECVE|PROCTITLE|SYSCALL|USER_CMD|1123|1300|1309|1327)\b`)},
}

// spoken is the part of a message in which a system says something itself.
func spoken(l Line) string {
	for _, r := range records {
		if r.program != l.Program {
			continue
		}
		if own := r.re.FindString(l.Message); own != "" {
			return own
		}
	}
	return l.Message
}
