package pipeline

// Ending is closed once the process has begun to end: no step is noted as done any more.
func (e *Engine) Ending() <-chan struct{} { return e.dbos.Done() }
