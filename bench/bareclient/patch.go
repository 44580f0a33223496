package main

import (
	"encoding/json"
	"io"
	"net/url"
	"time"
)

// What answers to writes are asked for as: the Node itself would be twenty times as long.
const partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

type page struct {
	Metadata struct {
		Continue string
	}
	Items []struct {
		Metadata struct{ Name string }
	}
}

// patchNodes is the bare client: list all Nodes in pages, then patch each. No cache, no watch, no queue, no
// election. Afterwards it waits to be ended, so that what it cost can be read.
func (c *client) patchNodes(workers int) error {
	var names []string
	for token := ""; ; {
		query := url.Values{"limit": {"500"}}
		if token != "" {
			query.Set("continue", token)
		}
		answer, err := c.ask("GET", nodes+"?"+query.Encode(), nil, map[string]string{"Accept": "application/json"})
		if err != nil {
			return err
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			return err
		}
		var found page
		if err := json.Unmarshal(body, &found); err != nil {
			return err
		}
		for _, item := range found.Items {
			names = append(names, item.Metadata.Name)
		}
		if token = found.Metadata.Continue; token == "" {
			break
		}
	}
	header := map[string]string{"Content-Type": "application/merge-patch+json", "Accept": partial}
	err := inParallel(0, len(names), workers, 0, func(number int) error {
		texts := blocks(number)
		body, err := json.Marshal(object{"spec": object{"podCIDR": texts[0], "podCIDRs": texts}})
		if err != nil {
			return err
		}
		return c.send("PATCH", nodes+"/"+names[number], body, header)
	})
	if err != nil {
		return err
	}
	time.Sleep(time.Hour)
	return nil
}
