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
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	maxWait = 60 * time.Second
	maxBody = 1 << 20
)

// control serves the control API on a unix socket that only its owner may use.
type control struct {
	server   *http.Server
	listener net.Listener
}

func newControl(path string, i *inventory) (*control, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("-control: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /vms", i.serveMachines)
	mux.HandleFunc("POST /vms/{vm}/guest", i.serveGuest)
	mux.HandleFunc("POST /vms/{vm}/power", i.servePower)
	mux.HandleFunc("GET /tasks", i.serveTasks)
	mux.HandleFunc("GET /faults", i.serveFaults)
	mux.HandleFunc("POST /faults", i.addFault)
	mux.HandleFunc("DELETE /faults", i.clearFaults)
	c := &control{server: &http.Server{Handler: mux, ReadHeaderTimeout: maxWait}, listener: listener}
	go func() { _ = c.server.Serve(listener) }()
	return c, nil
}

func (c *control) close() { _ = c.server.Close() }

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
	after, _ := strconv.ParseInt(r.FormValue("after"), 10, 64)
	seconds, _ := strconv.ParseFloat(r.FormValue("wait"), 64)
	deadline := time.After(min(time.Duration(seconds*float64(time.Second)), maxWait))
	for r.FormValue("after") != "" {
		i.mu.Lock()
		sequence, changed := i.sequence, i.changed
		i.mu.Unlock()
		if sequence > after {
			break
		}
		select {
		case <-changed:
			continue
		case <-r.Context().Done():
			return
		case <-deadline:
		}
		break
	}
	i.mu.Lock()
	sequence := i.sequence
	i.mu.Unlock()
	answer(w, map[string]any{"sequence": sequence, "vms": i.views()})
}

func (i *inventory) views() []machineView {
	views := []machineView{}
	for _, entity := range simulator.Map(i.ctx).All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		view := machineView{Moref: vm.Self.Value}
		i.ctx.WithLock(vm, func() {
			view.Name, view.UUID, view.Guestinfo = vm.Name, vm.Config.Uuid, guestinfo(vm)
			view.Power = strings.ToLower(strings.TrimPrefix(string(vm.Runtime.PowerState), "powered"))
		})
		i.mu.Lock()
		if m, ok := i.machines[vm.Self]; ok {
			view.Boots, view.Pending = m.boots, m.pending
			if view.Power == "on" && !m.on {
				view.Boots++ // switched on, and not looked at yet
			}
		}
		i.mu.Unlock()
		views = append(views, view)
	}
	slices.SortFunc(views, func(a, b machineView) int { return strings.Compare(a.Name+a.Moref, b.Name+b.Moref) })
	return views
}

func (i *inventory) find(w http.ResponseWriter, r *http.Request) *simulator.VirtualMachine {
	ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: r.PathValue("vm")}
	vm, ok := simulator.Map(i.ctx).Get(ref).(*simulator.VirtualMachine)
	if !ok {
		http.Error(w, "no such virtual machine: "+ref.Value, http.StatusNotFound)
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
	if guest.Tools && vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
		http.Error(w, vm.Name+" is powered off", http.StatusConflict)
		return
	}
	if !guest.Tools {
		guest = guestReport{}
	}
	i.report(vm, guest)
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
		if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
			simulator.Map(i.ctx).AtomicUpdate(i.ctx, vm, []types.PropertyChange{
				{Name: "runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff},
				{Name: "summary.runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff},
			})
		}
	case "rebooted":
		i.setPending(vm.Self, "")
	default:
		http.Error(w, `state: "off" or "rebooted"`, http.StatusBadRequest)
		return
	}
	answer(w, map[string]bool{"done": true})
}

func (i *inventory) serveTasks(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	answer(w, append([]operation{}, i.operations...))
}

func (i *inventory) serveFaults(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	answer(w, append([]*fault{}, i.faults...))
}

func (i *inventory) addFault(w http.ResponseWriter, r *http.Request) {
	wanted := fault{Times: 1, Message: "injected by the lab"}
	if !read(w, r, &wanted) {
		return
	}
	if _, known := operationNames[wanted.Method]; !known {
		http.Error(w, "method: not one that can fail here: "+wanted.Method, http.StatusBadRequest)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.faults = append(i.faults, &wanted)
	answer(w, wanted)
}

func (i *inventory) clearFaults(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.faults = nil
	answer(w, []fault{})
}
