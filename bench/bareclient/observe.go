package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"
)

// What the observer says in the end.
type seen struct {
	// Last is when the last Node was seen with ranges, in seconds since 1970.
	Last float64 `json:"last"`
	// Latencies are the milliseconds from ADDED without ranges to ranges, of the Nodes that were seen so.
	Latencies []float64 `json:"latencies"`
}

// observe watches until so many Nodes have ranges. It says "watching" once the watch is open, and in the end
// what it has seen. It reads no more of an event than it must, and watches again when the server ends a watch.
func (c *client) observe(count int, version string) error {
	added, done, latencies := map[string]time.Time{}, map[string]bool{}, []float64{}
	for first := true; ; first = false {
		query := url.Values{"watch": {"1"}, "allowWatchBookmarks": {"true"}, "resourceVersion": {version}}
		answer, err := c.ask("GET", nodes+"?"+query.Encode(), nil, map[string]string{"Accept": "application/json"})
		if err != nil {
			return err
		}
		if first {
			fmt.Println("watching")
		}
		lines := bufio.NewReaderSize(answer.Body, 1<<20)
		for {
			line, err := lines.ReadSlice('\n')
			if err == io.EOF {
				break
			} else if err != nil {
				return err
			}
			if bytes.HasPrefix(line, []byte(`{"type":"ERROR"`)) {
				return fmt.Errorf("the watch has ended: %s", line)
			}
			version = text(line, `"resourceVersion":"`)
			name, now := text(line, `"name":"`), time.Now()
			if name == "" || done[name] {
				continue
			}
			if !bytes.Contains(line, []byte(`"podCIDRs":[`)) {
				if _, known := added[name]; !known {
					added[name] = now
				}
				continue
			}
			done[name] = true
			if since, known := added[name]; known {
				latencies = append(latencies, float64(now.Sub(since).Microseconds())/1000)
			}
			if len(done) == count {
				return json.NewEncoder(os.Stdout).Encode(seen{float64(now.UnixMicro()) / 1e6, latencies})
			}
		}
		answer.Body.Close()
	}
}

// text is the first text behind a key, "" if there is none.
func text(line []byte, key string) string {
	_, behind, found := bytes.Cut(line, []byte(key))
	if !found {
		return ""
	}
	end := bytes.IndexByte(behind, '"')
	return string(behind[:max(end, 0)])
}
