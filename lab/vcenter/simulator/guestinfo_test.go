package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"reflect"
	"strings"
	"testing"
)

const (
	networkd = "[Match]\nName=e*\n\n[Network]\nAddress=192.168.6.120/24\nGateway=192.168.6.1\n"
	// The body is JSON, which is YAML, as the stack renders it.
	userdata = "#cloud-config\n" + `{"write_files":[{"path":"/var/lib/lbstack/staging/files/etc/systemd/network/` +
		`10-static-en.network","content":"[Network]\nAddress=192.168.6.120/24\nGateway=192.168.6.1\n"}]}`
	metadata = `{"instance-id":"lbstack-PhotonLB-01","local-hostname":"PhotonLB-01"}`
)

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func gz(t testing.TB, text string) string {
	t.Helper()
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	if _, err := writer.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return b64(packed.String())
}

// inPieces cuts a part as the stack does, and has a userdata without the network's file beside it.
func inPieces(part string) map[string]string {
	cut := len(part) / 8 * 4
	return map[string]string{
		"guestinfo.lbstack.config.0": part[:cut], "guestinfo.lbstack.config.1": part[cut:],
		"guestinfo.userdata": `#cloud-config` + "\n" + `{"write_files":[]}`,
	}
}

func TestTheAddressIsTheOneInTheGuestsOwnGuestinfo(t *testing.T) {
	indented := "#cloud-config\nwrite_files:\n- path: /etc/systemd/network/10-static-en.network\n  content: |\n    " +
		strings.ReplaceAll(networkd, "\n", "\n    ")
	v2 := "\nversion: 2\nethernets:\n  all:\n    match: {name: 'e*'}\n    addresses: [192.168.6.121/24]\n"
	full := guestReport{
		Hostname: "PhotonLB-01", Tools: true, Addresses: []string{"192.168.6.120/24"}, Gateway: "192.168.6.1",
	}
	nameless := full
	nameless.Hostname = ""
	other := guestReport{Tools: true, Addresses: []string{"192.168.6.121/24"}, Gateway: "192.168.6.1"}
	withMetadata := func(values map[string]string) map[string]string {
		values["guestinfo.metadata"], values["guestinfo.metadata.encoding"] = b64(metadata), "base64"
		return values
	}
	for name, test := range map[string]struct {
		values map[string]string
		want   guestReport
	}{
		"base64": {withMetadata(map[string]string{
			"guestinfo.userdata": b64(userdata), "guestinfo.userdata.encoding": "base64",
		}), full},
		"gzip": {withMetadata(map[string]string{
			"guestinfo.userdata": gz(t, userdata), "guestinfo.userdata.encoding": "gzip+base64",
		}), full},
		"a set in parts": {withMetadata(inPieces(gz(t, `{"`+networkFile+`":"[Network]\nAddress=192.168.6.120/24\nGateway=192.168.6.1\n"}`))), full},
		"plain":          {map[string]string{"guestinfo.userdata": userdata}, nameless},
		"ordinary YAML":  {map[string]string{"guestinfo.userdata": indented}, nameless},
		"a file that is encoded itself": {map[string]string{
			"guestinfo.userdata": "#cloud-config\nwrite_files:\n- path: /etc/systemd/network/10-static-en.network\n" +
				"  encoding: gz+b64\n  content: " + gz(t, networkd) + "\n",
		}, nameless},
		"metadata, gateway4": {map[string]string{
			"guestinfo.metadata": "network:" + strings.ReplaceAll(v2+"    gateway4: 192.168.6.1\n", "\n", "\n  "),
		}, other},
		"metadata, routes, JSON": {map[string]string{
			"guestinfo.metadata": `{"network":{"version":2,"ethernets":{"e":{"addresses":["192.168.6.121/24"],` +
				`"routes":[{"to":"0.0.0.0/0","via":"192.168.6.1"}]}}}}`,
		}, other},
		"metadata, network as encoded text": {map[string]string{
			"guestinfo.metadata": "network.encoding: base64\nnetwork: " +
				b64("network:"+strings.ReplaceAll(v2+"    gateway4: 192.168.6.1\n", "\n", "\n  ")),
		}, other},
		"nothing":         {map[string]string{}, guestReport{}},
		"no cloud-config": {map[string]string{"guestinfo.userdata": strings.TrimPrefix(userdata, cloudConfig)}, guestReport{}},
		"no network":      {map[string]string{"guestinfo.userdata": "#cloud-config\n{}"}, guestReport{}},
		"hostname alone":  {withMetadata(map[string]string{}), guestReport{}},
		"wrong encoding": {map[string]string{
			"guestinfo.userdata": userdata, "guestinfo.userdata.encoding": "base64",
		}, guestReport{}},
		"cut gzip": {map[string]string{
			"guestinfo.userdata": gz(t, userdata)[:40], "guestinfo.userdata.encoding": "gzip+base64",
		}, guestReport{}},
		"an address without its length": {map[string]string{
			"guestinfo.userdata": strings.ReplaceAll(userdata, "/24", ""),
		}, guestReport{}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fromGuestinfo(test.values); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestAGzipBombIsCutOff(t *testing.T) {
	bomb := gz(t, strings.Repeat("\x00", maxDocument+1))
	if got := len(unpack(bomb, "gzip+base64")); got != maxDocument {
		t.Errorf("unpacked %d bytes", got)
	}
}

func FuzzBrokenGuestinfoNeverPanics(f *testing.F) {
	for _, encoding := range []string{"", "base64", "gzip+base64", "gz+b64", "rot13"} {
		f.Add(userdata, metadata, encoding)
		f.Add(b64(userdata), b64(metadata), encoding)
		f.Add(gz(f, userdata), gz(f, metadata), encoding)
		f.Add("#cloud-config\nwrite_files: [1, {path: [], content: {}}]", "network: {ethernets: [], version: {}}", encoding)
		f.Add("#cloud-config\na: &a [*a]\n? : :\n", "network: !!binary x\n<<: *b\n", encoding)
		f.Add("#cloud-config\nwrite_files: !!map 3", "network: {ethernets: {e: {addresses: 1, routes: x}}}", encoding)
	}
	f.Fuzz(func(t *testing.T, userdata, metadata, encoding string) {
		guest := fromGuestinfo(map[string]string{
			"guestinfo.userdata": userdata, "guestinfo.userdata.encoding": encoding,
			"guestinfo.metadata": metadata, "guestinfo.metadata.encoding": encoding,
		})
		if err := (guestReport{Addresses: guest.Addresses}).check(); err != nil {
			t.Errorf("reported what is no address: %v", err)
		}
		if guest.Tools != (len(guest.Addresses) > 0) {
			t.Errorf("tools %t with addresses %q", guest.Tools, guest.Addresses)
		}
	})
}
