// This program runs River for the bench, with River's own client.
//
//	river migrate
//	river insert  reads lines "from count lanes batch sleep_ms text" and answers each with "ok"
//	river work    works until it is stopped and reports executions to the tally
package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"golang.org/x/sys/unix"
)

// NoteArgs is the payload that all contenders share.
type NoteArgs struct {
	N       int     `json:"n"`
	SleepMs float64 `json:"sleep_ms"`
	Text    string  `json:"text"`
}

func (NoteArgs) Kind() string { return "note" }

type noteWorker struct {
	river.WorkerDefaults[NoteArgs]
	tally *tally
}

func (w *noteWorker) Work(_ context.Context, job *river.Job[NoteArgs]) error {
	w.tally.note(job.Args.N)
	if job.Args.SleepMs > 0 {
		time.Sleep(time.Duration(job.Args.SleepMs * float64(time.Millisecond)))
	}
	return nil
}

// tally sends "n:µs n:µs ..." lines to the runner, at most every 20 ms.
type tally struct {
	mu    sync.Mutex
	notes []byte
}

func (t *tally) note(n int) {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	t.mu.Lock()
	t.notes = strconv.AppendInt(t.notes, int64(n), 10)
	t.notes = append(t.notes, ':')
	t.notes = strconv.AppendInt(t.notes, now.Nano()/1000, 10)
	t.notes = append(t.notes, ' ')
	t.mu.Unlock()
}

func (t *tally) run(conn net.Conn) {
	for range time.Tick(20 * time.Millisecond) {
		t.mu.Lock()
		notes := t.notes
		t.notes = nil
		t.mu.Unlock()
		if len(notes) > 0 {
			_, _ = conn.Write(append(notes, '\n'))
		}
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, command string) error {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	config.MaxConns = 10
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()

	switch command {
	case "migrate":
		migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
		if err != nil {
			return err
		}
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		return err
	case "insert":
		return insert(ctx, pool)
	case "work":
		return work(ctx, pool)
	}
	return fmt.Errorf("unknown command %q", command)
}

func insert(ctx context.Context, pool *pgxpool.Pool) error {
	client, err := newClient(pool, &river.Config{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var from, count, lanes, batch int
		var sleepMs float64
		if _, err := fmt.Sscan(lines.Text(), &from, &count, &lanes, &batch, &sleepMs); err != nil {
			return err
		}
		// The text may contain spaces.
		words := strings.SplitN(lines.Text(), " ", 6)
		if len(words) < 6 {
			return fmt.Errorf("no text in %q", lines.Text())
		}
		if err := insertRange(ctx, client, from, count, lanes, batch, sleepMs, words[5]); err != nil {
			return err
		}
		fmt.Println("ok")
	}
	return lines.Err()
}

// insertRange inserts batches, with `lanes` concurrent calls.
func insertRange(ctx context.Context, client *river.Client[pgx.Tx], from, count, lanes, batch int, sleepMs float64, text string) error {
	starts := make(chan int)
	errs := make(chan error, lanes)
	for range lanes {
		go func() {
			for start := range starts {
				params := make([]river.InsertManyParams, 0, batch)
				for n := start; n < min(start+batch, from+count); n++ {
					params = append(params, river.InsertManyParams{Args: NoteArgs{N: n, SleepMs: sleepMs, Text: text}})
				}
				if _, err := client.InsertManyFast(ctx, params); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for start := from; start < from+count; start += batch {
		starts <- start
	}
	close(starts)
	for range lanes {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func work(ctx context.Context, pool *pgxpool.Pool) error {
	conn, err := net.Dial("unix", os.Getenv("BENCH_TALLY"))
	if err != nil {
		return err
	}
	defer conn.Close()
	notes := &tally{}
	go notes.run(conn)

	slots, err := strconv.Atoi(os.Getenv("BENCH_SLOTS"))
	if err != nil {
		return err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &noteWorker{tally: notes})
	client, err := newClient(pool, &river.Config{
		// This is the smallest value that River accepts; the default is 100 ms.
		FetchCooldown: time.Millisecond,
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: slots}},
		Workers:       workers,
	})
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	<-client.Stopped()
	return nil
}

func newClient(pool *pgxpool.Pool, config *river.Config) (*river.Client[pgx.Tx], error) {
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	return river.NewClient(riverpgxv5.New(pool), config)
}
