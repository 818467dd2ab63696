package main

import (
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vapi/vcenter"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	readme       = "../../../README.md"
	roleUser     = "lbstack@vsphere.local"
	rolePassword = "also right"
)

// roleOfTheReadme is what README tells people to give the program's user.
func roleOfTheReadme(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^govc role\.create lbstack \\\n((?:.*\\\n)*.*)$`).FindSubmatch(text)
	if command == nil {
		t.Fatalf("%s makes no role", readme)
	}
	return strings.Fields(strings.ReplaceAll(string(command[1]), "\\\n", " "))
}

// sent is the spec that the provider sends after a deployment and with every change of a VM: the fields of one that was
// recorded, of the official provider's sources and of the lab's alike.
func sent(device types.BaseVirtualDevice) types.VirtualMachineConfigSpec {
	spec := types.VirtualMachineConfigSpec{
		Name: "PhotonLB-01", Annotation: "lbstack: managed by Pulumi", NumCPUs: 2, NumCoresPerSocket: types.NewInt32(1), MemoryMB: 2048,
		Tools:               &types.ToolsConfigInfo{AfterPowerOn: types.NewBool(true)},
		Flags:               &types.VirtualMachineFlagInfo{EnableLogging: types.NewBool(false)},
		MemoryHotAddEnabled: types.NewBool(false), CpuHotAddEnabled: types.NewBool(false), CpuHotRemoveEnabled: types.NewBool(false),
		CpuAllocation:                &types.ResourceAllocationInfo{Reservation: types.NewInt64(0)},
		MemoryAllocation:             &types.ResourceAllocationInfo{Reservation: types.NewInt64(0)},
		LatencySensitivity:           &types.LatencySensitivity{Level: types.LatencySensitivitySensitivityLevelNormal},
		ExtraConfig:                  []types.BaseOptionValue{&types.OptionValue{Key: "guestinfo.userdata", Value: "x"}},
		SwapPlacement:                "inherit",
		BootOptions:                  &types.VirtualMachineBootOptions{EfiSecureBootEnabled: types.NewBool(true)},
		Firmware:                     "efi",
		MemoryReservationLockedToMax: types.NewBool(false), NestedHVEnabled: types.NewBool(false), VPMCEnabled: types.NewBool(false),
	}
	if device != nil {
		spec.DeviceChange = []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: device},
		}
	}
	return spec
}

// operations are what a deployment, a change in the stack file, a refresh and a destroy do, with what each needs.
func operations() map[string][]string {
	ref := func(kind string) types.ManagedObjectReference {
		return types.ManagedObjectReference{Type: kind, Value: "x"}
	}
	call := func(kind, method string, body any) []string { return needs(nil, ref(kind), method, body) }
	disk := &types.VirtualDisk{CapacityInKB: 2}
	disk.Key = 2000
	small := &types.VirtualDisk{CapacityInKB: 1}
	small.Key = 2000
	vm := &simulator.VirtualMachine{}
	vm.Config = &types.VirtualMachineConfigInfo{Hardware: types.VirtualHardware{Device: []types.BaseVirtualDevice{small}}}
	running := &simulator.VirtualMachine{}
	running.Runtime.PowerState = types.VirtualMachinePowerStatePoweredOn
	pool := ref("ResourcePool")
	move := &types.RelocateVM_Task{Spec: types.VirtualMachineRelocateSpec{Pool: &pool}}
	into := func(kind string) *types.MoveIntoFolder_Task {
		return &types.MoveIntoFolder_Task{List: []types.ManagedObjectReference{ref(kind)}}
	}
	return map[string][]string{
		"deploy the image":           restPrivileges("POST", "vcenter/ovf/library-item/id:x", "deploy"),
		"reconfigure it":             needs(vm, ref("VirtualMachine"), "ReconfigVM_Task", &types.ReconfigVM_Task{Spec: sent(disk)}),
		"reconfigure its card":       call("VirtualMachine", "ReconfigVM_Task", &types.ReconfigVM_Task{Spec: sent(&types.VirtualVmxnet3{})}),
		"power on":                   call("VirtualMachine", "PowerOnVM_Task", nil),
		"shut down":                  call("VirtualMachine", "ShutdownGuest", nil),
		"power off":                  call("VirtualMachine", "PowerOffVM_Task", nil),
		"destroy a VM":               call("VirtualMachine", "Destroy_Task", nil),
		"read its storage policy":    {viewPolicies},
		"make the rule":              call("ClusterComputeResource", "ReconfigureComputeResource_Task", nil),
		"make the folder":            call("Folder", "CreateFolder", nil),
		"destroy the folder":         call("Folder", "Destroy_Task", nil),
		"rename the folder":          call("Folder", "Rename_Task", nil),
		"move the folder":            call("Folder", "MoveIntoFolder_Task", into("Folder")),
		"move a VM into a folder":    call("Folder", "MoveIntoFolder_Task", into("VirtualMachine")),
		"another pool, running":      needs(running, ref("VirtualMachine"), "RelocateVM_Task", move),
		"another pool, switched off": needs(vm, ref("VirtualMachine"), "RelocateVM_Task", move),
		"make the category":          restPrivileges("POST", "cis/tagging/category", ""),
		"rename the category":        restPrivileges("PATCH", "cis/tagging/category/id:x", ""),
		"delete the category":        restPrivileges("DELETE", "cis/tagging/category/id:x", ""),
		"make a tag":                 restPrivileges("POST", "cis/tagging/tag", ""),
		"delete a tag":               restPrivileges("DELETE", "cis/tagging/tag/id:x", ""),
		"attach a tag":               restPrivileges("POST", "cis/tagging/tag-association/id:x", "attach"),
	}
}

func TestTheRoleOfTheReadmeIsEnoughAndWithoutAnyOneOfItsPrivilegesSomethingIsRefused(t *testing.T) {
	listed := roleOfTheReadme(t)
	whole := newRole(roleUser, strings.Join(listed, ","))
	for name, needed := range operations() {
		if lacking := whole.missing(needed); lacking != "" {
			t.Errorf("%s is refused: %s", name, lacking)
		}
	}
	for _, privilege := range listed {
		rest := slices.DeleteFunc(slices.Clone(listed), func(other string) bool { return other == privilege })
		lame := newRole(roleUser, strings.Join(rest, ","))
		refused := false
		for _, needed := range operations() {
			refused = refused || lame.missing(needed) == privilege
		}
		if !refused {
			t.Errorf("nothing needs %s: README asks for too much", privilege)
		}
	}
}

func TestWhatTheTableDoesNotKnowIsRefused(t *testing.T) {
	for name, needed := range map[string][]string{
		"a method": needs(nil, types.ManagedObjectReference{Type: "HostSystem"}, "RebootHost_Task", nil),
		"a field":  reconfigureNeeds(types.VirtualMachineConfigSpec{NpivWorldWideNameOp: "set"}, nil),
		"a path":   restPrivileges("POST", "content/local-library", ""),
	} {
		if newRole(roleUser, strings.Join(roleOfTheReadme(t), ",")).missing(needed) == "" {
			t.Errorf("%s is let through: %q", name, needed)
		}
	}
}

// as logs in as the role's user, who may do what is listed.
func (l *lab) as(privileges ...string) *govmomi.Client {
	l.t.Helper()
	if status := l.ask("POST", "/role", `{"privileges":["`+strings.Join(privileges, `","`)+`"]}`, nil); status != 200 {
		l.t.Fatalf("status %d", status)
	}
	target := &url.URL{Scheme: "https", Host: l.server, Path: vim25.Path, User: url.UserPassword(roleUser, rolePassword)}
	client, err := govmomi.NewClient(l.t.Context(), target, true)
	if err != nil {
		l.t.Fatal(err)
	}
	return client
}

func denies(t *testing.T, what, privilege string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), denied) || !strings.Contains(err.Error(), privilege) {
		t.Errorf("%s is not refused for want of %s: %v", what, privilege, err)
	}
}

func TestTheRoleIsEnforcedInBothAPIsAndTheAdministratorMayDoEverything(t *testing.T) {
	l := startLab(t, guestsSelf)
	made := makeVM(t, l.client(), "PhotonLB-01")
	listed := roleOfTheReadme(t)
	without := func(privilege string) *govmomi.Client {
		return l.as(slices.DeleteFunc(slices.Clone(listed), func(other string) bool { return other == privilege })...)
	}
	spec := sent(nil)
	spec.Name = ""
	swap := "VirtualMachine.Config.SwapPlacement"
	_, err := object.NewVirtualMachine(without(swap).Client, made.Reference()).Reconfigure(t.Context(), spec)
	denies(t, "a reconfiguration", swap, err)
	task, err := object.NewVirtualMachine(l.as(listed...).Client, made.Reference()).Reconfigure(t.Context(), spec)
	if err := done(t, task, err); err != nil {
		t.Errorf("the whole role is not enough: %v", err)
	}

	client := without("VApp.Import")
	session := rest.NewClient(client.Client)
	if err := session.Login(t.Context(), url.UserPassword(roleUser, rolePassword)); err != nil {
		t.Fatal(err)
	}
	_, err = vcenter.NewManager(session).DeployLibraryItem(t.Context(), "x", vcenter.Deploy{})
	if err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a deployment is not refused: %v", err)
	}
	without("InventoryService.Tagging.CreateCategory")
	if _, err = tags.NewManager(session).CreateCategory(t.Context(), &tags.Category{Name: "x"}); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a category is not refused: %v", err)
	}

	client = without(viewPolicies)
	if _, err := find.NewFinder(client.Client).DefaultDatacenter(t.Context()); err != nil { // a session is known from its first call
		t.Fatal(err)
	}
	policies, err := pbm.NewClient(t.Context(), client.Client)
	if err != nil {
		t.Fatal(err)
	}
	_, err = policies.QueryAssociatedProfile(t.Context(), pbmtypes.PbmServerObjectRef{ObjectType: "virtualMachine", Key: "vm-1"})
	denies(t, "the storage policy", viewPolicies, err)

	administrator := object.NewVirtualMachine(l.client().Client, made.Reference())
	task, err = administrator.Reconfigure(t.Context(), types.VirtualMachineConfigSpec{Annotation: "mine"})
	if err := done(t, task, err); err != nil {
		t.Errorf("the administrator is refused: %v", err)
	}
}

func TestAPowerOnKeepsTheRulesOfTheCluster(t *testing.T) {
	l := startLab(t, guestsSelf)
	client := l.client()
	cluster, first, second := pairInCluster(t, client)
	l.rule(client, cluster, true, first, second)
	for _, host := range []string{"DC0_C0_H1", "DC0_C0_H2"} {
		if status := l.ask("POST", "/hosts/"+host, `{"available":false}`, nil); status != 200 {
			t.Fatalf("%s: status %d", host, status)
		}
	}
	powerOn(t, first)
	task, err := second.PowerOn(t.Context())
	if err := done(t, task, err); err == nil || !strings.Contains(err.Error(), ruleViolation) {
		t.Errorf("with one host the rule is violated: %v", err)
	}
	l.ask("POST", "/hosts/DC0_C0_H1", `{"available":true}`, nil)
	powerOn(t, second)
	if hostOf(t, first) == hostOf(t, second) {
		t.Error("both are on one host")
	}
	if status := l.ask("POST", "/hosts/DC0_C0_H1", `{"available":false}`, nil); status != 409 {
		t.Errorf("the host of the second may go: status %d", status)
	}
	l.ask("POST", "/vms/"+second.Reference().Value+"/host", `{"host":"DC0_C0_H0"}`, nil)
	if hostOf(t, first) != hostOf(t, second) {
		t.Error("it cannot be moved by hand")
	}
}

func TestWithoutDRSARuleDoesNothing(t *testing.T) {
	l := startLab(t, guestsSelf)
	client := l.client()
	cluster, first, second := pairInCluster(t, client)
	l.rule(client, cluster, true, first, second)
	l.ask("POST", "/cluster", `{"drs":false}`, nil)
	for _, vm := range []*object.VirtualMachine{first, second} {
		l.ask("POST", "/vms/"+vm.Reference().Value+"/host", `{"host":"DC0_C0_H0"}`, nil)
		powerOn(t, vm)
	}
	if hostOf(t, first) != hostOf(t, second) {
		t.Error("one was moved")
	}
}

func TestARuleVanishesWithItsLastMemberWhereThatIsWanted(t *testing.T) {
	for _, vanishes := range []bool{false, true} {
		l := startLab(t, guestsSelf)
		client := l.client()
		vm := makeVM(t, client, "PhotonLB-01")
		cluster, err := find.NewFinder(client.Client).ClusterComputeResource(t.Context(), "/DC0/host/DC0_C0")
		if err != nil {
			t.Fatal(err)
		}
		l.rule(client, cluster, false, vm)
		if vanishes {
			l.ask("POST", "/cluster", `{"rulesVanish":true}`, nil)
		}
		task, err := vm.Destroy(t.Context())
		if err := done(t, task, err); err != nil {
			t.Fatal(err)
		}
		l.eventually("the rule is what it should be", func() bool {
			configuration, err := cluster.Configuration(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if vanishes {
				return len(configuration.Rule) == 0
			}
			return len(configuration.Rule) == 1 && len(configuration.Rule[0].(*types.ClusterAntiAffinityRuleSpec).Vm) == 0
		})
	}
}

func hostOf(t *testing.T, vm *object.VirtualMachine) string {
	t.Helper()
	return properties(t, vm).Runtime.Host.Value
}

// rule keeps VMs apart.
func (l *lab) rule(client *govmomi.Client, cluster *object.ClusterComputeResource, mandatory bool, vms ...*object.VirtualMachine) {
	l.t.Helper()
	rule := &types.ClusterAntiAffinityRuleSpec{ClusterRuleInfo: types.ClusterRuleInfo{
		Name: "apart", Enabled: types.NewBool(true), Mandatory: types.NewBool(mandatory),
	}}
	for _, vm := range vms {
		rule.Vm = append(rule.Vm, vm.Reference())
	}
	spec := &types.ClusterConfigSpecEx{RulesSpec: []types.ClusterRuleSpec{{
		ArrayUpdateSpec: types.ArrayUpdateSpec{Operation: types.ArrayUpdateOperationAdd}, Info: rule,
	}}}
	task, err := cluster.Reconfigure(l.t.Context(), spec, true)
	if err := done(l.t, task, err); err != nil {
		l.t.Fatal(err)
	}
}
