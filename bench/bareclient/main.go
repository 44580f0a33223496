// Command bareclient is what nodeipam is measured with and against: it makes Nodes, watches them get their
// ranges, and, as the bare client, does the least that any controller must do.
//
// It speaks HTTP/2 to the server of BENCH_SERVER, whose certificate BENCH_CA vouches for, with the token
// BENCH_TOKEN. It retries nothing: an error ends it.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const nodes = "/api/v1/nodes"

type client struct {
	http   *http.Client
	server string
	token  string
}

func main() {
	flags := flag.NewFlagSet("bareclient", flag.ExitOnError)
	count := flags.Int("nodes", 5000, "how many Nodes")
	from := flags.Int("from", 0, "number of the first one")
	rate := flags.Float64("rate", 0, "Nodes a second; 0: as fast as the server takes them")
	flight := flags.Int("in-flight", 32, "requests at once")
	assigned := flags.Bool("assigned", false, "make Nodes that have their ranges")
	version := flags.String("version", "", "resourceVersion to watch from")
	if len(os.Args) < 2 {
		fail(errors.New("usage: bareclient make|patch|observe [flags]"))
	}
	flags.Parse(os.Args[2:])
	c, err := connect()
	if err != nil {
		fail(err)
	}
	switch os.Args[1] {
	case "make":
		err = c.makeNodes(*from, *count, *flight, *rate, *assigned)
	case "patch":
		err = c.patchNodes(*flight)
	case "observe":
		err = c.observe(*count, *version)
	default:
		err = fmt.Errorf("no command %q: make, patch and observe there are", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bareclient:", err)
	os.Exit(1)
}

func connect() (*client, error) {
	ca, err := os.ReadFile(os.Getenv("BENCH_CA"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("BENCH_CA has no certificate")
	}
	transport := &http.Transport{
		TLSClientConfig:    &tls.Config{RootCAs: pool},
		ForceAttemptHTTP2:  true,
		DisableCompression: true,
	}
	return &client{&http.Client{Transport: transport}, os.Getenv("BENCH_SERVER"), os.Getenv("BENCH_TOKEN")}, nil
}

// ask sends one request and returns an answer that is a success.
func (c *client) ask(method, path string, body []byte, header map[string]string) (*http.Response, error) {
	request, err := http.NewRequest(method, c.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	for name, value := range header {
		request.Header.Set(name, value)
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		said, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		answer.Body.Close()
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, said)
	}
	return answer, nil
}

// send asks, and drops the answer once it has read it.
func (c *client) send(method, path string, body []byte, header map[string]string) error {
	answer, err := c.ask(method, path, body, header)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, bufio.NewReader(answer.Body))
	return err
}

// inParallel calls do for count numbers, so many at once, and returns the first error. With a rate there are as
// many a second: the moments are fixed beforehand, so that a slow answer doesn't thin out those that follow.
func inParallel(from, count, workers int, rate float64, do func(int) error) error {
	numbers := make(chan int)
	go func() {
		began := time.Now()
		for i := range count {
			if rate > 0 {
				time.Sleep(time.Until(began.Add(time.Duration(float64(i) / rate * float64(time.Second)))))
			}
			numbers <- from + i
		}
		close(numbers)
	}()
	var group sync.WaitGroup
	failures := make(chan error, workers)
	for range workers {
		group.Go(func() {
			for number := range numbers {
				if err := do(number); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failures)
	return <-failures
}
