package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Log appends to a chain. It is safe for concurrent use.
type Log struct {
	path string
	out  io.Writer // instead of a file, where path is ""

	mu    sync.Mutex // guards what follows, also while it writes: a chain has one end
	file  *os.File
	size  int64 // of the file as far as it is good
	torn  bool  // there may be half a line beyond size
	head  Head
	heads *os.File // holds head, for Verify to see lines that were cut off
}

// To is a log that begins a chain on out. Whoever reads it keeps it.
func To(out io.Writer) *Log { return &Log{out: out} }

// Open opens the log at path, or begins it there, mode 0600. What a power cut
// left of a last line is cut off. It fails where the chain is not whole, and
// where another process has the log open. The caller closes it.
func Open(path string) (*Log, error) {
	l := &Log{path: path}
	if err := l.open(); err != nil {
		l.Close()
		return nil, fmt.Errorf("audit log %s: %w", path, err)
	}
	return l, nil
}

// Close ends the log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, f := range []*os.File{l.file, l.heads} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Head is the chain's end.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

func headFile(path string) string { return path + ".head" }

func (l *Log) open() (err error) {
	if l.heads, err = os.OpenFile(headFile(l.path), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if syscall.Flock(int(l.heads.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return errors.New("another process writes it: give each its own file")
	}
	kept, err := readHead(l.heads)
	if err != nil {
		return err
	}
	if err := l.openFile(); err != nil {
		return err
	}
	l.head, l.size, err = verify(l.file, Head{}, true)
	switch {
	case err != nil:
		return fmt.Errorf("%w: keep it and %s aside, and find out who changed it; then start again", err, headFile(l.path))
	case l.size == 0: // new, or the one before was put aside: the chain goes on
		l.head = kept
	case l.head.Seq < kept.Seq:
		return fmt.Errorf("it ends at entry %d, and had %d: keep it aside, and find out who cut it off; then start again", l.head.Seq, kept.Seq)
	}
	l.torn = true // if so
	return l.mend()
}

// readHead reads a head file; an empty one holds the zero Head.
func readHead(f *os.File) (Head, error) {
	text, err := io.ReadAll(io.LimitReader(io.NewSectionReader(f, 0, 1<<10), 1<<10))
	if err != nil || len(text) == 0 {
		return Head{}, err
	}
	h, err := parseHead(string(text))
	if err != nil {
		return h, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return h, nil
}

func (l *Log) openFile() error {
	file, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file: name another")
	}
	if err == nil {
		err = syncDir(l.path)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	l.file, l.size = file, 0
	return nil
}

// syncDir makes a file's name outlive a power cut.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Append writes an entry to the end. Where the error is nil it is on disk;
// otherwise it is not in the log. A file that was put aside, as logrotate
// does, is begun anew, and the chain goes on in it.
func (l *Log) Append(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	text, next, err := l.head.chain(e)
	if err != nil {
		return err
	}
	if err := l.write(text); err != nil {
		return fmt.Errorf("write audit log: %w", err)
	}
	l.head, l.size = next, l.size+int64(len(text))
	if l.heads != nil { // the entry stands; a head that is behind it is no false alarm
		_, err := l.heads.WriteAt(fmt.Appendf(nil, "%-100s\n", next), 0)
		if err = errors.Join(err, l.heads.Sync()); err != nil {
			return fmt.Errorf("write audit log: head: %w", err)
		}
	}
	return nil
}

func (l *Log) write(text []byte) error {
	if l.path == "" {
		_, err := l.out.Write(text)
		return err
	}
	if err := l.reopen(); err != nil {
		return err
	}
	if err := l.mend(); err != nil {
		return err
	}
	l.torn = true
	if _, err := l.file.WriteAt(text, l.size); err != nil {
		return errors.Join(err, l.mend())
	}
	if err := l.file.Sync(); err != nil {
		return errors.Join(err, l.mend())
	}
	l.torn = false
	return nil
}

// mend cuts off half a line.
func (l *Log) mend() error {
	if !l.torn {
		return nil
	}
	if err := l.file.Truncate(l.size); err != nil {
		return err
	}
	l.torn = false
	return nil
}

// reopen begins the file anew where it was put aside.
func (l *Log) reopen() error {
	now, err := os.Stat(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	was, statErr := l.file.Stat()
	if statErr != nil {
		return statErr
	}
	if err == nil && os.SameFile(now, was) {
		return nil
	}
	if err == nil && now.Size() > 0 {
		return errors.New("another file was put in its place: only an empty one, or none, may be there")
	}
	old := l.file
	if err := l.openFile(); err != nil {
		return err
	}
	return old.Close()
}
