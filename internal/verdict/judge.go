package verdict

// Audit is what a look at the environment found after trouble: the product is blamed only if all
// of it holds.
type Audit struct {
	Done           bool     // the audit itself could be carried out
	AllRunning     bool     // the provider says every server runs
	ExpectedBoots  bool     // every server is on the boot that we expect
	PackageSources bool     // package sources answer from inside
	Findings       []string // for people: what did not hold
}

// Clean reports whether nothing but the product is left to blame.
func (a Audit) Clean() bool { return a.Done && a.AllRunning && a.ExpectedBoots && a.PackageSources }

// Judge is the one judgement (DESIGN.md section 3, "Whose fault"). No cause at all means passed;
// infrastructure and the unexplained are inconclusive; the product is blamed only after a clean
// audit; a broken test and a failed check block without one, for no server can excuse them.
func Judge(cause Cause, audit Audit) Verdict {
	switch {
	case cause == None:
		return Passed
	case cause == TestBroken, cause == CheckFailed:
		return Failed
	case product[cause] && audit.Clean():
		return Failed
	}
	return Inconclusive
}
