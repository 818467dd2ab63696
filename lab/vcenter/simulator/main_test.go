package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	testUUID     = "6b1f4d0e-0000-4000-8000-0123456789ab"
	testUser     = "lab@vsphere.local"
	testPassword = "right"
	// patience is how long a test waits for something that takes milliseconds.
	patience = 20 * time.Second
)

// asProgram is the environment variable that makes this test program the vcenter itself.
const asProgram = "VCENTER_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	log.SetOutput(io.Discard) // the simulator talks about everything that it does not know
	os.Exit(m.Run())
}

// lab is a vcenter that runs in the test's own process.
type lab struct {
	t       *testing.T
	server  string
	ready   string
	state   string
	control *http.Client
	end     func() error
}

func startLab(t *testing.T, guests string) *lab {
	t.Helper()
	return startLabOn(t, guests, "127.0.0.1:0")
}

// startLabOn starts a vcenter that prefers an address.
func startLabOn(t *testing.T, guests, listen string) *lab {
	t.Helper()
	directory := t.TempDir()
	t.Setenv("TMPDIR", directory)
	l := &lab{t: t, ready: filepath.Join(directory, "ready.json"), state: filepath.Join(directory, "state")}
	certificate, key := selfSigned(t, directory)
	// The path of a socket may have 107 bytes, and a test's own directory has a long name.
	short, err := os.MkdirTemp("/tmp", "vc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	socket := filepath.Join(short, "c.sock")
	l.control = &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, options{
			listen: listen, fallback: true, uuid: testUUID, cert: certificate, key: key, ready: l.ready, control: socket,
			guests: guests, state: l.state, user: testUser, password: testPassword,
			roleUser: roleUser, rolePassword: rolePassword,
		})
	}()
	l.end = func() error {
		cancel()
		select {
		case err := <-ended:
			ended <- err
			return err
		case <-time.After(patience):
			return errors.New("it does not end")
		}
	}
	t.Cleanup(func() {
		if err := l.end(); err != nil {
			t.Error(err)
		}
	})
	l.awaitReady(ended)
	return l
}

// awaitReady waits until the vcenter reports where it serves; ended has its error where it ends.
func (l *lab) awaitReady(ended chan error) {
	l.t.Helper()
	var content struct {
		Server string `json:"server"`
	}
	l.eventually("it serves", func() bool {
		select {
		case err := <-ended:
			ended <- err
			l.t.Fatalf("it ended: %v", err)
		default:
		}
		body, err := os.ReadFile(l.ready)
		return err == nil && json.Unmarshal(body, &content) == nil
	})
	l.server = content.Server
}

func (l *lab) eventually(what string, condition func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// ask sends a request to the control API and decodes its answer.
func (l *lab) ask(method, path, body string, into any) int {
	l.t.Helper()
	request, err := http.NewRequestWithContext(l.t.Context(), method, "http://lab"+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	response, err := l.control.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	if into != nil && response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, into); err != nil {
			l.t.Fatalf("%s %s: %v: %s", method, path, err, text)
		}
	}
	return response.StatusCode
}

func (l *lab) login(password string) (*govmomi.Client, error) {
	target := &url.URL{Scheme: "https", Host: l.server, Path: vim25.Path, User: url.UserPassword(testUser, password)}
	return govmomi.NewClient(l.t.Context(), target, true)
}

func (l *lab) client() *govmomi.Client {
	l.t.Helper()
	client, err := l.login(testPassword)
	if err != nil {
		l.t.Fatal(err)
	}
	return client
}

func TestTheLoginIsEnforced(t *testing.T) {
	l := startLab(t, guestsSelf)
	if _, err := l.login("wrong"); err == nil {
		t.Error("a wrong password was accepted by SOAP")
	}
	client := l.client()
	if err := rest.NewClient(client.Client).Login(t.Context(), url.UserPassword(testUser, "wrong")); err == nil {
		t.Error("a wrong password was accepted by REST")
	}
	if err := rest.NewClient(client.Client).Login(t.Context(), url.UserPassword(testUser, testPassword)); err != nil {
		t.Errorf("the right password was refused by REST: %v", err)
	}
	session := "https://" + l.server + "/rest/com/vmware/cis/session"
	for name, prepare := range map[string]func() *http.Request{
		"a token that nobody signed": func() *http.Request {
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, session, nil)
			request.Header.Set("Authorization", "SIGN token=x")
			return request
		},
		"the JSON-RPC of the session service": func() *http.Request {
			body := `{"params":{"serviceId":"com.vmware.cis.session","operationId":"create"}}`
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+l.server+"/api",
				strings.NewReader(body))
			request.Header.Set("Content-Type", "application/json")
			return request
		},
	} {
		response, err := (&http.Client{Transport: client.DefaultTransport()}).Do(prepare())
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
}

func TestEverybodyMayAskForTheInstanceUUIDAndForNothingElse(t *testing.T) {
	l := startLab(t, guestsSelf)
	anonymous, err := vim25.NewClient(t.Context(), soap.NewClient(&url.URL{Scheme: "https", Host: l.server, Path: vim25.Path}, true))
	if err != nil {
		t.Fatal(err)
	}
	about := anonymous.ServiceContent.About
	if about.InstanceUuid != testUUID || about.Version != version {
		t.Errorf("about: %s %s", about.InstanceUuid, about.Version)
	}
	if _, err := find.NewFinder(anonymous).DefaultDatacenter(t.Context()); err == nil {
		t.Error("the inventory was shown to somebody who is not logged in")
	}
}

func TestAnAnonymousReadOfOnePropertyIsHeldToTheSame(t *testing.T) {
	for kind, allowed := range map[string]bool{serviceInstance: true, "Folder": false} {
		// pyVmomi reads single properties in this way; the simulator sends it to the property collector.
		body := &struct{ This types.ManagedObjectReference }{types.ManagedObjectReference{Type: kind, Value: "x"}}
		method := &simulator.Method{Name: "Fetch", This: types.ManagedObjectReference{Type: "PropertyCollector"}, Body: body}
		if got := aboutService(method); got != allowed {
			t.Errorf("%s: %t", kind, got)
		}
	}
}

func TestItEndsCleanly(t *testing.T) {
	l := startLab(t, guestsSelf)
	if left, _ := filepath.Glob(filepath.Join(l.state, datastores)); len(left) != 1 {
		t.Fatalf("datastores: %q", left)
	}
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(l.state, datastores)); left != nil {
		t.Errorf("left behind: %q", left)
	}
	if _, err := os.Stat(l.ready); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the ready file is still there: %v", err)
	}
	if _, err := net.Dial("tcp", l.server); err == nil {
		t.Error("the port is still open")
	}
}

func TestAStateDirectoryIsUsedByOneAndCleanedOfWhatAKilledOneLeft(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	directory := t.TempDir()
	left := filepath.Join(directory, "govcsim-1234", "library")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(directory, "notes.txt")
	if err := os.WriteFile(own, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	release, err := takeState(directory)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("what a killed vcenter left is still there")
	}
	if _, err := os.Stat(own); err != nil {
		t.Errorf("somebody's own file was touched: %v", err)
	}
	if _, err := takeState(directory); err == nil || !strings.Contains(err.Error(), "another vcenter") {
		t.Errorf("a second one got it: %v", err)
	}
	release()
	if release, err = takeState(directory); err != nil {
		t.Errorf("it was not given back: %v", err)
	} else {
		release()
	}
}

func TestEveryMissingSettingIsNamedAtOnce(t *testing.T) {
	t.Setenv("VCENTER_USER", "")
	t.Setenv("VCENTER_PASSWORD", "")
	_, err := parse([]string{"-guests", "both", "extra"})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"-uuid", "-cert", "-key", "-ready", "-control", "-state", "VCENTER_USER",
		"VCENTER_PASSWORD", `"both"`, `"extra"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("not named: %s in %v", part, err)
		}
	}
}

func TestASocketWhoseNameIsTooLongIsSaidInWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("x", maxSocketPath))
	if _, err := newControl(path, nil); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("got %v", err)
	}
}

// reservedAddress is an address on loopback that the kernel gives to nobody else while the test runs. Its socket is bound
// and does not listen, so a server that asks for the address by its number gets it.
func reservedAddress(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(socket) })
	if err := syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
}

// takenAddress is an address on which somebody listens while the test runs.
func takenAddress(t *testing.T) string {
	t.Helper()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	return taken.Addr().String()
}

// startProgram starts a vcenter that is a process of its own; ended has its error where it ends.
func startProgram(t *testing.T, listen string, more ...string) (l *lab, ended chan error) {
	t.Helper()
	directory, err := os.MkdirTemp("/tmp", "vc-") // short, because a socket is in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	certificate, key := selfSigned(t, directory)
	l = &lab{t: t, ready: filepath.Join(directory, "ready.json")}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, append([]string{
		"-listen", listen, "-uuid", testUUID, "-cert", certificate, "-key", key, "-ready", l.ready,
		"-control", filepath.Join(directory, "c.sock"), "-state", filepath.Join(directory, "state"),
	}, more...)...)
	command.Env = append(os.Environ(), asProgram+"=1", "VCENTER_USER="+testUser, "VCENTER_PASSWORD="+testPassword)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended = make(chan error, 1)
	waited := make(chan struct{})
	go func() {
		ended <- command.Wait()
		close(waited)
	}()
	t.Cleanup(func() { <-waited }) // t.Context() has ended by then, and with it the process
	return l, ended
}

// codeOf waits for the end of a process that fails, and gives its exit code.
func codeOf(t *testing.T, ended chan error) int {
	t.Helper()
	select {
	case err := <-ended:
		var failed *exec.ExitError
		if !errors.As(err, &failed) {
			t.Fatalf("it ended with %v", err)
		}
		return failed.ExitCode()
	case <-time.After(patience):
		t.Fatal("it does not end")
		return 0
	}
}

func TestAPortThatIsTakenIsAnErrorWithAnExitCodeOfItsOwn(t *testing.T) {
	_, ended := startProgram(t, takenAddress(t))
	if code := codeOf(t, ended); code != exitTaken {
		t.Errorf("exit code %d", code)
	}
}

func TestAnAddressThatCannotBeHadIsNoTakenPortAndIsNotGivenUpForAnother(t *testing.T) {
	_, ended := startProgram(t, "192.0.2.1:8989", "-fallback") // an address for documentation: of no machine
	if code := codeOf(t, ended); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
}

func TestAPreferredPortThatIsTakenIsGivenUpForAFreeOneAndThatOneIsReported(t *testing.T) {
	taken := takenAddress(t)
	l := startLabOn(t, guestsSelf, taken)
	if l.server == taken {
		t.Fatalf("it reports %s, which belongs to another program", l.server)
	}
	if uuid := l.client().ServiceContent.About.InstanceUuid; uuid != testUUID {
		t.Errorf("somebody else answers at %s: %s", l.server, uuid)
	}
	if _, err := l.login("wrong"); err == nil {
		t.Errorf("on %s any password will do", l.server)
	}
}

func TestAPreferredPortThatIsFreeIsTaken(t *testing.T) {
	wanted := reservedAddress(t)
	if l := startLabOn(t, guestsSelf, wanted); l.server != wanted {
		t.Errorf("it serves at %s and not at %s", l.server, wanted)
	}
}

func TestTwoThatStartAtOnceAndPreferTheSamePortBothServeOnPortsOfTheirOwn(t *testing.T) {
	wanted := reservedAddress(t)
	one, oneEnded := startProgram(t, wanted, "-fallback")
	other, otherEnded := startProgram(t, wanted, "-fallback")
	one.awaitReady(oneEnded)
	other.awaitReady(otherEnded)
	for _, l := range []*lab{one, other} {
		if _, err := l.login(testPassword); err != nil {
			t.Errorf("nobody to log in to at %s: %v", l.server, err)
		}
	}
	if (one.server == wanted) == (other.server == wanted) {
		t.Errorf("exactly one has %s, not: %s and %s", wanted, one.server, other.server)
	}
}

// makeVM makes a VM with guestinfo that has an address.
func makeVM(t *testing.T, client *govmomi.Client, name string) *object.VirtualMachine {
	t.Helper()
	finder := find.NewFinder(client.Client)
	datacenter, err := finder.DefaultDatacenter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	finder.SetDatacenter(datacenter)
	folders, err := datacenter.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pool, err := finder.ResourcePool(t.Context(), "DC0_C0/Resources")
	if err != nil {
		t.Fatal(err)
	}
	task, err := folders.VmFolder.CreateVM(t.Context(), types.VirtualMachineConfigSpec{
		Name: name, GuestId: "otherGuest", Files: &types.VirtualMachineFileInfo{VmPathName: "[LocalDS_0]"},
		ExtraConfig: []types.BaseOptionValue{
			&types.OptionValue{Key: "guestinfo.userdata", Value: b64(userdata)},
			&types.OptionValue{Key: "guestinfo.userdata.encoding", Value: "base64"},
		},
	}, pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := task.WaitForResult(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return object.NewVirtualMachine(client.Client, info.Result.(types.ManagedObjectReference))
}

// done waits for a task and returns how it ended.
func done(t *testing.T, task *object.Task, err error) error {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return task.Wait(t.Context())
}

func selfSigned(t *testing.T, directory string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(directory, "cert.pem"), filepath.Join(directory, "key.pem")
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: signed}, key: {Type: "PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}
