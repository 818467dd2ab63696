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
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
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

func TestMain(m *testing.M) {
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
			listen: "127.0.0.1:0", uuid: testUUID, cert: certificate, key: key, ready: l.ready, control: socket,
			guests: guests, state: l.state, user: testUser, password: testPassword,
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
	var content struct {
		Server string `json:"server"`
		URL    string `json:"url"`
	}
	l.eventually("it serves", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("it ended: %v", err)
		default:
		}
		body, err := os.ReadFile(l.ready)
		return err == nil && json.Unmarshal(body, &content) == nil
	})
	l.server = content.Server
	return l
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

func TestAPortThatIsTakenIsAnErrorAndNoPanic(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	model := simulator.VPX()
	if err := model.Create(); err != nil {
		t.Fatal(err)
	}
	defer model.Remove()
	model.Service.Listen = &url.URL{Host: taken.Addr().String()}
	if _, err := serve(model.Service); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("got %v", err)
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
