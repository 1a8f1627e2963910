// SPDX-License-Identifier: Apache-2.0

// Drives a monitor the way Go clients do, with the stack they are made of: the go-openapi runtime
// over net/http and one kept connection. Usage: client SOCKET DIRECTORY. Ends with 0 when every
// answer was the one a Go client accepts.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/go-openapi/runtime"
	httptransport "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
)

type object map[string]interface{}

// fault is what a Go client makes of an answer that is no success.
type fault struct {
	Status  int
	Message string `json:"fault_message"`
}

func (f *fault) Error() string {
	return fmt.Sprintf("%d: %s", f.Status, f.Message)
}

type client struct {
	runtime *httptransport.Runtime
	dials   int32
}

func newClient(socketPath string) *client {
	c := &client{runtime: httptransport.New("localhost", "/", []string{"http"})}
	c.runtime.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			atomic.AddInt32(&c.dials, 1)
			return (&net.Dialer{}).DialContext(ctx, "unix", socketPath)
		},
	}
	return c
}

// submit sends a request; the answer must be 204 without a body, or with into 200 with one.
func (c *client) submit(method, path string, body, into interface{}) error {
	_, err := c.runtime.Submit(&runtime.ClientOperation{
		ID:                 method + path,
		Method:             method,
		PathPattern:        path,
		ProducesMediaTypes: []string{"application/json"},
		ConsumesMediaTypes: []string{"application/json"},
		Schemes:            []string{"http"},
		Context:            context.Background(),
		Params:             writer(body),
		Reader:             reader(into),
	})
	return err
}

func writer(body interface{}) runtime.ClientRequestWriterFunc {
	return func(request runtime.ClientRequest, _ strfmt.Registry) error {
		if body == nil {
			return nil
		}
		return request.SetBodyParam(body)
	}
}

func reader(into interface{}) runtime.ClientResponseReaderFunc {
	return func(answer runtime.ClientResponse, consumer runtime.Consumer) (interface{}, error) {
		return nil, read(answer, consumer, into)
	}
}

func read(answer runtime.ClientResponse, consumer runtime.Consumer, into interface{}) error {
	switch {
	case answer.Code() == http.StatusNoContent && into == nil:
		return nil
	case answer.Code() == http.StatusOK && into != nil:
		return consumer.Consume(answer.Body(), into)
	case answer.Code() < 400:
		return fmt.Errorf("status %d is no success", answer.Code())
	}
	failure := &fault{Status: answer.Code()}
	if err := consumer.Consume(answer.Body(), failure); err != nil {
		return err
	}
	return failure
}

func die(step string, err error) {
	fmt.Printf("FAIL %s: %v\n", step, err)
	os.Exit(1)
}

func must(step string, err error) {
	if err != nil {
		die(step, err)
	}
	fmt.Printf("ok %s\n", step)
}

func mustFail(step string, err error, want string) {
	failure, isFault := err.(*fault)
	if !isFault || failure.Status != 400 || failure.Message != want {
		die(step, fmt.Errorf("want %q, got %v", want, err))
	}
	fmt.Printf("ok %s\n", step)
}

func writeFile(directory, name string, content []byte) string {
	path := filepath.Join(directory, name)
	must("make "+name, os.WriteFile(path, content, 0o600))
	return path
}

// configure is the sequence of firecracker-go-sdk.
func configure(c *client, directory string) {
	var machine object
	kernel := writeFile(directory, "kernel", []byte("kernel"))
	disk := writeFile(directory, "disk", make([]byte, 4096))

	must("machine config", c.submit("GET", "/machine-config", nil, &machine))
	must("logger", c.submit("PUT", "/logger", object{"level": "Debug", "log_path": filepath.Join(directory, "log"),
		"show_level": true, "show_log_origin": false}, nil))
	must("metrics", c.submit("PUT", "/metrics", object{"metrics_path": filepath.Join(directory, "metrics")}, nil))
	must("put machine config", c.submit("PUT", "/machine-config",
		object{"vcpu_count": 2, "mem_size_mib": 256, "smt": false, "track_dirty_pages": false}, nil))
	must("read it back", c.submit("GET", "/machine-config", nil, &machine))
	if machine["vcpu_count"] != json.Number("2") && machine["vcpu_count"] != float64(2) {
		die("read it back", fmt.Errorf("vcpu_count is %v", machine["vcpu_count"]))
	}
	must("boot source", c.submit("PUT", "/boot-source",
		object{"kernel_image_path": kernel, "boot_args": "pci=off console=ttyS0 panic=1", "initrd_path": nil}, nil))
	for _, id := range []string{"1", "root_drive"} {
		must("drive "+id, c.submit("PUT", "/drives/"+id, object{"drive_id": id, "is_root_device": id != "1",
			"is_read_only": false, "path_on_host": disk}, nil))
	}
	must("vsock", c.submit("PUT", "/vsock", object{"vsock_id": "vsock0", "guest_cid": 3,
		"uds_path": filepath.Join(directory, "v.sock")}, nil))
	must("balloon", c.submit("PUT", "/balloon", object{"amount_mib": 10, "deflate_on_oom": true,
		"stats_polling_interval_s": 1}, nil))
	must("metadata", c.submit("PUT", "/mmds", object{"a": object{"b": "c"}}, nil))
}

func run(c *client, directory string) {
	var instance, metadata object
	running := "The requested operation is not supported after starting the microVM."

	mustFail("flush before the start", c.submit("PUT", "/actions", object{"action_type": "FlushMetrics"}, nil),
		"The requested operation is not supported before starting the microVM.")
	must("start", c.submit("PUT", "/actions", object{"action_type": "InstanceStart"}, nil))
	must("instance", c.submit("GET", "/", nil, &instance))
	if instance["state"] != "Running" {
		die("instance", fmt.Errorf("state is %v", instance["state"]))
	}
	mustFail("configure after the start", c.submit("PUT", "/machine-config",
		object{"vcpu_count": 1, "mem_size_mib": 128}, nil), running)
	must("swap a drive's file", c.submit("PATCH", "/drives/1",
		object{"drive_id": "1", "path_on_host": writeFile(directory, "other", make([]byte, 8192))}, nil))
	must("pause", c.submit("PATCH", "/vm", object{"state": "Paused"}, nil))
	must("resume", c.submit("PATCH", "/vm", object{"state": "Resumed"}, nil))
	mustFail("metadata without an interface", c.submit("GET", "/mmds", nil, &metadata),
		"MMDS error: The MMDS data store is not initialized.")
}

// waitUntilReady polls as the SDK does: the socket, then the first answer.
func waitUntilReady(c *client, socketPath string) {
	var machine object
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if _, err := os.Stat(socketPath); err == nil && c.submit("GET", "/machine-config", nil, &machine) == nil {
			return
		}
	}
	die("wait until ready", io.ErrUnexpectedEOF)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Println("usage: client SOCKET DIRECTORY")
		os.Exit(2)
	}
	c := newClient(os.Args[1])
	waitUntilReady(c, os.Args[1])
	configure(c, os.Args[2])
	run(c, os.Args[2])
	if c.dials != 1 {
		die("one kept connection", fmt.Errorf("%d connections were made", c.dials))
	}
}
