package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	restSession = "vmware-api-session-id"
	policies    = "/pbm" // where the service of storage policies listens
	denied      = "Permission to perform this operation was denied."
)

// soapRefusal is the answer to a call that needs a privilege; with a message, and the privilege.
const soapRefusal = `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<soapenv:Body><soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>%s</faultstring><detail>
<NoPermissionFault xmlns="urn:vim25" xsi:type="NoPermission"><privilegeId>%s</privilegeId></NoPermissionFault>
</detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>`

// restPaths are what stands before a path of the REST API, in its two forms.
var restPaths = []string{"/rest/com/vmware/", "/api/"}

// role is the one user of the lab whose privileges are enforced; everybody else may do everything.
type role struct {
	user string

	mu         sync.Mutex
	privileges map[string]bool
	sessions   map[string]bool // of the user, of both APIs
}

func newRole(user, privileges string) *role {
	r := &role{user: user, sessions: map[string]bool{}}
	r.set(strings.FieldsFunc(privileges, func(c rune) bool { return c == ',' }))
	return r
}

func (r *role) set(privileges []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.privileges = map[string]bool{}
	for _, privilege := range privileges {
		r.privileges[privilege] = true
	}
}

func (r *role) remember(session string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[session] = true
}

// missing is the first privilege that the role lacks; empty where it lacks none.
func (r *role) missing(needed []string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, privilege := range needed {
		if !r.privileges[privilege] {
			return privilege
		}
	}
	return ""
}

// refuses returns the fault for a call of the SOAP API that the session's user may not make; nil where it may.
func (i *inventory) refuses(ctx *simulator.Context, method *simulator.Method) types.BaseMethodFault {
	if i.role.user == "" || ctx.Session == nil || ctx.Session.UserName != i.role.user {
		return nil
	}
	i.role.remember(ctx.Session.Key)
	object, this := i.registry.Get(method.This), method.This
	lacking := i.role.missing(needs(object, this, method.Name, method.Body))
	if lacking == "" {
		return nil
	}
	return &types.NoPermission{Object: &this, PrivilegeId: lacking}
}

// guard enforces the role in the REST API, and gives a refused SOAP call its message, which the simulator leaves empty.
func (r *role) guard(next http.Handler) http.Handler {
	if r.user == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		path, isREST := restPath(request.URL.Path)
		if request.URL.Path == policies {
			r.guardPolicies(next, w, request)
			return
		}
		if !isREST {
			next.ServeHTTP(&denials{ResponseWriter: w}, request)
			return
		}
		if path == "session" || path == "cis/session" {
			r.login(next, w, request)
			return
		}
		if r.ofUser(request) {
			if lacking := r.missing(restPrivileges(request.Method, path, action(request))); lacking != "" {
				refuse(w, lacking)
				return
			}
		}
		next.ServeHTTP(w, request)
	})
}

// guardPolicies enforces the role in the service of storage policies, which has a registry, and so no handler, of its own.
// Its requests carry the key of the SOAP session.
func (r *role) guardPolicies(next http.Handler, w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	if lacking := r.missing([]string{viewPolicies}); r.knows(body) && bytes.Contains(body, []byte("PbmQuery")) && lacking != "" {
		w.Header().Set("Content-Type", "text/xml; charset=utf-8")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, soapRefusal, message(lacking), lacking)
		return
	}
	next.ServeHTTP(w, request)
}

// knows is whether a request has the key of a session of the role's user.
func (r *role) knows(body []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.sessions {
		if bytes.Contains(body, []byte(key)) {
			return true
		}
	}
	return false
}

// login remembers whose session the simulator makes.
func (r *role) login(next http.Handler, w http.ResponseWriter, request *http.Request) {
	user, _, _ := request.BasicAuth()
	if request.Method != http.MethodPost || action(request) != "" || user != r.user {
		next.ServeHTTP(w, request)
		return
	}
	answered := &kept{header: w.Header(), status: http.StatusOK}
	next.ServeHTTP(answered, request)
	if key := sessionKey(answered.body.Bytes()); key != "" && answered.status < http.StatusBadRequest {
		r.remember(key)
	}
	w.WriteHeader(answered.status)
	_, _ = w.Write(answered.body.Bytes())
}

// ofUser is whether a request comes with a session of the role's user.
func (r *role) ofUser(request *http.Request) bool {
	key := request.Header.Get(restSession)
	if cookie, err := request.Cookie(restSession); key == "" && err == nil {
		key = cookie.Value
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[key]
}

// sessionKey reads a session's key, which the older form of the API puts into a "value".
func sessionKey(body []byte) string {
	var key string
	if json.Unmarshal(body, &key) == nil {
		return key
	}
	var wrapped struct {
		Value string `json:"value"`
	}
	_ = json.Unmarshal(body, &wrapped)
	return wrapped.Value
}

func restPath(path string) (string, bool) {
	for _, start := range restPaths {
		if rest, ok := strings.CutPrefix(path, start); ok {
			return strings.Trim(rest, "/"), true
		}
	}
	return "", false
}

// action is the verb of a request; the older form writes it with a tilde.
func action(request *http.Request) string {
	query := request.URL.Query()
	if found := query.Get("~action"); found != "" {
		return found
	}
	return query.Get("action")
}

// restPrivileges are what a request needs; to read is free.
func restPrivileges(method, path, action string) []string {
	if method == http.MethodGet {
		return nil
	}
	parts := strings.Split(path, "/")
	for _, need := range restNeeds {
		if need.method == method && need.action == action && matches(strings.Split(need.path, "/"), parts) {
			return need.privileges
		}
	}
	return []string{unknown(method + " " + path + " " + action)}
}

func matches(pattern, parts []string) bool {
	if len(pattern) != len(parts) {
		return false
	}
	for index, part := range pattern {
		if part != "{id}" && part != parts[index] {
			return false
		}
	}
	return true
}

// refuse answers as vCenter's REST API does.
func refuse(w http.ResponseWriter, privilege string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "com.vmware.vapi.std.errors.unauthorized",
		"value": map[string]any{"messages": []map[string]any{{
			"id": "vapi.authz.error", "args": []string{privilege}, "default_message": message(privilege),
		}}},
	})
}

func message(privilege string) string {
	return fmt.Sprintf("%s Required privilege: %s.", denied, privilege)
}

// kept is an answer that is looked at before it is given.
type kept struct {
	header http.Header
	body   bytes.Buffer
	status int
}

func (k *kept) Header() http.Header            { return k.header }
func (k *kept) Write(text []byte) (int, error) { return k.body.Write(text) }
func (k *kept) WriteHeader(status int)         { k.status = status }

// denials puts the message where the simulator has none.
type denials struct {
	http.ResponseWriter
	failed bool
}

func (d *denials) WriteHeader(status int) {
	d.failed = status == http.StatusInternalServerError
	d.ResponseWriter.WriteHeader(status)
}

func (d *denials) Write(text []byte) (int, error) {
	if d.failed {
		if _, rest, found := bytes.Cut(text, []byte("<privilegeId>")); found && bytes.Contains(text, []byte("NoPermission")) {
			privilege, _, _ := bytes.Cut(rest, []byte("<"))
			filled := fmt.Sprintf("<faultstring>%s</faultstring>", message(string(privilege)))
			if _, err := d.ResponseWriter.Write(bytes.Replace(text, []byte("<faultstring></faultstring>"), []byte(filled), 1)); err != nil {
				return 0, err
			}
			return len(text), nil
		}
	}
	return d.ResponseWriter.Write(text)
}
