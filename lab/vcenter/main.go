// Command vcenter is the lab's simulated vCenter: govmomi's simulator with what a deployment of two VMs from a content
// library needs to behave as on a real one.
//
// It enforces its login, answers with its own instance UUID, gives each new VM a UUID of its own, drops dead VMs from
// rules, and reports a guest's address only where it has a reason to (guests.go). It does not enforce DRS rules, licences
// or permissions, and its inventory is in memory: it ends with the process.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	_ "github.com/vmware/govmomi/eam/simulator"
	_ "github.com/vmware/govmomi/lookup/simulator"
	_ "github.com/vmware/govmomi/pbm/simulator"
	_ "github.com/vmware/govmomi/sts/simulator"
	_ "github.com/vmware/govmomi/vapi/cluster/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
	_ "github.com/vmware/govmomi/vsan/simulator"
)

// version is what the simulated vCenter says it is; the provider asks for it before it uses newer fields.
const version = "8.0.3"

type options struct {
	listen, uuid, cert, key, ready, control, guests, state string
	user, password                                         string
}

func parse(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("vcenter", flag.ContinueOnError)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8989", "address and port; port 0 takes a free one")
	flags.StringVar(&o.uuid, "uuid", "", "instance UUID of this vCenter")
	flags.StringVar(&o.cert, "cert", "", "certificate, PEM file")
	flags.StringVar(&o.key, "key", "", "private key of the certificate, PEM file")
	flags.StringVar(&o.ready, "ready", "", "file that is written when the vCenter serves")
	flags.StringVar(&o.control, "control", "", "unix socket of the control API")
	flags.StringVar(&o.guests, "guests", guestsSelf, "who reports guests: self (from their guestinfo) or agent")
	flags.StringVar(&o.state, "state", "", "directory for library files; the inventory is in memory and ends with the process")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	o.user, o.password = os.Getenv("VCENTER_USER"), os.Getenv("VCENTER_PASSWORD")
	required := map[string]string{
		"-uuid": o.uuid, "-cert": o.cert, "-key": o.key, "-ready": o.ready, "-control": o.control, "-state": o.state,
		"VCENTER_USER": o.user, "VCENTER_PASSWORD": o.password,
	}
	var missing []error
	for name, value := range required {
		if value == "" {
			missing = append(missing, fmt.Errorf("%s is not set", name))
		}
	}
	if o.guests != guestsSelf && o.guests != guestsAgent {
		missing = append(missing, fmt.Errorf("-guests: %q is neither %s nor %s", o.guests, guestsSelf, guestsAgent))
	}
	return o, errors.Join(missing...)
}

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vcenter:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(2)
	}
}

func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	certificate, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return fmt.Errorf("-cert, -key: %w", err)
	}
	// The simulator keeps datastores, and in them the library's files, in temporary directories.
	if err := os.MkdirAll(o.state, 0o700); err != nil {
		return err
	}
	if err := os.Setenv("TMPDIR", o.state); err != nil {
		return err
	}

	model := simulator.VPX()
	model.Machine = 0
	defer model.Remove()
	if err := model.Create(); err != nil {
		return err
	}
	service := model.Service
	service.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	service.RegisterEndpoints = true
	service.Listen = &url.URL{Host: o.listen, User: url.UserPassword(o.user, o.password)}
	about := &simulator.Map(service.Context).Get(*serviceContent).(*simulator.ServiceInstance).Content.About
	about.Version, about.ApiVersion, about.InstanceUuid = version, version, o.uuid

	inventory := newInventory(service.Context, o.guests)
	server, err := serve(service)
	if err != nil {
		return err
	}
	defer server.Close()
	control, err := newControl(o.control, inventory)
	if err != nil {
		return err
	}
	defer control.close()

	if err := writeReady(o.ready, server.URL); err != nil {
		return err
	}
	defer func() { _ = os.Remove(o.ready) }()
	log.Printf("serving %s, instance %s, guests reported by %s", server.URL.Host, o.uuid, o.guests)
	inventory.follow(ctx)
	return nil
}

// serviceContent is the one object that every client starts from.
var serviceContent = &types.ManagedObjectReference{Type: "ServiceInstance", Value: "ServiceInstance"}

// serve starts the HTTPS server; the simulator panics when it cannot listen.
func serve(service *simulator.Service) (server *simulator.Server, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("-listen %s: %v", service.Listen.Host, reason)
		}
	}()
	return service.NewServer(), nil
}

// writeReady tells the lab where the vCenter is; the file appears whole or not at all.
func writeReady(path string, at *url.URL) error {
	body, err := json.Marshal(map[string]any{
		"url": "https://" + at.Host + at.Path, "server": at.Host, "pid": os.Getpid(),
	})
	if err != nil {
		return err
	}
	partial, err := os.CreateTemp(filepath.Dir(path), ".ready-*")
	if err != nil {
		return err
	}
	if _, err := partial.Write(body); err != nil {
		return err
	}
	if err := partial.Close(); err != nil {
		return err
	}
	return os.Rename(partial.Name(), path)
}
