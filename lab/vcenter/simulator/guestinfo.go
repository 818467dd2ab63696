package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/vim25/mo"
	"gopkg.in/yaml.v3"
)

const (
	guestinfoPrefix = "guestinfo."
	// networkFile is where Photon OS 3.0 gets its static address from, wherever cloud-init stages it first.
	networkFile = "/etc/systemd/network/10-static-en.network"
	// configPart begins the keys of the pieces of the part that has the stack's configuration.
	configPart = "guestinfo.lbstack.config."
	// cloudConfig is the first line of a userdata that cloud-init reads as configuration.
	cloudConfig = "#cloud-config"
	// maxDocument bounds what a compressed value may unpack to; a real one is below 1 MiB.
	maxDocument = 8 << 20
)

// guestinfo returns the guestinfo keys of a VM that have a value.
func guestinfo(vm *mo.VirtualMachine) map[string]string {
	found := map[string]string{}
	if vm.Config == nil {
		return found
	}
	for _, option := range vm.Config.ExtraConfig {
		value := option.GetOptionValue()
		if text, ok := value.Value.(string); ok && strings.HasPrefix(value.Key, guestinfoPrefix) && text != "" {
			found[value.Key] = text
		}
	}
	return found
}

// fromGuestinfo finds the address that a guest with this guestinfo would give itself: in the metadata's network
// configuration or in the .network file among the userdata's files. A VM without one reports nothing: on a real vCenter it
// would come up without an address too. What cannot be read counts as not there.
func fromGuestinfo(values map[string]string) guestReport {
	var metadata struct {
		Hostname string    `yaml:"local-hostname"`
		Network  yaml.Node `yaml:"network"`
		Encoding string    `yaml:"network.encoding"`
	}
	unmarshal(decode(values, "metadata"), &metadata)
	guest := guestReport{Hostname: metadata.Hostname}
	guest.Addresses, guest.Gateway = fromNetworkConfig(metadata.Network, metadata.Encoding)

	var userdata struct {
		Files []struct {
			Path     string `yaml:"path"`
			Content  string `yaml:"content"`
			Encoding string `yaml:"encoding"`
		} `yaml:"write_files"`
	}
	text := decode(values, "userdata")
	if first, _, _ := bytes.Cut(text, []byte("\n")); strings.TrimSpace(string(first)) == cloudConfig {
		unmarshal(text, &userdata)
	}
	for _, file := range userdata.Files {
		if strings.HasSuffix(file.Path, networkFile) {
			guest.Addresses, guest.Gateway = fromNetworkFile(string(unpack(file.Content, file.Encoding)))
		}
	}
	if content := partFiles(values)[networkFile]; content != "" {
		guest.Addresses, guest.Gateway = fromNetworkFile(content)
	}
	guest.Tools = len(guest.Addresses) > 0
	if !guest.Tools {
		return guestReport{}
	}
	return guest
}

// partFiles returns the files of the part of a set that the first boot reads from guestinfo keys of its own: JSON, gzip and
// base64 in numbered pieces. What cannot be read counts as not there.
func partFiles(values map[string]string) map[string]string {
	var joined strings.Builder
	for number := 0; ; number++ {
		piece, ok := values[configPart+strconv.Itoa(number)]
		if !ok {
			break
		}
		joined.WriteString(piece)
	}
	var files map[string]string
	if joined.Len() > 0 {
		_ = json.Unmarshal(unpack(joined.String(), "gzip+base64"), &files)
	}
	return files
}

// unmarshal reads YAML, or JSON, which is YAML; on broken input it leaves what it has read until then.
func unmarshal(text []byte, into any) {
	defer func() { _ = recover() }() // the parser has been known to panic on hostile input
	_ = yaml.Unmarshal(text, into)
}

// decode undoes the encoding that the key next to the value names.
func decode(values map[string]string, key string) []byte {
	return unpack(values[guestinfoPrefix+key], values[guestinfoPrefix+key+".encoding"])
}

// unpack undoes the encodings that cloud-init knows, by any of its names for them; what is broken is empty.
func unpack(text, encoding string) []byte {
	switch encoding {
	case "base64", "b64":
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil
		}
		return raw
	case "gzip+base64", "gz+base64", "gzip+b64", "gz+b64":
		reader, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text)))
		if err != nil {
			return nil
		}
		unpacked, err := io.ReadAll(io.LimitReader(reader, maxDocument))
		if err != nil {
			return nil
		}
		return unpacked
	default:
		return []byte(text)
	}
}

// fromNetworkConfig reads version 2 network configuration, given as a mapping or as text.
func fromNetworkConfig(node yaml.Node, encoding string) (addresses []string, gateway string) {
	type ethernet struct {
		Addresses []string `yaml:"addresses"`
		Gateway4  string   `yaml:"gateway4"`
		Routes    []struct {
			To  string `yaml:"to"`
			Via string `yaml:"via"`
		} `yaml:"routes"`
	}
	var config struct {
		Ethernets map[string]ethernet `yaml:"ethernets"`
		Network   struct {
			Ethernets map[string]ethernet `yaml:"ethernets"`
		} `yaml:"network"` // cloud-init takes the configuration with and without this level
	}
	switch node.Kind {
	case yaml.ScalarNode:
		unmarshal(unpack(node.Value, encoding), &config)
	case yaml.MappingNode:
		unmarshalNode(&node, &config)
	default:
		return nil, ""
	}
	for _, level := range []map[string]ethernet{config.Ethernets, config.Network.Ethernets} {
		for _, card := range level {
			addresses = append(addresses, valid(card.Addresses)...)
			if card.Gateway4 != "" {
				gateway = card.Gateway4
			}
			for _, route := range card.Routes {
				if route.To == "0.0.0.0/0" || route.To == "default" {
					gateway = route.Via
				}
			}
		}
	}
	return addresses, gateway
}

func unmarshalNode(node *yaml.Node, into any) {
	defer func() { _ = recover() }() // as in unmarshal
	_ = node.Decode(into)
}

// fromNetworkFile reads a systemd .network file.
func fromNetworkFile(content string) (addresses []string, gateway string) {
	for line := range strings.Lines(content) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch strings.TrimSpace(key) {
		case "Address":
			addresses = append(addresses, valid([]string{strings.TrimSpace(value)})...)
		case "Gateway":
			gateway = strings.TrimSpace(value)
		}
	}
	return addresses, gateway
}

// valid keeps what is an address with a prefix length.
func valid(texts []string) (prefixes []string) {
	for _, text := range texts {
		if _, err := netip.ParsePrefix(text); err == nil {
			prefixes = append(prefixes, text)
		}
	}
	return prefixes
}
