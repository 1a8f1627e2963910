// SPDX-License-Identifier: Apache-2.0

// Boots and stops a machine through firecracker-go-sdk. Usage: sdk FIRECRACKER KERNEL DISK DIRECTORY.
// The SDK starts the program itself, so the engine comes from $SQUIB_ENGINE. With $EXPECT the test
// waits until that text has come out of the guest's serial console, and then has a program that it
// starts there answer over vsock; $INITRD names its initramfs.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	firecracker "github.com/firecracker-microvm/firecracker-go-sdk"
	"github.com/firecracker-microvm/firecracker-go-sdk/client/models"
	"github.com/firecracker-microvm/firecracker-go-sdk/vsock"
)

// console collects what the monitor writes and tells when a text has come.
type console struct {
	mutex sync.Mutex
	text  bytes.Buffer
	want  string
	found chan struct{}
	once  sync.Once
}

func newConsole(want string) *console {
	return &console{want: want, found: make(chan struct{})}
}

func (c *console) Write(data []byte) (int, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.text.Write(data)
	if c.want == "" || strings.Contains(c.text.String(), c.want) {
		c.once.Do(func() { close(c.found) })
	}
	return len(data), nil
}

func (c *console) String() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.text.String()
}

func die(step string, err error, output fmt.Stringer) {
	fmt.Printf("FAIL %s: %v\n%s\n", step, err, output)
	os.Exit(1)
}

// echo starts a listener by way of the guest's console, and talks to it by way of its socket.
func echo(ctx context.Context, keyboard io.Writer, path string) error {
	_, err := io.WriteString(keyboard, "socat VSOCK-LISTEN:7 'EXEC:/bin/busybox cat,nofork' &\n")
	if err != nil {
		return err
	}
	connection, err := vsock.DialContext(ctx, path, 7) // again and again, until it listens
	if err != nil {
		return err
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "hello\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(connection).ReadString('\n')
	if err == nil && line != "hello\n" {
		err = fmt.Errorf("said hello, heard %q", line)
	}
	return err
}

func main() {
	if len(os.Args) != 5 {
		fmt.Println("usage: sdk FIRECRACKER KERNEL DISK DIRECTORY")
		os.Exit(2)
	}
	program, kernel, disk, directory := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	output := newConsole(os.Getenv("EXPECT"))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	step := func(name string, err error) {
		if err != nil {
			die(name, err, output)
		}
		fmt.Printf("ok %s\n", name)
	}

	config := firecracker.Config{
		VMID:            "sdk-test",
		SocketPath:      filepath.Join(directory, "sdk.sock"),
		LogFifo:         filepath.Join(directory, "log.fifo"),
		LogLevel:        "Debug",
		MetricsFifo:     filepath.Join(directory, "metrics.fifo"),
		FifoLogWriter:   io.Discard,
		KernelImagePath: kernel,
		InitrdPath:      os.Getenv("INITRD"),
		KernelArgs:      "console=ttyS0 reboot=k panic=1 quiet",
		Drives:          firecracker.NewDrivesBuilder(disk).Build(),
		VsockDevices:    []firecracker.VsockDevice{{ID: "v", Path: filepath.Join(directory, "v.sock"), CID: 3}},
		MachineCfg: models.MachineConfiguration{
			VcpuCount:  firecracker.Int64(1),
			MemSizeMib: firecracker.Int64(256),
			Smt:        firecracker.Bool(false),
		},
	}
	input, keyboard, err := os.Pipe()
	step("pipe", err)
	command := firecracker.VMCommandBuilder{}.WithBin(program).WithSocketPath(config.SocketPath).
		AddArgs("--id", config.VMID, "--no-seccomp").WithStdin(input).WithStdout(output).WithStderr(output).Build(ctx)
	machine, err := firecracker.NewMachine(ctx, config, firecracker.WithProcessRunner(command))
	step("new machine", err)
	step("start", machine.Start(ctx))

	version, err := machine.GetFirecrackerVersion(ctx)
	step("version "+version, err)
	instance, err := machine.DescribeInstanceInfo(ctx)
	step("describe", err)
	if *instance.ID != config.VMID || *instance.State != models.InstanceInfoStateRunning {
		die("describe", fmt.Errorf("id %s, state %s", *instance.ID, *instance.State), output)
	}
	if output.want != "" {
		select {
		case <-output.found:
			fmt.Printf("ok console says %q\n", output.want)
		case <-ctx.Done():
			die("console", ctx.Err(), output)
		}
		step("vsock", echo(ctx, keyboard, config.VsockDevices[0].Path))
	}
	step("pause", machine.PauseVM(ctx))
	step("resume", machine.ResumeVM(ctx))
	step("stop", machine.StopVMM())
	err = machine.Wait(ctx)
	if err == nil || !strings.Contains(err.Error(), "signal: terminated") {
		die("wait", fmt.Errorf("want an end by SIGTERM, got %v", err), output)
	}
	fmt.Println("ok wait")
}
