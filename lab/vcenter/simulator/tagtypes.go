package main

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// The name space that clients may put before a type that a tag category can be attached to.
const typeNamespace = "urn:vim25:"

// plainTypes lets a tag category come back as a vCenter gives it back: its associable types by their plain names,
// also where the client sent them with their name space. The simulator repeats what it was sent, and a provider that
// sends the long form and compares with the short one would see drift forever.
func plainTypes(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.Path, "/cis/tagging/category") || r.Body == nil {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_ = r.Body.Close()
		body = bytes.ReplaceAll(body, []byte(`"`+typeNamespace), []byte(`"`))
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
		next.ServeHTTP(w, r)
	})
}
