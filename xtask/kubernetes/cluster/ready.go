// When a cluster can be used: the API server answers, the node is ready and has no taint, and the account exists without
// which no Pod is admitted.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// Asks the API server as its administrator. The text has no spaces; it is empty for any answer but a good one.
func asker(p plan) func(path string) string {
	roots := x509.NewCertPool()
	authority, err := os.ReadFile(p.file("ca.crt"))
	fail(err, "reading the authority")
	roots.AppendCertsFromPEM(authority)
	client := &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
	}
	return func(path string) string {
		request, _ := http.NewRequest("GET", "https://"+p.node()+":6443"+path, nil)
		request.Header.Set("authorization", "Bearer "+p.Admin)
		answer, err := client.Do(request)
		if err != nil {
			return ""
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != 200 {
			return ""
		}
		return strings.NewReplacer(" ", "", "\n", "").Replace(string(text))
	}
}

func awaitReady(p plan) error {
	ask, end := asker(p), time.Now().Add(startDeadline)
	for _, wanted := range []struct {
		path string
		is   func(string) bool
	}{
		{"/readyz", func(text string) bool { return text != "" }},
		{"/api/v1/nodes/node1", func(text string) bool { return strings.Contains(text, `"reason":"KubeletReady"`) }},
		{"/api/v1/namespaces/default/serviceaccounts/default", func(text string) bool { return text != "" }},
		{"/api/v1/nodes/node1", func(text string) bool { return text != "" && !strings.Contains(text, `"taints"`) }},
	} {
		for !wanted.is(ask(wanted.path)) {
			if time.Now().After(end) {
				return errors.New("in vain for " + wanted.path)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}
