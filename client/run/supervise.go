package run

import (
	"context"
	"sync/atomic"
	"time"

	"writ.dev/writ"
)

// Outcome is how a run ended.
type Outcome struct {
	Code int // the program's exit code; 128+n if a signal ended it
	// Err says why the program was ended, when it did not end by itself: the
	// server ended the session, the stream to it was lost, or ctx ended.
	Err *writ.Error
}

// Supervise waits until the program ends, and ends it when the server says so
// or can no longer be heard. When it returns nothing of it runs on, and the
// caller ends the session and closes relay, stream and environment.
//
// ctx is not for the user's signals: those go to the program (see StartChild),
// which decides what they mean. Ending ctx ends the program.
func Supervise(ctx context.Context, child *Child, control *Control) Outcome {
	// The stream outlives ctx by as long as the program takes to end.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var ending atomic.Bool // an end is being carried out, and must be acknowledged
	served := make(chan *writ.Error, 1)
	go func() {
		served <- control.Serve(serving, func(ctx context.Context) Ended {
			ending.Store(true)
			return child.Kill(ctx)
		})
	}()

	var cause *writ.Error
	select {
	case <-child.Done():
		if ending.Load() {
			// The program has ended because of an end that is still to be
			// acknowledged: the server counts it by that line alone.
			cause = <-served
			return Outcome{Code: child.Wait(), Err: cause}
		}
	case cause = <-served:
		if !ending.Load() {
			child.Kill(serving)
		}
		return Outcome{Code: child.codeNow(), Err: cause}
	case <-ctx.Done():
		cause = writ.Errorf(writ.KindUnavailable, "the run was cancelled and its program stopped")
		child.Kill(serving)
	}
	_ = control.Exited(child.state())             // lost: the server sees the stream end
	defer time.AfterFunc(lingerTime, stop).Stop() // a server that does not close is not waited for
	if end := <-served; end != nil && ending.Load() {
		cause = end
	}
	return Outcome{Code: child.codeNow(), Err: cause}
}
