// Demo shows Postern at work, on one machine: it runs the gate, Envoy, a Redis
// and an example API, mints secrets by the real command line, sends real
// requests, and ends with 1 when an answer is not what it should be. With KEEP=1
// in the environment all keeps running, to be tried, until Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	// SIGPIPE too: without it a reader of stdout that leaves would end this
	// program before it has stopped what it started.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := run(ctx, os.Stdout, os.Getenv("KEEP") == "1")
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run tells the story once. All that it started has ended when it returns.
func run(ctx context.Context, out io.Writer, keep bool) error {
	began := time.Now()
	fmt.Fprintln(out, "Building postern and the example API ...")
	s, err := setStage(ctx)
	if err != nil {
		return explain(ctx, s, err)
	}
	defer s.close()
	d := &demo{stage: s, out: out}
	if err := d.tell(ctx); err != nil {
		return explain(ctx, s, err)
	}
	fmt.Fprintf(out, "\nAll %d answers were as they should be. It took %.0f s.\n", d.answers, time.Since(began).Seconds())
	if keep {
		return d.keep(ctx)
	}
	return nil
}

// explain adds to err what the gate and Envoy have said last.
func explain(ctx context.Context, s *stage, err error) error {
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; all that was started is stopped")
	case s == nil:
		return err
	}
	gate, envoy := s.logs()
	return fmt.Errorf("%w\n\nThe gate's log ends:\n%s\nEnvoy's ends:\n%s", err, lastLines(gate), lastLines(envoy))
}

func lastLines(text string) string {
	lines := slices.Collect(strings.Lines(text))
	return strings.Join(lines[max(0, len(lines)-10):], "")
}
