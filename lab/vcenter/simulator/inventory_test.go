package main

import (
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

type machines struct {
	Sequence int64         `json:"sequence"`
	VMs      []machineView `json:"vms"`
}

func (l *lab) machines() machines {
	l.t.Helper()
	var answer machines
	if status := l.ask(http.MethodGet, "/vms", "", &answer); status != http.StatusOK {
		l.t.Fatalf("status %d", status)
	}
	return answer
}

func properties(t *testing.T, vm *object.VirtualMachine) mo.VirtualMachine {
	t.Helper()
	var found mo.VirtualMachine
	if err := vm.Properties(t.Context(), vm.Reference(), nil, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

func powerOn(t *testing.T, vm *object.VirtualMachine) {
	t.Helper()
	task, err := vm.PowerOn(t.Context())
	if err := done(t, task, err); err != nil {
		t.Fatal(err)
	}
}

func TestAReplacedVMOfTheSameNameHasAnotherUUID(t *testing.T) {
	l := startLab(t, guestsSelf)
	client := l.client()
	first := makeVM(t, client, "PhotonLB-01")
	before := properties(t, first)
	task, err := first.Destroy(t.Context())
	if err := done(t, task, err); err != nil {
		t.Fatal(err)
	}
	after := properties(t, makeVM(t, client, "PhotonLB-01"))
	if before.Config.Uuid == after.Config.Uuid || before.Config.InstanceUuid == after.Config.InstanceUuid {
		t.Errorf("the same UUID again: %s", after.Config.Uuid)
	}
	if after.Summary.Config.Uuid != after.Config.Uuid {
		t.Errorf("summary %s, config %s", after.Summary.Config.Uuid, after.Config.Uuid)
	}
	found, err := object.NewSearchIndex(client.Client).FindByUuid(t.Context(), nil, after.Config.Uuid, true, nil)
	if err != nil || found == nil || found.Reference() != after.Self {
		t.Errorf("not found by its UUID: %v %v", found, err)
	}
}

func TestAVMHasTheDefaultsThatClientsExpect(t *testing.T) {
	l := startLab(t, guestsSelf)
	vm := properties(t, makeVM(t, l.client(), "PhotonLB-01"))
	if vm.Config.SwapPlacement != "inherit" {
		t.Errorf("swapPlacement %q", vm.Config.SwapPlacement)
	}
	for name, value := range map[string]string{
		"faultToleranceState": string(vm.Runtime.FaultToleranceState),
		"recordReplayState":   string(vm.Runtime.RecordReplayState),
		"in the summary":      string(vm.Summary.Runtime.FaultToleranceState),
		"and this":            string(vm.Summary.Runtime.RecordReplayState),
		"guestHeartbeat":      string(vm.GuestHeartbeatStatus),
	} {
		if value == "" {
			t.Errorf("%s is empty", name)
		}
	}
}

// pairInCluster makes two machines; it returns the cluster that they are in, too.
func pairInCluster(t *testing.T, client *govmomi.Client) (cluster *object.ClusterComputeResource, first, second *object.VirtualMachine) {
	t.Helper()
	first, second = makeVM(t, client, "PhotonLB-01"), makeVM(t, client, "PhotonLB-02")
	cluster, err := find.NewFinder(client.Client).ClusterComputeResource(t.Context(), "/DC0/host/DC0_C0")
	if err != nil {
		t.Fatal(err)
	}
	return cluster, first, second
}

func TestADeadVMIsDroppedFromTheRules(t *testing.T) {
	l := startLab(t, guestsSelf)
	client := l.client()
	cluster, first, second := pairInCluster(t, client)
	rule := &types.ClusterAntiAffinityRuleSpec{
		ClusterRuleInfo: types.ClusterRuleInfo{Name: "apart", Enabled: types.NewBool(true)},
		Vm:              []types.ManagedObjectReference{first.Reference(), second.Reference()},
	}
	spec := &types.ClusterConfigSpecEx{RulesSpec: []types.ClusterRuleSpec{{
		ArrayUpdateSpec: types.ArrayUpdateSpec{Operation: types.ArrayUpdateOperationAdd}, Info: rule,
	}}}
	task, err := cluster.Reconfigure(t.Context(), spec, true)
	if err := done(t, task, err); err != nil {
		t.Fatal(err)
	}
	task, err = first.Destroy(t.Context())
	if err := done(t, task, err); err != nil {
		t.Fatal(err)
	}
	l.eventually("the dead VM is dropped", func() bool {
		configuration, err := cluster.Configuration(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		members := configuration.Rule[0].(*types.ClusterAntiAffinityRuleSpec).Vm
		return reflect.DeepEqual(members, []types.ManagedObjectReference{second.Reference()})
	})
}

func TestAGuestReportsItsOwnAddressOnlyWhileItIsOn(t *testing.T) {
	l := startLab(t, guestsSelf)
	vm := makeVM(t, l.client(), "PhotonLB-01")
	if guest := properties(t, vm).Guest; guest.IpAddress != "" || guest.IpStack != nil {
		t.Errorf("reported while off: %+v", guest)
	}
	powerOn(t, vm)
	guest := properties(t, vm).Guest
	if guest.IpAddress != "192.168.6.120" || guest.ToolsRunningStatus != "guestToolsRunning" {
		t.Errorf("not reported: %+v", guest)
	}
	if gateway := guest.IpStack[0].IpRouteConfig.IpRoute[0].Gateway.IpAddress; gateway != "192.168.6.1" {
		t.Errorf("gateway %q", gateway)
	}
	if address := guest.Net[0].IpConfig.IpAddress[0]; address.IpAddress != "192.168.6.120" || address.PrefixLength != 24 {
		t.Errorf("guest.net: %+v", address)
	}
	if err := vm.ShutdownGuest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := vm.WaitForPowerState(t.Context(), types.VirtualMachinePowerStatePoweredOff); err != nil {
		t.Fatal(err)
	}
	guest = properties(t, vm).Guest
	if guest.IpAddress != "" || guest.IpStack != nil || guest.ToolsRunningStatus != "guestToolsNotRunning" {
		t.Errorf("still reported after power-off: %+v", guest)
	}
	for _, card := range guest.Net {
		if card.IpConfig != nil || card.IpAddress != nil {
			t.Errorf("still on the card after power-off: %+v", card)
		}
	}
}

func TestAWaitThatSeesTheAddressBeforeTheRouteIsToldTheAddressAgain(t *testing.T) {
	l := startLab(t, guestsSelf)
	client := l.client()
	vm := makeVM(t, client, "PhotonLB-01")
	powerOn(t, vm)
	reported := 0
	err := property.Wait(t.Context(), client.PropertyCollector(), vm.Reference(), []string{"guest.net"},
		func([]types.PropertyChange) bool {
			reported++
			return reported == 3
		})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAVMWithoutGuestinfoReportsNothing(t *testing.T) {
	l := startLab(t, guestsSelf)
	vm := makeVM(t, l.client(), "PhotonLB-01")
	task, err := vm.Reconfigure(t.Context(), types.VirtualMachineConfigSpec{
		ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "guestinfo.userdata", Value: ""}},
	})
	if err := done(t, task, err); err != nil {
		t.Fatal(err)
	}
	powerOn(t, vm)
	if guest := properties(t, vm).Guest; guest.IpAddress != "" || guest.ToolsRunningStatus == "guestToolsRunning" {
		t.Errorf("reported: %+v", guest)
	}
}

func TestWithAnAgentThePowerStateWaitsForTheAgentsWord(t *testing.T) {
	l := startLab(t, guestsAgent)
	vm := makeVM(t, l.client(), "PhotonLB-01")
	guest := "/vms/" + vm.Reference().Value + "/guest"
	power := "/vms/" + vm.Reference().Value + "/power"
	report := `{"hostname":"photonlb-01","tools":true,"addresses":["192.168.6.121/24"],"gateway":"192.168.6.1"}`
	if status := l.ask(http.MethodPost, guest, report, nil); status != http.StatusConflict {
		t.Errorf("a report of a VM that is off: status %d", status)
	}
	powerOn(t, vm)
	if reported := properties(t, vm).Guest; reported.IpAddress != "" {
		t.Errorf("reported without an agent: %+v", reported)
	}
	if err := vm.ShutdownGuest(t.Context()); err == nil {
		t.Error("a guest without tools was shut down")
	}
	if status := l.ask(http.MethodPost, guest, `{"tools":true,"addresses":["192.168.6.121"]}`, nil); status != http.StatusBadRequest {
		t.Errorf("an address without its length: status %d", status)
	}
	if status := l.ask(http.MethodPost, guest, report, nil); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if reported := properties(t, vm).Guest; reported.IpAddress != "192.168.6.121" || reported.HostName != "photonlb-01" {
		t.Errorf("reported: %+v", reported)
	}

	if err := vm.ShutdownGuest(t.Context()); err != nil {
		t.Fatal(err)
	}
	view := l.machines().VMs[0]
	if view.Power != "on" || view.Pending != pendingShutdown {
		t.Errorf("after ShutdownGuest: %+v", view)
	}
	if status := l.ask(http.MethodPost, power, `{"state":"off"}`, nil); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	view = l.machines().VMs[0]
	if view.Power != "off" || view.Pending != "" {
		t.Errorf("after the agent's word: %+v", view)
	}
	if reported := properties(t, vm).Guest; reported.IpAddress != "" {
		t.Errorf("still reported: %+v", reported)
	}

	powerOn(t, vm)
	if status := l.ask(http.MethodPost, guest, report, nil); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if err := vm.RebootGuest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if view = l.machines().VMs[0]; view.Pending != pendingReboot || view.Boots != 2 {
		t.Errorf("after RebootGuest: %+v", view)
	}
	if status := l.ask(http.MethodPost, power, `{"state":"rebooted"}`, nil); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if view = l.machines().VMs[0]; view.Pending != "" || view.Boots != 3 {
		t.Errorf("after the reboot: %+v", view)
	}
}

func TestASlowMethodIsAnsweredLateAndWellAndOnlyAsOftenAsAsked(t *testing.T) {
	l := startLab(t, guestsSelf)
	vm := makeVM(t, l.client(), "PhotonLB-01")
	wish := `{"method":"PowerOnVM_Task","delay":0.5}`
	if status := l.ask(http.MethodPost, "/faults", wish, nil); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	begin := time.Now()
	powerOn(t, vm)
	if took := time.Since(begin); took < 500*time.Millisecond {
		t.Errorf("it took %s", took)
	}
	var left []fault
	if l.ask(http.MethodGet, "/faults", "", &left); len(left) != 1 || left[0].Times != 0 {
		t.Errorf("left: %+v", left)
	}
	for _, wrong := range []string{`"delay":-1`, `"delay":61`, `"delay":1,"vm":"x"`} {
		if status := l.ask(http.MethodPost, "/faults", `{"method":"Login",`+wrong+`}`, nil); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", wrong, status)
		}
	}
}

func TestAnInjectedFaultFailsTheTaskWithItsMessageAndOnlyAsOftenAsAsked(t *testing.T) {
	l := startLab(t, guestsSelf)
	client := l.client()
	vm, other := makeVM(t, client, "PhotonLB-01"), makeVM(t, client, "PhotonLB-02")
	wish := `{"method":"PowerOnVM_Task","vm":"PhotonLB-01","times":1,"message":"no host has room"}`
	if status := l.ask(http.MethodPost, "/faults", wish, nil); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	powerOn(t, other)
	task, err := vm.PowerOn(t.Context())
	if err := done(t, task, err); err == nil || err.Error() != "no host has room" {
		t.Errorf("got %v", err)
	}
	if state := properties(t, vm).Runtime.PowerState; state != types.VirtualMachinePowerStatePoweredOff {
		t.Errorf("power state %s", state)
	}
	powerOn(t, vm)

	for _, method := range []string{"ReconfigVM_Task", "PowerOffVM_Task", "ResetVM_Task", "Destroy_Task"} {
		l.ask(http.MethodPost, "/faults", `{"method":"`+method+`","message":"no"}`, nil)
	}
	for name, try := range map[string]func() (*object.Task, error){
		"reconfigure": func() (*object.Task, error) {
			return vm.Reconfigure(t.Context(), types.VirtualMachineConfigSpec{NumCPUs: 7})
		},
		"power off": func() (*object.Task, error) { return vm.PowerOff(t.Context()) },
		"reset":     func() (*object.Task, error) { return vm.Reset(t.Context()) },
		"destroy":   func() (*object.Task, error) { return vm.Destroy(t.Context()) },
	} {
		task, err := try()
		if err := done(t, task, err); err == nil || err.Error() != "no" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if found := properties(t, vm); found.Config.Hardware.NumCPU == 7 || found.Runtime.PowerState != "poweredOn" {
		t.Errorf("something happened all the same: %+v", found.Runtime)
	}

	l.ask(http.MethodPost, "/faults", wish, nil)
	l.ask(http.MethodDelete, "/faults", "", nil)
	var left []fault
	if l.ask(http.MethodGet, "/faults", "", &left); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
	for _, wrong := range []string{`{"method":"Nonsense"}`, `{"method":"PowerOnVM_Task","times":0}`, `{"metod":""}`, `{`} {
		if status := l.ask(http.MethodPost, "/faults", wrong, nil); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", wrong, status)
		}
	}
}

func TestAClusterCanRefuseARule(t *testing.T) {
	l := startLab(t, guestsSelf)
	client := l.client()
	cluster, err := find.NewFinder(client.Client).ClusterComputeResource(t.Context(), "/DC0/host/DC0_C0")
	if err != nil {
		t.Fatal(err)
	}
	l.ask(http.MethodPost, "/faults", `{"method":"ReconfigureComputeResource_Task","message":"DRS is off"}`, nil)
	task, err := cluster.Reconfigure(t.Context(), &types.ClusterConfigSpecEx{}, true)
	if err := done(t, task, err); err == nil || err.Error() != "DRS is off" {
		t.Errorf("got %v", err)
	}
}

// history makes two VMs, one after the other, changes the second, and removes the first.
func history(t *testing.T, client *govmomi.Client) {
	t.Helper()
	second, first := makeVM(t, client, "PhotonLB-02"), makeVM(t, client, "PhotonLB-01")
	powerOn(t, second)
	powerOn(t, first)
	task, err := second.Reconfigure(t.Context(), types.VirtualMachineConfigSpec{Annotation: "changed"})
	if err := done(t, task, err); err != nil {
		t.Fatal(err)
	}
	task, err = second.PowerOn(t.Context()) // it is on: this fails, and is not logged
	if err := done(t, task, err); err == nil {
		t.Fatal("powered on twice")
	}
	if err := first.ShutdownGuest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := first.WaitForPowerState(t.Context(), types.VirtualMachinePowerStatePoweredOff); err != nil {
		t.Fatal(err)
	}
	task, err = first.Destroy(t.Context())
	if err := done(t, task, err); err != nil {
		t.Fatal(err)
	}
}

func TestTheOperationLogSaysWhatWasDoneInItsOrder(t *testing.T) {
	l := startLab(t, guestsSelf)
	history(t, l.client())
	var operations []operation
	l.ask(http.MethodGet, "/tasks", "", &operations)
	var got []string
	last := int64(0)
	for _, entry := range operations {
		got = append(got, entry.Operation+" "+entry.VM)
		if entry.Sequence <= last || entry.UUID == "" || entry.Time.IsZero() {
			t.Errorf("entry %+v after %d", entry, last)
		}
		last = entry.Sequence
	}
	want := []string{
		"create PhotonLB-02", "create PhotonLB-01", "power-on PhotonLB-02", "power-on PhotonLB-01",
		"reconfigure PhotonLB-02", "shutdown PhotonLB-01", "destroy PhotonLB-01",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestAnIndependentClientSeesTheOrderInTasksAndEvents(t *testing.T) {
	l := startLab(t, guestsSelf)
	client := l.client()
	history(t, client)

	var manager mo.TaskManager
	collector := property.DefaultCollector(client.Client)
	if err := collector.RetrieveOne(t.Context(), *client.ServiceContent.TaskManager, []string{"recentTask"}, &manager); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, ref := range manager.RecentTask {
		var task mo.Task
		if err := collector.RetrieveOne(t.Context(), ref, []string{"info"}, &task); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(task.Info.DescriptionId, "VirtualMachine.") && task.Info.State == types.TaskInfoStateSuccess {
			names = append(names, strings.TrimPrefix(task.Info.DescriptionId, "VirtualMachine.")+" "+task.Info.EntityName)
		}
	}
	want := []string{
		"powerOn PhotonLB-02", "powerOn PhotonLB-01", "reconfigVm PhotonLB-02", "shutdownGuest PhotonLB-01",
		"destroy PhotonLB-01",
	}
	if !reflect.DeepEqual(names, want) {
		t.Errorf("tasks: got  %q\nwant %q", names, want)
	}

	events, err := event.NewManager(client.Client).QueryEvents(t.Context(), types.EventFilterSpec{
		Entity: &types.EventFilterSpecByEntity{
			Entity: client.ServiceContent.RootFolder, Recursion: types.EventFilterSpecRecursionOptionAll,
		},
		EventTypeId: []string{"VmCreatedEvent", "VmPoweredOnEvent", "VmReconfiguredEvent", "VmPoweredOffEvent", "VmRemovedEvent"},
	})
	if err != nil {
		t.Fatal(err)
	}
	event.Sort(events)
	names = nil
	for _, entry := range events {
		kind := strings.TrimPrefix(reflect.TypeOf(entry).String(), "*types.")
		names = append(names, kind+" "+entry.GetEvent().Vm.Name)
	}
	want = []string{
		"VmCreatedEvent PhotonLB-02", "VmCreatedEvent PhotonLB-01", "VmPoweredOnEvent PhotonLB-02",
		"VmPoweredOnEvent PhotonLB-01", "VmReconfiguredEvent PhotonLB-02", "VmPoweredOffEvent PhotonLB-01",
		"VmRemovedEvent PhotonLB-01",
	}
	if !reflect.DeepEqual(names, want) {
		t.Errorf("events: got  %q\nwant %q", names, want)
	}
}

func TestALongPollReturnsAtTheNextChangeAndMissesNone(t *testing.T) {
	l := startLab(t, guestsSelf)
	client := l.client()
	before := l.machines()
	answers := make(chan machines, 1)
	go func() {
		var answer machines
		l.ask(http.MethodGet, "/vms?after="+strconv.FormatInt(before.Sequence, 10)+"&wait=20", "", &answer)
		answers <- answer
	}()
	vm := makeVM(t, client, "PhotonLB-01")
	first := <-answers
	if first.Sequence <= before.Sequence {
		t.Errorf("sequence %d after %d", first.Sequence, before.Sequence)
	}
	powerOn(t, vm)
	var now machines
	for now = l.machines(); len(now.VMs) != 1 || now.VMs[0].Power != "on"; {
		l.ask(http.MethodGet, "/vms?after="+strconv.FormatInt(now.Sequence, 10)+"&wait=20", "", &now)
	}
	if now.VMs[0].Boots != 1 || now.VMs[0].Guestinfo["guestinfo.userdata"] != b64(userdata) {
		t.Errorf("%+v", now.VMs[0])
	}
	// Nothing changes by the guest's own reports, so this ends with the time given.
	var same machines
	l.ask(http.MethodGet, "/vms?after="+strconv.FormatInt(now.Sequence, 10)+"&wait=1.5", "", &same)
	if same.Sequence != now.Sequence {
		t.Errorf("woken by nothing: %d after %d", same.Sequence, now.Sequence)
	}
	for _, wrong := range []string{"?after=x", "?after=1&wait=-1", "?after=1&wait=NaN", "?after=1&wait=x"} {
		if status := l.ask(http.MethodGet, "/vms"+wrong, "", nil); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", wrong, status)
		}
	}
	if status := l.ask(http.MethodPost, "/vms/vm-0/power", `{"state":"off"}`, nil); status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
}

func TestAResetIsSeenAsAnotherBoot(t *testing.T) {
	l := startLab(t, guestsSelf)
	vm := makeVM(t, l.client(), "PhotonLB-01")
	powerOn(t, vm)
	task, err := vm.Reset(t.Context())
	if err := done(t, task, err); err != nil {
		t.Fatal(err)
	}
	if view := l.machines().VMs[0]; view.Boots != 2 || view.Power != "on" {
		t.Errorf("%+v", view)
	}
}

func TestCPUsAndMemoryOfARunningMachineNeedItsHotAdd(t *testing.T) {
	l := startLab(t, guestsSelf)
	vm := makeVM(t, l.client(), "PhotonLB-01")
	powerOn(t, vm)
	change := func(spec types.VirtualMachineConfigSpec) error {
		task, err := vm.Reconfigure(t.Context(), spec)
		return done(t, task, err)
	}
	for _, spec := range []types.VirtualMachineConfigSpec{{NumCPUs: 8}, {MemoryMB: 9216}} {
		if err := change(spec); err == nil || !strings.Contains(err.Error(), "hot plug is not supported") {
			t.Errorf("%+v: %v", spec, err)
		}
	}
	if err := change(types.VirtualMachineConfigSpec{Annotation: "changed"}); err != nil {
		t.Error(err)
	}
}
