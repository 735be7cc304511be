package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// size is a flag that counts bytes.
type size int64

var units = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

func (s *size) String() string {
	for i := len(units) - 1; i >= 0; i-- {
		if n := int64(*s); n > 0 && n%units[i].bytes == 0 {
			return strconv.FormatInt(n/units[i].bytes, 10) + units[i].name
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

func (s *size) Set(text string) error {
	unit := int64(1)
	for _, u := range units {
		if digits, ok := strings.CutSuffix(text, u.name); ok {
			text, unit = digits, u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n > math.MaxInt64/uint64(unit) {
		return errors.New("write a number of bytes, or one of KiB, MiB or GiB: 8MiB")
	}
	*s = size(int64(n) * unit)
	return nil
}

// size is a flag of a size, otherwise unless given.
func (c *call) size(name string, otherwise size, usage string) *size {
	s := &otherwise
	c.flags.Var(s, name, usage)
	return s
}
