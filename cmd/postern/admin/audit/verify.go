package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// Report is what Verify found.
type Report struct {
	Entries  int64  `json:"entries"`
	First    int64  `json:"first"` // number of the first; 1, unless files before were left out
	Last     int64  `json:"last"`
	Head     string `json:"head"`     // of the last
	Anchored bool   `json:"anchored"` // a head file was there to tell whether later entries were cut off
}

// Verify reads the files of one log, oldest first, and says where its chain is
// broken. The head file beside the last one tells whether entries were cut off
// at the end; without it that cannot be told.
func Verify(paths []string) (Report, error) {
	var r Report
	var head Head
	for i, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return r, err
		}
		before := head
		if i == 0 {
			r.First, err = firstSeq(file)
		}
		if err == nil {
			head, err = verifyWhole(file, before, i == 0)
		}
		if err = errors.Join(err, file.Close()); err != nil {
			return r, fmt.Errorf("%s: %w", path, err)
		}
	}
	r.Last, r.Head = head.Seq, head.String()
	if head.Seq > 0 {
		r.Entries = head.Seq - r.First + 1
	}
	return r, r.anchor(paths[len(paths)-1], head)
}

// anchor compares the chain's end with the head file's.
func (r *Report) anchor(path string, head Head) error {
	file, err := os.Open(headFile(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	kept, err := readHead(file)
	if err != nil {
		return err
	}
	r.Anchored = true
	switch {
	case head.Seq < kept.Seq:
		return fmt.Errorf("%s: it ends at entry %d, and had %d: its end was cut off", path, head.Seq, kept.Seq)
	case head.Seq == kept.Seq && head != kept:
		return fmt.Errorf("%s: entry %d is not the one that was written: the chain was made anew", path, head.Seq)
	}
	return nil
}

// firstSeq is the number of the first line, and leaves the file at its start.
func firstSeq(file *os.File) (int64, error) {
	text, err := bufio.NewReader(file).ReadBytes('\n')
	if len(text) == 0 {
		return 0, nil
	}
	head, err2 := Head{}.follow(bytes.TrimSuffix(text, []byte("\n")), true)
	if err != nil || err2 != nil {
		return 0, fmt.Errorf("line 1: %w", errors.Join(err, err2))
	}
	_, err = file.Seek(0, io.SeekStart)
	return head.Seq, err
}

// verifyWhole verifies a file that must not end within a line.
func verifyWhole(file *os.File, head Head, first bool) (Head, error) {
	head, good, err := verify(file, head, first)
	if err != nil {
		return head, err
	}
	info, err := file.Stat()
	if err == nil && info.Size() != good {
		err = errors.New("it ends within a line: it was cut off, or is being written")
	}
	return head, err
}

// verify follows the chain after head through r, and returns its end and the
// length of what is whole: half a line at the end is left out. Where any is
// set the first line may be any line.
func verify(r io.Reader, head Head, any bool) (Head, int64, error) {
	lines := bufio.NewReader(r)
	var good int64
	for n := 1; ; n++ {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return head, good, nil
		}
		if err != nil {
			return head, good, err
		}
		if head, err = head.follow(text[:len(text)-1], any && n == 1); err != nil {
			return head, good, fmt.Errorf("line %d: %w", n, err)
		}
		good += int64(len(text))
	}
}
