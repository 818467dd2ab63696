package main

import (
	"net/http"
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// ruleViolation and noHost are what a vCenter answers to a power-on that no host may take.
const (
	ruleViolation = "This operation would violate a virtual machine affinity/anti-affinity rule."
	noHost        = "No host is compatible with the virtual machine."
)

// cluster is what is wanted of the simulated cluster besides the simulator's own objects; i.mu guards it.
type cluster struct {
	drs     bool            // off: rules are kept and do nothing, as with DRS off or without its licence
	vanish  bool            // a rule vanishes with its last member; else it stays, empty (both are reported of vCenters)
	removed map[string]bool // hosts in maintenance, by name
}

// place puts a VM that is to be powered on where the rules allow it, as DRS does, and returns why that cannot be.
func (i *inventory) place(vm *simulator.VirtualMachine) (refusal string) {
	i.mu.Lock()
	drs := i.cluster.drs
	i.mu.Unlock()
	hosts := i.usableHosts()
	if len(hosts) == 0 {
		return noHost
	}
	forbidden, avoided := map[types.ManagedObjectReference]bool{}, map[types.ManagedObjectReference]bool{}
	if drs {
		forbidden, avoided = i.hostsOfPeers(vm.Self)
	}
	// The host that it is on comes first, of those that are as free: a VM that may stay is not moved.
	own := i.hostOf(vm)
	order := func(host types.ManagedObjectReference) (rank int) {
		if drs {
			rank = 2 * i.runningOn(host)
		}
		if host != own {
			rank++
		}
		return rank
	}
	slices.SortStableFunc(hosts, func(a, b types.ManagedObjectReference) int { return order(a) - order(b) })
	for _, unwanted := range []map[types.ManagedObjectReference]bool{avoided, forbidden} {
		for _, host := range hosts {
			if !unwanted[host] && !forbidden[host] {
				i.move(vm, host)
				return ""
			}
		}
	}
	return ruleViolation
}

// usableHosts are the cluster's hosts that are not in maintenance, in a fixed order.
func (i *inventory) usableHosts() (hosts []types.ManagedObjectReference) {
	for _, host := range i.clusterHosts() {
		i.mu.Lock()
		removed := i.cluster.removed[host.Name]
		i.mu.Unlock()
		if !removed {
			hosts = append(hosts, host.Self)
		}
	}
	return hosts
}

func (i *inventory) clusterHosts() (hosts []*simulator.HostSystem) {
	for _, entity := range i.registry.All("HostSystem") {
		if host := entity.(*simulator.HostSystem); host.Parent != nil && host.Parent.Type == "ClusterComputeResource" {
			hosts = append(hosts, host)
		}
	}
	slices.SortFunc(hosts, func(a, b *simulator.HostSystem) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return hosts
}

// hostsOfPeers are the hosts of running VMs that an enabled rule keeps apart from this one: by mandatory rules, by any.
func (i *inventory) hostsOfPeers(vm types.ManagedObjectReference) (forbidden, avoided map[types.ManagedObjectReference]bool) {
	forbidden, avoided = map[types.ManagedObjectReference]bool{}, map[types.ManagedObjectReference]bool{}
	for _, rule := range i.rules() {
		if rule.Enabled == nil || !*rule.Enabled || !slices.Contains(rule.Vm, vm) {
			continue
		}
		for _, member := range rule.Vm {
			peer, ok := i.registry.Get(member).(*simulator.VirtualMachine)
			if !ok || member == vm || !i.runs(peer) {
				continue
			}
			avoided[i.hostOf(peer)] = true
			if rule.Mandatory != nil && *rule.Mandatory {
				forbidden[i.hostOf(peer)] = true
			}
		}
	}
	return forbidden, avoided
}

func (i *inventory) rules() (rules []types.ClusterAntiAffinityRuleSpec) {
	ctx := i.caller()
	for _, entity := range i.registry.All("ClusterComputeResource") {
		cluster := entity.(*simulator.ClusterComputeResource)
		ctx.WithLock(cluster, func() {
			if configuration, ok := cluster.ConfigurationEx.(*types.ClusterConfigInfoEx); ok {
				for _, rule := range configuration.Rule {
					if apart, ok := rule.(*types.ClusterAntiAffinityRuleSpec); ok {
						kept := *apart
						kept.Vm = slices.Clone(apart.Vm)
						rules = append(rules, kept)
					}
				}
			}
		})
	}
	return rules
}

func (i *inventory) runs(vm *simulator.VirtualMachine) (on bool) {
	i.caller().WithLock(vm, func() { on = vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn })
	return on
}

func (i *inventory) hostOf(vm *simulator.VirtualMachine) (host types.ManagedObjectReference) {
	i.caller().WithLock(vm, func() {
		if vm.Runtime.Host != nil {
			host = *vm.Runtime.Host
		}
	})
	return host
}

// move is a vMotion, or the choice of a host for a VM that is off.
func (i *inventory) move(vm *simulator.VirtualMachine, to types.ManagedObjectReference) {
	from := i.hostOf(vm)
	if from == to {
		return
	}
	for _, ref := range []types.ManagedObjectReference{from, to} {
		if host, ok := i.registry.Get(ref).(*simulator.HostSystem); ok {
			ctx := i.caller()
			ctx.WithLock(host, func() {
				host.Vm = slices.DeleteFunc(host.Vm, func(known types.ManagedObjectReference) bool { return known == vm.Self })
				if ref == to {
					host.Vm = append(host.Vm, vm.Self)
				}
			})
		}
	}
	ctx := i.caller()
	ctx.WithLock(vm, func() {
		i.registry.Update(ctx, vm, []types.PropertyChange{
			{Name: "runtime.host", Val: to}, {Name: "summary.runtime.host", Val: to},
		})
	})
}

type hostView struct {
	Name      string   `json:"name"`
	Available bool     `json:"available"`
	VMs       []string `json:"vms"`
}

func (i *inventory) serveHosts(w http.ResponseWriter, _ *http.Request) {
	views := []hostView{}
	usable := i.usableHosts()
	for _, host := range i.clusterHosts() {
		view := hostView{Name: host.Name, Available: slices.Contains(usable, host.Self), VMs: []string{}}
		for _, vm := range i.machinesOn(host.Self) {
			view.VMs = append(view.VMs, vm.Name)
		}
		views = append(views, view)
	}
	answer(w, views)
}

func (i *inventory) machinesOn(host types.ManagedObjectReference) (found []*simulator.VirtualMachine) {
	for _, entity := range i.registry.All("VirtualMachine") {
		if vm, ok := entity.(*simulator.VirtualMachine); ok && i.hostOf(vm) == host {
			found = append(found, vm)
		}
	}
	return found
}

func (i *inventory) runningOn(host types.ManagedObjectReference) (count int) {
	for _, vm := range i.machinesOn(host) {
		if i.runs(vm) {
			count++
		}
	}
	return count
}

func (i *inventory) host(name string) *simulator.HostSystem {
	for _, host := range i.clusterHosts() {
		if host.Name == name {
			return host
		}
	}
	return nil
}

// serveHost takes a host away, as maintenance does: what runs there moves first, where a rule allows it, else it stays.
func (i *inventory) serveHost(w http.ResponseWriter, r *http.Request) {
	var wish struct {
		Available bool `json:"available"`
	}
	host := i.host(r.PathValue("host"))
	if host == nil {
		http.Error(w, "no such host: "+r.PathValue("host"), http.StatusNotFound)
		return
	}
	if !read(w, r, &wish) {
		return
	}
	i.setRemoved(host.Name, !wish.Available)
	if !wish.Available {
		for _, vm := range i.machinesOn(host.Self) {
			if !i.runs(vm) {
				continue
			}
			if refusal := i.place(vm); refusal != "" {
				i.setRemoved(host.Name, false)
				http.Error(w, refusal, http.StatusConflict)
				return
			}
		}
	}
	i.serveHosts(w, r)
}

func (i *inventory) setRemoved(host string, removed bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cluster.removed[host] = removed
}

// serveMove puts a VM on a host, whatever the rules say: what somebody has done by hand, or HA after a failure.
func (i *inventory) serveMove(w http.ResponseWriter, r *http.Request) {
	var wish struct {
		Host string `json:"host"`
	}
	vm := i.find(w, r)
	if vm == nil || !read(w, r, &wish) {
		return
	}
	host := i.host(wish.Host)
	if host == nil {
		http.Error(w, "no such host: "+wish.Host, http.StatusNotFound)
		return
	}
	i.move(vm, host.Self)
	i.serveHosts(w, r)
}

// serveCluster switches how the cluster behaves; what is left out stays as it is.
func (i *inventory) serveCluster(w http.ResponseWriter, r *http.Request) {
	var wish struct {
		DRS    *bool `json:"drs"`
		Vanish *bool `json:"rulesVanish"`
	}
	if !read(w, r, &wish) {
		return
	}
	i.mu.Lock()
	if wish.DRS != nil {
		i.cluster.drs = *wish.DRS
	}
	if wish.Vanish != nil {
		i.cluster.vanish = *wish.Vanish
	}
	now := map[string]bool{"drs": i.cluster.drs, "rulesVanish": i.cluster.vanish}
	i.mu.Unlock()
	answer(w, now)
}

// serveRole gives the role's user other privileges until the end of this process.
func (i *inventory) serveRole(w http.ResponseWriter, r *http.Request) {
	var wish struct {
		Privileges []string `json:"privileges"`
	}
	if !read(w, r, &wish) {
		return
	}
	i.role.set(wish.Privileges)
	answer(w, map[string]int{"privileges": len(wish.Privileges)})
}
