package main

import (
	"encoding/json"
	"fmt"
)

type object = map[string]any

// makeNodes creates Nodes, at a rate if one is given.
func (c *client) makeNodes(from, count, workers int, rate float64, assigned bool) error {
	header := map[string]string{"Content-Type": "application/json", "Accept": partial}
	return inParallel(from, count, workers, rate, func(number int) error {
		body, err := json.Marshal(node(number, assigned))
		if err != nil {
			return err
		}
		return c.send("POST", nodes, body, header)
	})
}

// node is a Node as a kubelet reports it: about 20 KB on the server, most of it images; the server adds
// managedFields.
func node(number int, assigned bool) object {
	name := fmt.Sprintf("node-%05d", number)
	labels := object{
		"kubernetes.io/hostname":      name,
		"kubernetes.io/os":            "linux",
		"kubernetes.io/arch":          "amd64",
		"topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", number%3),
	}
	for i := range 16 {
		labels[fmt.Sprintf("node.example.com/label-%d", i)] = fmt.Sprintf("value-%d", number%7)
	}
	size := object{"cpu": "32", "memory": "131072000Ki", "pods": "110", "ephemeral-storage": "209702892Ki"}
	spec := object{"providerID": fmt.Sprintf("example:///zone-%d/i-%08x", number%3, number)}
	if assigned {
		texts := blocks(number)
		spec["podCIDR"], spec["podCIDRs"] = texts[0], texts
	}
	return object{
		"apiVersion": "v1",
		"kind":       "Node",
		"metadata":   object{"name": name, "labels": labels},
		"spec":       spec,
		"status": object{
			"capacity":    size,
			"allocatable": size,
			"conditions":  conditions(),
			"addresses": []object{
				{"type": "InternalIP", "address": fmt.Sprintf("10.255.%d.%d", number>>8&255, number&255)},
				{"type": "Hostname", "address": name},
			},
			"nodeInfo": object{
				"machineID": fmt.Sprintf("%032x", number), "systemUUID": fmt.Sprintf("%032x", number),
				"bootID": fmt.Sprintf("%032x", number), "kernelVersion": "6.1.0-28-amd64",
				"osImage": "Debian GNU/Linux 12 (bookworm)", "containerRuntimeVersion": "containerd://2.1.4",
				"kubeletVersion": "v1.37.0", "kubeProxyVersion": "", "operatingSystem": "linux",
				"architecture": "amd64",
			},
			"images": images(number),
		},
	}
}

func conditions() []object {
	var all []object
	for _, kind := range []string{"MemoryPressure", "DiskPressure", "PIDPressure", "Ready"} {
		all = append(all, object{
			"type": kind, "status": "True", "reason": "KubeletHas" + kind,
			"message":           "kubelet reports that " + kind + " is as it has found on its last look",
			"lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
		})
	}
	return all
}

// images are the 50 that a kubelet reports at the most.
func images(number int) []object {
	all := make([]object, 50)
	for i := range all {
		repository := fmt.Sprintf("registry.region-1.internal.example.com/platform/team-%d/service-%03d", i%20, i)
		all[i] = object{
			"names": []string{
				fmt.Sprintf("%s@sha256:%064x", repository, (number%8)<<16+i),
				fmt.Sprintf("%s:v1.%d.%d", repository, i, number%8),
			},
			"sizeBytes": 10_000_000 + i*4099,
		}
	}
	return all
}

// blocks are the ranges of a Node: one after the other, in both families.
func blocks(number int) []string {
	return []string{
		fmt.Sprintf("10.%d.%d.0/24", number>>8, number&255),
		fmt.Sprintf("fd00::%x:%x/120", number>>8, number&255<<8),
	}
}
