package cache

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// append appends to the log as Redis does: no id is below an earlier one.
func (s *servers) append(n *node, secret string) string {
	id := [2]int64{n.now().UnixMilli(), 0}
	if later(n.next, n.last) {
		id = n.next
	}
	if !later(id, n.last) {
		id = [2]int64{n.last[0], n.last[1] + 1}
	}
	sequence := int(n.now().UnixMilli())
	if len(n.log) > 0 {
		sequence, _ = strconv.Atoi(n.log[len(n.log)-1].Values["sequence"].(string))
	}
	sequence++
	entry := redis.XMessage{ID: fmt.Sprintf("%d-%d", id[0], id[1]), Values: map[string]any{"sequence": strconv.Itoa(sequence), "secret": secret}}
	n.write(func(n *node) { n.log, n.last = append(n.log, entry), id })
	s.wake()
	return entry.ID
}

func later(a, b [2]int64) bool { return a[0] > b[0] || a[0] == b[0] && a[1] > b[1] }

func streamID(text string) (id [2]int64) {
	millis, count, _ := strings.Cut(text, "-")
	id[0], _ = strconv.ParseInt(millis, 10, 64)
	id[1], _ = strconv.ParseInt(count, 10, 64)
	return id
}
