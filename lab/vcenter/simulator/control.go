package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	// maxWait bounds a long poll; who wants to wait longer asks again.
	maxWait = 60 * time.Second
	maxBody = 1 << 20
	// readTimeout ends clients that connect and send nothing.
	readTimeout = 10 * time.Second
	// ownerOnly keeps everybody else from the socket from its first moment.
	ownerOnly = 0o177
	// maxSocketPath is sun_path of unix(7) without its final NUL.
	maxSocketPath = 107
)

// control serves the control API, JSON over HTTP on a unix socket that only its owner may use. It is for the lab, never for
// a program under test:
//
//	GET /vms[?after=N&wait=SECONDS]
//	    {"sequence":N,"vms":[{"moref","name","uuid","power","boots","pending","guestinfo":{KEY:VALUE}}]}, at once or as soon
//	    as the sequence is greater than N; power is on, off or suspended, pending is what an agent's guest was asked:
//	    "", "shutdown" or "reboot". What guests report is no change.
//	POST /vms/{moref}/guest {"tools":true,"hostname","addresses":["192.168.6.120/24"],"gateway","mac"}
//	    what a guest reports, until it is powered off; {"tools":false} clears it. 409 while the VM is not powered on.
//	POST /vms/{moref}/power {"state":"off"} or {"state":"rebooted"}
//	    what a guest did after it was asked; "off" also of its own accord.
//	POST /vms/{moref}/host {"host":NAME}
//	    moves a VM there, also against a rule.
//	GET /hosts
//	    [{"name","available","vms":[NAME]}]: the hosts of the cluster.
//	POST /hosts/{host} {"available":false}
//	    takes a host away after its VMs have moved; 409 where a mandatory rule keeps one there.
//	POST /cluster {"drs":false} and {"rulesVanish":true}
//	    without DRS, rules do nothing; with the other, a rule vanishes with its last member.
//	POST /role {"privileges":[NAME]}
//	    what the user with the role may do from now on.
//	GET /tasks
//	    [{"sequence","time","operation","vm","uuid"}]: what was done with success, in the order of its end; create,
//	    reconfigure, power-on, power-off, suspend, shutdown, reboot, reset, destroy.
//	POST /faults {"method":"PowerOnVM_Task","vm":"","times":1,"message":""}
//	    lets a method (canFail) of a VM, or of every VM, fail some times; GET lists them with the times left, DELETE
//	    takes all away. With "delay":SECONDS any method is answered that much later, and well.
//
// Errors are 400, 404 or 409 with a line of text.
type control struct {
	server *http.Server
}

func newControl(path string, i *inventory) (*control, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("-control: %s has %d bytes, the kernel takes %d; choose a shorter path", path, len(path), maxSocketPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("-control: %w", err)
	}
	before := syscall.Umask(ownerOnly)
	listener, err := net.Listen("unix", path)
	syscall.Umask(before)
	if err != nil {
		return nil, fmt.Errorf("-control: %w", err)
	}
	c := &control{server: &http.Server{Handler: i.controlHandler(), ReadHeaderTimeout: readTimeout}}
	go func() { _ = c.server.Serve(listener) }()
	return c, nil
}

// close ends open requests too, and removes the socket.
func (c *control) close() { _ = c.server.Close() }

func (i *inventory) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /vms", i.serveMachines)
	mux.HandleFunc("POST /vms/{vm}/guest", i.serveGuest)
	mux.HandleFunc("POST /vms/{vm}/power", i.servePower)
	mux.HandleFunc("POST /vms/{vm}/host", i.serveMove)
	mux.HandleFunc("GET /hosts", i.serveHosts)
	mux.HandleFunc("POST /hosts/{host}", i.serveHost)
	mux.HandleFunc("POST /cluster", i.serveCluster)
	mux.HandleFunc("POST /role", i.serveRole)
	mux.HandleFunc("GET /tasks", i.serveTasks)
	mux.HandleFunc("GET /faults", i.serveFaults)
	mux.HandleFunc("POST /faults", i.addFault)
	mux.HandleFunc("DELETE /faults", i.clearFaults)
	return mux
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		http.Error(w, "the body: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

type machineView struct {
	Moref     string            `json:"moref"`
	Name      string            `json:"name"`
	UUID      string            `json:"uuid"`
	Power     string            `json:"power"`
	Boots     int               `json:"boots"`
	Pending   string            `json:"pending"`
	Guestinfo map[string]string `json:"guestinfo"`
}

// serveMachines lists the VMs, at once or after the next change behind ?after.
func (i *inventory) serveMachines(w http.ResponseWriter, r *http.Request) {
	after, wait := int64(-1), time.Duration(0)
	if text := r.FormValue("after"); text != "" {
		number, err := strconv.ParseInt(text, 10, 64)
		seconds, waitErr := strconv.ParseFloat(r.FormValue("wait"), 64)
		if err != nil || waitErr != nil || !(seconds >= 0) {
			http.Error(w, "after: a sequence number; wait: seconds", http.StatusBadRequest)
			return
		}
		after, wait = number, min(time.Duration(min(seconds, maxWait.Seconds())*float64(time.Second)), maxWait)
	}
	sequence, passed := i.wait(r, after, wait)
	if passed {
		answer(w, map[string]any{"sequence": sequence, "vms": i.views()})
	}
}

// wait returns the present sequence when it is greater than after, or when the time is over; false when nobody waits any
// more. The sequence is taken before the VMs are looked at, so no change is missed by the next question.
func (i *inventory) wait(r *http.Request, after int64, limit time.Duration) (int64, bool) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for {
		i.mu.Lock()
		sequence, changed := i.sequence, i.changed
		i.mu.Unlock()
		if sequence > after {
			return sequence, true
		}
		select {
		case <-changed:
		case <-deadline.C:
			return sequence, true
		case <-r.Context().Done():
			return 0, false
		}
	}
}

func (i *inventory) views() []machineView {
	views := []machineView{}
	for _, entity := range i.registry.All("VirtualMachine") {
		vm, ok := entity.(*simulator.VirtualMachine)
		if !ok || vm.Config == nil {
			continue
		}
		view := machineView{Moref: vm.Self.Value}
		i.caller().WithLock(vm, func() {
			view.Name, view.UUID, view.Guestinfo = vm.Name, vm.Config.Uuid, guestinfo(&vm.VirtualMachine)
			view.Power = strings.ToLower(strings.TrimPrefix(string(vm.Runtime.PowerState), "powered"))
			i.mu.Lock()
			if m, ok := i.machines[vm.Self]; ok {
				view.Boots, view.Pending = m.boots, m.pending
			}
			i.mu.Unlock()
		})
		if view.Name != "" { // one that is just being made has none yet
			views = append(views, view)
		}
	}
	slices.SortFunc(views, func(a, b machineView) int { return strings.Compare(a.Name+a.Moref, b.Name+b.Moref) })
	return views
}

func (i *inventory) find(w http.ResponseWriter, r *http.Request) *simulator.VirtualMachine {
	ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: r.PathValue("vm")}
	vm, ok := i.registry.Get(ref).(*simulator.VirtualMachine)
	if !ok {
		http.Error(w, "no such virtual machine: "+ref.Value, http.StatusNotFound)
		return nil
	}
	return vm
}

// serveGuest takes a guest's report; a machine that is off reports nothing.
func (i *inventory) serveGuest(w http.ResponseWriter, r *http.Request) {
	var guest guestReport
	vm := i.find(w, r)
	if vm == nil || !read(w, r, &guest) {
		return
	}
	if err := guest.check(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !guest.Tools {
		guest = guestReport{}
	}
	reported := false
	ctx := i.caller()
	ctx.WithLock(vm, func() {
		i.mu.Lock()
		m, known := i.machines[vm.Self]
		reported = known && (m.on || !guest.Tools)
		if reported {
			m.guest = guest
		}
		i.mu.Unlock()
		if reported {
			i.registry.Update(ctx, vm, reportChanges(&vm.VirtualMachine, guest))
		}
	})
	if !reported {
		http.Error(w, vm.Self.Value+" is not powered on", http.StatusConflict)
		return
	}
	answer(w, map[string]bool{"reported": true})
}

// servePower takes the agent's word that a guest has shut down or rebooted.
func (i *inventory) servePower(w http.ResponseWriter, r *http.Request) {
	var wish struct {
		State string `json:"state"`
	}
	vm := i.find(w, r)
	if vm == nil || !read(w, r, &wish) {
		return
	}
	switch wish.State {
	case "off":
		ctx := i.caller()
		ctx.WithLock(vm, func() {
			if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
				i.poweredOff(ctx, vm)
			}
		})
	case "rebooted":
		i.mu.Lock()
		if m, ok := i.machines[vm.Self]; ok && m.on {
			m.pending = ""
			m.boots++
		}
		i.mu.Unlock()
		i.touch()
	default:
		http.Error(w, `state: "off" or "rebooted"`, http.StatusBadRequest)
		return
	}
	answer(w, map[string]bool{"done": true})
}

func (i *inventory) serveTasks(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	operations := append([]operation{}, i.operations...)
	i.mu.Unlock()
	answer(w, operations)
}

func (i *inventory) serveFaults(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	faults := []fault{}
	for _, wanted := range i.faults {
		faults = append(faults, *wanted)
	}
	i.mu.Unlock()
	answer(w, faults)
}

func (i *inventory) addFault(w http.ResponseWriter, r *http.Request) {
	wanted := fault{Times: 1, Message: "a fault that was injected by the lab"}
	if !read(w, r, &wanted) {
		return
	}
	if err := wanted.check(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	i.mu.Lock()
	i.faults = append(i.faults, &wanted)
	i.mu.Unlock()
	answer(w, wanted)
}

func (i *inventory) clearFaults(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	i.faults = nil
	i.mu.Unlock()
	answer(w, []fault{})
}
