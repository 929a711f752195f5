package ledger

// judged reports whether an outcome says something about the test that a later look which learns nothing
// must not undo.
func (o Outcome) judged() bool {
	switch o {
	case Passed, Failed, Skipped, Waived, Flaky:
		return true
	}
	return false
}

// Kept says which of two results of one test is kept: of a step that a crash repeats, which records the
// same key again, and of two attempts at the test. A judgement outlives everything that learnt nothing
// (inconclusive, not run, a failure that is not judged yet). A failure is never forgotten: if the test passes
// when it is repeated, it is flaky, and a flaky test that fails again has failed. What passed is not unproved
// by a repetition that was skipped. Of two results that say the same the newer one is kept.
func Kept(old, now Result) Result {
	switch {
	case now.Outcome == Passed && (old.Outcome == Failed || old.Outcome == Failing):
		return flakyAfter(now, old, "failed before: "+old.Message)
	case now.Outcome == Passed && old.Outcome == Flaky:
		return flakyAfter(now, old, old.Message)
	case !old.Outcome.judged(), now.Outcome == Failed, now.Outcome == old.Outcome:
		return now
	case !now.Outcome.judged(), old.Outcome == Failed, old.Outcome == Flaky, now.Outcome == Skipped:
		return old
	}
	return now
}

// flakyAfter is a pass that comes after a failure: the failure's text is what people need.
func flakyAfter(pass, failure Result, message string) Result {
	pass.Outcome, pass.Cause, pass.Message, pass.Lines = Flaky, failure.Cause, message, failure.Lines
	return pass
}
