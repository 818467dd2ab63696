// Command vcenter is the lab's simulated vCenter: govmomi's simulator with what a deployment of two VMs from a content
// library needs to behave as on a real one.
//
// It enforces its login, answers with its own instance UUID, gives each new VM a UUID of its own, drops dead VMs from
// rules, and reports a guest's address only where it has a reason to (guests.go, guestinfo.go). It has two users: an
// administrator, for the lab itself, and one with a role, whose privileges are enforced (privileges.go, needs.go). Its
// cluster keeps the rules of its VMs at power-on (hosts.go). It knows no licences and no admission control.
//
// The inventory is VPX's: datacenter DC0, cluster DC0_C0, datastore LocalDS_0, network "VM Network", no VMs. It is in
// memory and ends with the process; the library's files lie below -state and are removed with it.
//
// It binds its port itself and reports it in the file of -ready. So nobody has to look for a free port first, which another
// program could take before it is bound.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	_ "github.com/vmware/govmomi/eam/simulator"
	_ "github.com/vmware/govmomi/lookup/simulator"
	_ "github.com/vmware/govmomi/pbm/simulator"
	_ "github.com/vmware/govmomi/sts/simulator"
	_ "github.com/vmware/govmomi/vapi/cluster/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
	_ "github.com/vmware/govmomi/vsan/simulator"
)

const (
	// version is the version that the simulated vCenter reports; the provider asks for it before it uses newer fields.
	version = "8.0.3"
	// exitUsage is the exit code for everything that a person has to put right.
	exitUsage = 2
	// exitTaken is the exit code where the port of -listen is taken and no other one may be used; lab/vcenter/server.py reads it.
	exitTaken = 3
	// datastores is how the simulator names its temporary directories.
	datastores = "govcsim-*"
)

const usage = `usage: VCENTER_USER=... VCENTER_PASSWORD=... [VCENTER_ROLE_USER=... VCENTER_ROLE_PASSWORD=...] vcenter -uuid UUID -cert FILE -key FILE -ready FILE -control PATH -state DIR

Serves a simulated vCenter until SIGTERM or SIGINT. Its inventory is in memory: every VM, rule and library is lost when the
process ends, and the files below -state are removed. Users and passwords are taken from the environment, never from
arguments: an administrator, and one who may do what -privileges lists and no more.
Exit code 3: the port is taken (without -fallback); 2: anything else that has to be corrected.
`

var errTaken = errors.New("the port is taken; choose another one, or allow any free one with -fallback")

type options struct {
	listen, uuid, cert, key, ready, control, guests, state string
	user, password, roleUser, rolePassword, privileges     string
	fallback                                               bool
}

func parse(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("vcenter", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "%s\n", usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8989", "`address` and port; port 0 takes a free one")
	flags.BoolVar(&o.fallback, "fallback", false, "listen on a free port where the one of -listen is taken; -ready reports it")
	flags.StringVar(&o.uuid, "uuid", "", "instance `UUID` of this vCenter")
	flags.StringVar(&o.cert, "cert", "", "certificate, PEM `file`")
	flags.StringVar(&o.key, "key", "", "private key of the certificate, PEM `file`")
	flags.StringVar(&o.ready, "ready", "", "`file` that is there while the vCenter serves: JSON with url, server and pid")
	flags.StringVar(&o.control, "control", "", "`path` of the control API's unix socket")
	flags.StringVar(&o.guests, "guests", guestsSelf,
		"who reports guests: self (the address in their own guestinfo) or agent (what is posted to the control API)")
	flags.StringVar(&o.privileges, "privileges", "", "what the user with a role may do: vCenter's `names`, with commas between them")
	flags.StringVar(&o.state, "state", "", "`directory` for library files; one vcenter at a time may use it")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	o.user, o.password = os.Getenv("VCENTER_USER"), os.Getenv("VCENTER_PASSWORD")
	o.roleUser, o.rolePassword = os.Getenv("VCENTER_ROLE_USER"), os.Getenv("VCENTER_ROLE_PASSWORD")
	var wrong []error
	for _, required := range []struct{ name, value string }{
		{"-uuid", o.uuid}, {"-cert", o.cert}, {"-key", o.key}, {"-ready", o.ready}, {"-control", o.control},
		{"-state", o.state}, {"VCENTER_USER", o.user}, {"VCENTER_PASSWORD", o.password},
	} {
		if required.value == "" {
			wrong = append(wrong, fmt.Errorf("%s is not set", required.name))
		}
	}
	if o.guests != guestsSelf && o.guests != guestsAgent {
		wrong = append(wrong, fmt.Errorf("-guests: %q is neither %s nor %s", o.guests, guestsSelf, guestsAgent))
	}
	if (o.roleUser == "") != (o.rolePassword == "") || o.roleUser == o.user && o.user != "" {
		wrong = append(wrong, errors.New("VCENTER_ROLE_USER and VCENTER_ROLE_PASSWORD: both or none, and another user than VCENTER_USER"))
	}
	if flags.NArg() > 0 {
		wrong = append(wrong, fmt.Errorf("unexpected argument %q", flags.Arg(0)))
	}
	return o, errors.Join(wrong...)
}

func main() {
	log.SetFlags(log.LstdFlags | log.LUTC)
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = run(ctx, o)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vcenter:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(exitCode(err))
	}
}

// exitCode is the exit code for an error of run or parse.
func exitCode(err error) int {
	if errors.Is(err, errTaken) {
		return exitTaken
	}
	return exitUsage
}

// run serves until ctx ends.
func run(ctx context.Context, o options) error {
	certificate, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return fmt.Errorf("-cert, -key: %w", err)
	}
	release, err := takeState(o.state)
	if err != nil {
		return fmt.Errorf("-state %s: %w", o.state, err)
	}
	defer release()
	_ = os.Remove(o.ready) // of a process that was killed; nobody else serves, because -state is ours

	server, i, remove, err := start(o, certificate)
	if errors.Is(err, errTaken) && o.fallback {
		log.Printf("%s is taken, a free port is used", o.listen)
		server, i, remove, err = start(o.onAnyPort(), certificate)
	}
	if err != nil {
		return err
	}
	defer remove()
	defer func() { _ = server.Config.Close() }() // and does not wait for clients that hang in a long poll
	control, err := newControl(o.control, i)
	if err != nil {
		return err
	}
	defer control.close()

	if err := writeReady(o.ready, server.URL); err != nil {
		return fmt.Errorf("-ready: %w", err)
	}
	defer func() { _ = os.Remove(o.ready) }()
	log.Printf("serving %s, instance %s, guests reported by %s", server.URL.Host, o.uuid, o.guests)
	i.follow(ctx)
	log.Print("ending")
	return nil
}

// takeState makes the directory this process's own, removes what a killed one left there, and lets the simulator keep its
// datastores, and in them the library's files, below it.
func takeState(directory string) (release func(), err error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(directory, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, errors.New("another vcenter uses it; end that one or choose another directory")
	}
	left, _ := filepath.Glob(filepath.Join(directory, datastores))
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			_ = lock.Close()
			return nil, err
		}
	}
	if err := os.Setenv("TMPDIR", directory); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return func() { _ = lock.Close() }, nil
}

// start makes an inventory and serves it; remove takes away its files. The simulator's service can listen only once, so
// a second attempt on another port makes all of it again, which takes a tenth of a second.
func start(o options, certificate tls.Certificate) (server *simulator.Server, i *inventory, remove func(), err error) {
	model := simulator.VPX()
	model.Machine, model.Datastore = 0, datastoresPerHost
	defer func() {
		if err != nil {
			model.Remove()
		}
	}()
	if err := model.Create(); err != nil {
		return nil, nil, nil, err
	}
	service := model.Service
	service.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	service.RegisterEndpoints = true
	service.Listen = &url.URL{Host: o.listen, User: url.UserPassword(o.user, o.password)}
	about := &simulator.Map(service.Context).Get(vim25.ServiceInstance).(*simulator.ServiceInstance).Content.About
	about.Version, about.ApiVersion, about.InstanceUuid = version, version, o.uuid
	about.FullName = "VMware vCenter Server " + version + " (simulated)"

	i = newInventory(simulator.Map(service.Context), o.guests)
	i.role = newRole(o.roleUser, o.privileges)
	simulator.Map(service.Context).SessionManager().ValidLogin = o.validLogin
	if server, err = serve(service); err != nil {
		return nil, nil, nil, err
	}
	server.Config.Handler = plainTypes(i.role.guard(server.Config.Handler))
	return server, i, model.Remove, nil
}

// validLogin knows the administrator and the user with a role.
func (o options) validLogin(login *types.Login) bool {
	return login.UserName == o.user && login.Password == o.password ||
		o.roleUser != "" && login.UserName == o.roleUser && login.Password == o.rolePassword
}

// onAnyPort is the same with the choice of the port left to the kernel, which cannot be wrong.
func (o options) onAnyPort() options {
	host, _, _ := net.SplitHostPort(o.listen) // the listener has taken it for an address before
	o.listen = net.JoinHostPort(host, "0")
	return o
}

// serve starts the HTTPS server; the simulator panics when it cannot listen.
func serve(service *simulator.Service) (server *simulator.Server, err error) {
	defer func() {
		reason := recover()
		if reason == nil {
			return
		}
		err = fmt.Errorf("-listen %s: %v", service.Listen.Host, reason)
		if strings.HasSuffix(err.Error(), syscall.EADDRINUSE.Error()) { // the panic's value is a text, not an error
			err = fmt.Errorf("-listen %s: %w", service.Listen.Host, errTaken)
		}
	}()
	server = service.NewServer()
	server.Config.Handler = passwordOnly(server.Config.Handler)
	return server, nil
}

// passwordOnly refuses the ways into the REST API for which the simulator asks no password: signed tokens, which it does
// not verify, and the session service's JSON-RPC.
func passwordOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Authorization"), "SIGN ") || r.URL.Path == "/api" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// writeReady gives the lab the address of the vCenter; the file appears whole or not at all.
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
	_, err = partial.Write(body)
	if err = errors.Join(err, partial.Close()); err == nil {
		err = os.Rename(partial.Name(), path)
	}
	if err != nil {
		_ = os.Remove(partial.Name())
	}
	return err
}
