package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTagCategoriesKnowTheirTypesByPlainNames(t *testing.T) {
	var got string
	handler := plainTypes(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = string(body)
		if int64(len(body)) != r.ContentLength {
			t.Errorf("ContentLength is %d for %d bytes", r.ContentLength, len(body))
		}
	}))
	sent := `{"create_spec":{"associable_types":["urn:vim25:VirtualMachine","Folder"],"name":"urn:vim25 is a name"}}`
	plain := `{"create_spec":{"associable_types":["VirtualMachine","Folder"],"name":"urn:vim25 is a name"}}`
	for path, want := range map[string]string{
		"/rest/com/vmware/cis/tagging/category":     plain,
		"/api/cis/tagging/category/urn:vmomi:c:GLB": plain,
		"/rest/com/vmware/cis/tagging/tag":          sent,
	} {
		request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(sent))
		handler.ServeHTTP(httptest.NewRecorder(), request)
		if got != want {
			t.Errorf("%s: got %s", path, got)
		}
	}
}
